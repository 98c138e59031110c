//! Films, which ffmpeg reads: what it is asked for, and what is said when it fails, hangs or is not
//! there. Small scripts stand for it, so that nothing needs to be installed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli::{ErrorKind, Ffmpeg, Model, Video, VideoSource};

use crate::{ask_about, open, refused};

/// A folder with scripts in place of the programs.
struct Programs(PathBuf);

impl Programs {
    fn new(ffprobe: &str, ffmpeg: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ocelli-programs-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, script) in [("ffprobe", ffprobe), ("ffmpeg", ffmpeg)] {
            let path = folder.join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(folder.join("film.mp4"), b"\0\0\0\x18ftypisom").unwrap();
        Self(folder)
    }

    fn model(&self) -> Model {
        open(
            "qwen3vl",
            Ffmpeg {
                folder: Some(self.0.clone()),
                timeout: Duration::from_secs(20),
            },
        )
    }

    fn film(&self) -> Video {
        Video::file(self.0.join("film.mp4"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// 48 frames at 24 a second, of which 4 are looked at.
const PROBED: &str = r#"echo '{"streams": [{"width": 4, "height": 2, "avg_frame_rate": "24/1", "nb_frames": "48"}]}'"#;

/// So many frames of one colour.
fn frames(count: usize) -> String {
    let frame = r"printf 'P6\n4 2\n255\nabcdefghijklmnopqrstuvwx'";
    vec![frame; count].join("\n")
}

#[test]
fn films_are_sampled_as_the_reference_does_and_only_those_frames_are_asked_for() {
    let script = format!("echo \"$@\" > \"$(dirname \"$0\")/asked\"\n{}", frames(4));
    let programs = Programs::new(PROBED, &script);
    let answer = ask_about(&mut programs.model(), programs.film()).unwrap();
    let seen = &answer.videos[0];
    assert_eq!(
        (seen.source_frames, seen.source_fps, seen.frames),
        (48, 24.0, 4)
    );
    let rounded: Vec<String> = seen.times.iter().map(|t| format!("{t:.3}")).collect();
    assert_eq!(rounded, ["0.333", "1.625"]);
    let asked = std::fs::read_to_string(programs.0.join("asked")).unwrap();
    assert!(
        asked.contains(r"select=if(lt(n\,31)\,if(lt(n\,16)\,eq(n\,0)\,eq(n\,16))\,if(lt(n\,47)\,eq(n\,31)\,eq(n\,47))),"),
        "{asked}"
    );
    assert!(
        asked.contains("-protocol_whitelist file -i file:/"),
        "{asked}"
    );
}

#[test]
fn a_film_in_memory_is_kept_in_a_file_only_while_it_is_read() {
    let script = format!("echo \"$@\" > \"$(dirname \"$0\")/asked\"\n{}", frames(4));
    let programs = Programs::new(PROBED, &script);
    let video = Video::new(VideoSource::Bytes(b"\0\0\0\x18ftypisom".to_vec()));
    ask_about(&mut programs.model(), video).unwrap();
    let asked = std::fs::read_to_string(programs.0.join("asked")).unwrap();
    let file = asked.split("file:").nth(1).unwrap();
    let file = file.split_whitespace().next().unwrap();
    assert!(
        file.contains("ocelli-video-") && !Path::new(file).exists(),
        "{file}"
    );
}

#[test]
fn what_ffmpeg_cannot_do_is_said() {
    let image = ErrorKind::Image;
    for (ffprobe, ffmpeg, message) in [
        (
            PROBED,
            "echo 'film.mp4: no such codec' >&2; exit 1",
            "ffmpeg failed (exit status: 1): film.mp4: no such codec",
        ),
        (PROBED, frames(1).as_str(), "ffmpeg gave 1 frames, need 4"),
        (PROBED, "", "ffmpeg gave 0 frames, need 4"),
        (
            PROBED,
            "echo garbage garbage garbage garbage garbage",
            "something else than pictures",
        ),
        (
            PROBED,
            r"printf 'P6\n99999 9\n255\nabc'",
            "limit 16384 pixels a side",
        ),
        ("echo '{\"streams\": []}'", "", "found no video in it"),
        ("echo nonsense", "", "ffprobe: found no JSON"),
        ("exit 3", "", "ffprobe failed (exit status: 3)"),
        (
            r#"echo '{"streams": [{"width": 4, "height": 2, "avg_frame_rate": "0/0"}]}'"#,
            "",
            "found no frame rate",
        ),
        (
            r#"echo '{"streams": [{"width": 4, "height": 2, "avg_frame_rate": "24/1"}]}'"#,
            "",
            "video has 0 frames",
        ),
        (
            r#"echo '{"streams": [{"width": 99999, "height": 2, "avg_frame_rate": "24/1"}]}'"#,
            "",
            "limit 16384 pixels a side",
        ),
    ] {
        let programs = Programs::new(ffprobe, ffmpeg);
        refused(&mut programs.model(), programs.film(), image, message);
    }
}

#[test]
fn a_program_that_hangs_is_ended() {
    for (ffprobe, ffmpeg, name) in [
        ("sleep 600", "", "ffprobe"),
        (PROBED, "sleep 600", "ffmpeg"),
    ] {
        let programs = Programs::new(ffprobe, ffmpeg);
        let short = Ffmpeg {
            folder: Some(programs.0.clone()),
            timeout: Duration::from_millis(300),
        };
        let message = format!("{name} gave nothing for 0.3 seconds and was ended");
        // Loaded machines may need longer than that to start the other program, which is then the one named.
        let error = ask_about(&mut open("qwen3vl", short), programs.film()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Image);
        let said = error.to_string();
        assert!(
            said.contains(&message) || said.contains("ffprobe gave nothing"),
            "{said}"
        );
    }
}

#[test]
fn without_ffmpeg_it_is_said_what_is_needed() {
    let programs = Programs::new(PROBED, "");
    std::fs::remove_file(programs.0.join("ffprobe")).unwrap();
    let message = "is not there, need ffmpeg and ffprobe for this kind of file";
    refused(
        &mut programs.model(),
        programs.film(),
        ErrorKind::Path,
        message,
    );
}

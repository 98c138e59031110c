//! Videos on the command line: what they answer, and one line and one exit code for each that is bad.

mod common;

use common::{Folder, Ran, ocelli, picture};
use serde_json::Value;

fn animation(name: &str) -> String {
    let folder = common::root().join("crates/ocelli-image/tests/goldens/animation");
    folder
        .join(name)
        .to_str()
        .expect("a path of text")
        .to_owned()
}

fn frame(index: usize) -> String {
    picture(&format!("clip_{index}.png"))
}

#[test]
fn the_answer_about_a_video_says_what_was_seen_of_it() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let gif = animation("opaque.gif");
    let video = ["--video", &gif, "--fps", "10", "-n", "2", "--json", "What?"];
    let answer: Value = serde_json::from_str(&model.run(&video).ok()).unwrap();
    let seen = &answer["videos"][0];
    assert_eq!(seen["source_frames"], 4);
    assert_eq!(seen["frames"], 8);
    assert_eq!(seen["grid"][0], 4);
    assert_eq!(seen["times_s"].as_array().unwrap().len(), 4);
    assert_eq!(answer["images"], Value::Array(Vec::new()));
    let few = [
        "--video",
        &gif,
        "--fps",
        "10",
        "--max-frames",
        "2",
        "-n",
        "1",
        "--json",
        "What?",
    ];
    let answer: Value = serde_json::from_str(&model.run(&few).ok()).unwrap();
    assert_eq!(answer["videos"][0]["frames"], 2);
}

#[test]
fn frames_are_a_video_and_the_prompt_stands_behind_another_flag() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (a, b, c) = (frame(0), frame(1), frame(2));
    let arguments = [
        "--frames", &a, &b, &c, "--fps", "0.5", "-n", "1", "--json", "What?",
    ];
    let answer: Value = serde_json::from_str(&model.run(&arguments).ok()).unwrap();
    let seen = &answer["videos"][0];
    assert_eq!((&seen["frames"], &seen["fps"]), (&3.into(), &0.5.into()));
    assert_eq!(seen["times_s"], serde_json::json!([1.0, 4.0]));
}

#[test]
fn a_message_list_has_videos() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let list = serde_json::json!([{"role": "user", "content": [
        {"type": "video", "video": [frame(0), frame(1)], "fps": 1},
        {"type": "video_url", "video_url": {"url": animation("opaque.webp")}},
        {"type": "text", "text": "What?"},
    ]}]);
    let path = folder.file("chat.json", list.to_string());
    let ran = model.run(&["--messages", &path, "-n", "1", "--json"]);
    let answer: Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!(answer["videos"].as_array().unwrap().len(), 2);
}

#[test]
fn a_trace_has_the_stages_of_a_video() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (out, gif) = (folder.path("t.safetensors"), animation("opaque.gif"));
    let arguments = ["--video", &gif, "--prompt", "What?", "--out", &out];
    ocelli(&model.arguments("trace", &arguments)).ok();
    let trace = std::fs::read(&out).unwrap();
    let header = String::from_utf8_lossy(&trace[..4096.min(trace.len())]).into_owned();
    for stage in ["video.0.pixels", "video.0.grid", "vision.video.0.output"] {
        assert!(header.contains(&format!("\"{stage}\"")), "{stage}");
    }
    let arguments = ["--video", &gif, "--prompt", "What?", "--reference", &out];
    ocelli(&model.arguments("verify", &arguments)).ok();
}

#[test]
fn rates_and_numbers_of_frames_that_cannot_be_are_usage() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (a, b, gif) = (frame(0), frame(1), animation("opaque.gif"));
    for fps in ["0", "-1", "nan", "inf", "x", "1001"] {
        let frames = ["--frames", &a, &b, "--fps", fps, "What?"];
        model.run(&frames).fails(2, "need a number above 0");
        model
            .run(&["--video", &gif, "--fps", fps, "What?"])
            .fails(2, "need a number above 0");
    }
    model.run(&["--frames", &a, &b]).fails(2, "--fps");
    model
        .run(&["--fps", "2", "What?"])
        .fails(2, "--fps: found no video");
    for frames in ["0", "1", "769"] {
        let arguments = ["--video", &gif, "--max-frames", frames, "What?"];
        model
            .run(&arguments)
            .fails(2, "need a whole number from 2 to 768");
    }
    let budget = [
        "--video-min-tokens",
        "9",
        "--video-max-tokens",
        "8",
        "--video",
        &gif,
        "What?",
    ];
    model
        .run(&budget)
        .fails(2, "need at most the 8 of --video-max-tokens");
}

#[test]
fn bad_videos_have_their_message_and_their_exit_code() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let run = |arguments: &[&str]| -> Ran { model.run(arguments) };
    let (a, wide) = (frame(0), picture("wide.png"));
    let one = ["--frames", &a, "--fps", "1", "What?"];
    run(&one).fails(6, "video has 1 frames, need at least 2");
    let mixed = ["--frames", &a, &wide, "--fps", "1", "What?"];
    run(&mixed).fails(6, "frame 2: found 200x60, need 90x50");
    let gone = [
        "--frames",
        &a,
        &folder.path("gone.png"),
        "--fps",
        "1",
        "What?",
    ];
    run(&gone).fails(8, "frame 2: cannot read");
    run(&["--video", &folder.path("gone.mp4"), "What?"]).fails(8, "gone.mp4");
    run(&["--video", &folder.file("empty.mp4", ""), "What?"]).fails(6, "file is empty (0 bytes)");
    run(&["--video", &wide, "What?"]).fails(6, "A single picture is given as an image");
    let whole = std::fs::read(animation("opaque.gif")).unwrap();
    let cut = folder.file("cut.gif", &whole[..whole.len() - 20]);
    run(&["--video", &cut, "What?"]).fails(6, "image data truncated (GIF)");
}

#[test]
fn without_ffmpeg_a_film_ends_with_8_and_says_what_to_do() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let film = folder.file("film.mp4", b"\0\0\0\x18ftypisom");
    let nowhere = folder.path("nowhere");
    let arguments = ["--ffmpeg", &nowhere, "--video", &film, "What?"];
    model.run(&arguments).fails(
        8,
        "need ffmpeg and ffprobe for this kind of file. Install FFmpeg, or give frames",
    );
}

#[cfg(unix)]
#[test]
fn ffmpeg_that_fails_or_hangs_ends_with_6() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let film = folder.file("film.mp4", b"\0\0\0\x18ftypisom");
    let here = folder.path("");
    for (script, message) in [
        (
            "echo 'moov atom not found' >&2; exit 1",
            "moov atom not found",
        ),
        (
            "sleep 600",
            "ffprobe gave nothing for 1 seconds and was ended",
        ),
    ] {
        let path = folder.file("ffprobe", format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let arguments = [
            "--ffmpeg",
            &here,
            "--ffmpeg-timeout",
            "1",
            "--video",
            &film,
            "What?",
        ];
        model.run(&arguments).fails(6, message);
    }
}

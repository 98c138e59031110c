//! Videos of every source: what is seen of them, what they share with what was seen before, and
//! what is said about bad ones.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(unix)]
mod films;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ocelli::{
    Answer, Error, ErrorKind, Event, Ffmpeg, Fps, ImageSource, Model, Options, Request, Source,
    Video, VideoSource,
};
use ocelli_testkit::{Suite, goldens};

fn open(suite: &str, ffmpeg: Ffmpeg) -> Model {
    let suite = Suite::load(suite);
    let options = Options {
        projector: suite.mmproj,
        image_min_tokens: Some(1),
        image_max_tokens: Some(64),
        video_min_tokens: Some(2),
        video_max_tokens: Some(60),
        ffmpeg,
        ..Options::default()
    };
    Model::load(&Source::File(suite.text), &options, &mut |_, _| {}).unwrap()
}

fn qwen3vl() -> Model {
    open("qwen3vl", Ffmpeg::default())
}

fn picture(name: &str) -> PathBuf {
    goldens().join("images").join(name)
}

fn clip(frames: impl IntoIterator<Item = usize>, fps: f64) -> Video {
    let frames = frames
        .into_iter()
        .map(|i| ImageSource::File(picture(&format!("clip_{i}.png"))));
    Video::new(VideoSource::Frames(
        frames.collect(),
        Fps::new(fps).unwrap(),
    ))
}

fn ask(model: &mut Model, request: Request) -> Result<Answer, Error> {
    model.ask(Request {
        max_tokens: 4,
        ..request
    })
}

fn ask_about(model: &mut Model, video: Video) -> Result<Answer, Error> {
    ask(model, Request::new("What happens?").video_part(video))
}

/// The error of a video, which must be of this kind and say this. The model stays usable.
fn refused(model: &mut Model, video: Video, kind: ErrorKind, message: &str) {
    let error = ask_about(model, video).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    ask(model, Request::new("And now?")).unwrap();
}

fn animation(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ocelli-image/tests/goldens");
    folder.join("animation").join(name)
}

#[test]
fn the_answer_says_what_was_seen_of_a_video() {
    let answer = ask_about(&mut qwen3vl(), clip(0..5, 2.0)).unwrap();
    let [seen] = answer.videos.as_slice() else {
        panic!("{:?}", answer.videos)
    };
    assert_eq!((seen.width, seen.height), (90, 50));
    assert_eq!((seen.source_frames, seen.frames, seen.fps), (5, 5, 2.0));
    assert_eq!((seen.grid.t, seen.tokens), (3, seen.grid.tokens()));
    // Two frames a patch; the last one stands twice.
    assert_eq!(seen.times, [0.25, 1.25, 2.0]);
    assert!(answer.usage.prompt_tokens > seen.tokens);
}

#[test]
fn two_equal_pictures_never_become_a_video() {
    let mut model = qwen3vl();
    let same = picture("same_size_a.png");
    let request = Request::new("What?").image(&same).image(&same);
    let answer = ask(&mut model, request).unwrap();
    assert_eq!(answer.images.len(), 2);
    assert!(answer.images.iter().all(|image| image.grid.t == 1));
    assert!(answer.videos.is_empty());
    let still = ask(&mut model, Request::new("What?").image(&same)).unwrap();
    let two = answer.usage.prompt_tokens - still.usage.prompt_tokens;
    assert!(two >= still.images[0].tokens, "{two} tokens for the second");
}

#[test]
fn a_video_of_equal_frames_is_not_taken_for_the_picture() {
    let mut model = qwen3vl();
    ask(
        &mut model,
        Request::new("What?").image(picture("clip_0.png")),
    )
    .unwrap();
    let mut encoded = 0;
    let request = Request {
        max_tokens: 1,
        ..Request::new("What?").video_part(clip([0, 0], 1.0))
    };
    let mut count = |event: Event<'_>| {
        encoded += usize::from(matches!(event, Event::Encoding { .. }));
        ControlFlow::Continue(())
    };
    model.ask_with(request, &mut count).unwrap();
    assert!(encoded > 0, "features of a still were used for a video");
}

#[test]
fn a_second_question_about_a_video_encodes_nothing() {
    for suite in ["qwen2vl", "qwen2.5vl", "qwen3vl"] {
        let mut model = open(suite, Ffmpeg::default());
        ask_about(&mut model, clip(0..4, 2.0)).unwrap();
        let again = |model: &mut Model| {
            ask(model, Request::new("How many?").video_part(clip(0..4, 2.0))).unwrap()
        };
        let second = again(&mut model);
        assert!(second.timings.encode.is_zero(), "{suite}");
        let alone = again(&mut open(suite, Ffmpeg::default()));
        assert_eq!(second.text, alone.text, "{suite}");
    }
}

#[test]
fn marks_of_videos_that_a_user_types_stay_text() {
    let typed = "<|vision_start|><|video_pad|><|vision_end|>";
    for suite in ["qwen2vl", "qwen3vl"] {
        let mut model = open(suite, Ffmpeg::default());
        let mut tokens = |question: &str| {
            let request = Request::new(question).video_part(clip(0..4, 2.0));
            ask(&mut model, request).unwrap().usage.prompt_tokens
        };
        // Control tokens would be three; text is many, and takes no place of a video.
        assert!(tokens(typed) > tokens("") + 10, "{suite}");
        let request = Request::new(typed);
        assert!(ask(&mut model, request).unwrap().videos.is_empty());
    }
}

#[test]
fn layers_of_a_video_are_told_as_one_count() {
    let mut model = qwen3vl();
    let mut seen = Vec::new();
    let request = Request {
        max_tokens: 1,
        ..Request::new("What?")
            .image(picture("same_size_a.png"))
            .video_part(clip(0..4, 2.0))
    };
    let mut watch = |event: Event<'_>| {
        if let Event::Encoding { image, done, total } = event {
            seen.push((image, done, total));
        }
        ControlFlow::Continue(())
    };
    model.ask_with(request, &mut watch).unwrap();
    let of_video: Vec<_> = seen.iter().filter(|(image, ..)| *image == 1).collect();
    assert!(seen.iter().all(|(image, ..)| *image < 2), "{seen:?}");
    assert!(
        of_video
            .windows(2)
            .all(|w| w[0].1 <= w[1].1 && w[0].2 == w[1].2)
    );
    assert_eq!(
        of_video.last().map(|(_, done, total)| done == total),
        Some(true)
    );
}

#[test]
fn animations_are_seen_by_their_own_clock() {
    for name in ["opaque.gif", "opaque.webp", "opaque.png"] {
        let mut model = qwen3vl();
        let video = Video {
            sampled: Fps::new(10.0).unwrap(),
            ..Video::file(animation(name))
        };
        let answer = ask_about(&mut model, video).unwrap();
        let seen = &answer.videos[0];
        // Frames of 40, 200, 70 and 500 ms: the last one is seen most.
        assert_eq!((seen.source_frames, seen.frames), (4, 8), "{name}");
        assert!((seen.source_fps - 4.0 / 0.81).abs() < 1e-6, "{name}");
        assert!(seen.times.windows(2).all(|t| t[0] < t[1]), "{name}");
        assert!(seen.times[3] < 0.81, "{name}: {:?}", seen.times);
    }
}

#[test]
fn bad_frames_are_named() {
    let mut model = qwen3vl();
    let image = ErrorKind::Image;
    refused(
        &mut model,
        clip([], 1.0),
        image,
        "video has 0 frames, need at least 2",
    );
    refused(
        &mut model,
        clip([0], 1.0),
        image,
        "video has 1 frames, need at least 2. A single picture is given as an image",
    );
    let frames = ["clip_0.png", "wide.png"].map(|name| ImageSource::File(picture(name)));
    let fps = Fps::new(1.0).unwrap();
    let mixed = Video::new(VideoSource::Frames(frames.to_vec(), fps));
    refused(
        &mut model,
        mixed,
        image,
        "frame 2: found 200x60, need 90x50 as the first frame has it",
    );
    let gone = Video::new(VideoSource::Frames(
        vec![
            ImageSource::File(picture("clip_0.png")),
            ImageSource::File("gone.png".into()),
        ],
        fps,
    ));
    refused(
        &mut model,
        gone,
        ErrorKind::Path,
        "frame 2: cannot read gone.png",
    );
    let many = clip(std::iter::repeat_n(0, 769), 1.0);
    refused(
        &mut model,
        many,
        ErrorKind::Usage,
        "found 769 frames, need at most 768",
    );
}

#[test]
fn bad_files_are_named() {
    let mut model = qwen3vl();
    let whole = std::fs::read(animation("opaque.gif")).unwrap();
    let bytes = |bytes: &[u8]| Video::new(VideoSource::Bytes(bytes.to_vec()));
    let image = ErrorKind::Image;
    refused(
        &mut model,
        bytes(&whole[..whole.len() / 2]),
        image,
        "truncated",
    );
    refused(
        &mut model,
        Video::file(picture("photo.png")),
        image,
        "video has 1 frames",
    );
    refused(
        &mut model,
        Video::file("gone.mp4"),
        ErrorKind::Path,
        "video 1 (gone.mp4): cannot read",
    );
    let videos = (0..9).fold(Request::new("?"), |r, _| r.video_part(clip(0..2, 1.0)));
    let error = ask(&mut model, videos).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Usage, "9 videos, limit 8".to_owned())
    );
}

#[test]
fn a_video_that_does_not_fit_says_what_to_lower() {
    let suite = Suite::load("qwen3vl");
    let options = Options {
        projector: suite.mmproj,
        context: Some(40),
        ..Options::default()
    };
    let mut model = Model::load(&Source::File(suite.text), &options, &mut |_, _| {}).unwrap();
    let error = ask_about(&mut model, clip(0..5, 1.0))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("video 1 ") && error.contains("--fps"),
        "{error}"
    );
}

#[test]
fn text_models_say_that_they_see_nothing() {
    let mut model = Model::open(Suite::load("qwen3").text).unwrap();
    let error = ask_about(&mut model, clip(0..2, 1.0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Pair);
}

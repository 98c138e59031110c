//! Videos of messages: animations, lists of pictures, and what is not read.

use base64::Engine as _;
use ocelli::service::OtherVideos;
use serde_json::{Value, json};

use crate::client::{CHAT, Server, square, text_chat};

fn animation(name: &str) -> String {
    let path = format!(
        "{}/../ocelli-image/tests/goldens/animation/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    base64::engine::general_purpose::STANDARD.encode(std::fs::read(path).unwrap())
}

fn about(part: Value) -> Value {
    let mut chat = text_chat("");
    chat["messages"][0]["content"] = json!([part, {"type": "text", "text": "What happens?"}]);
    chat
}

#[test]
fn animations_are_seen_in_every_form_that_clients_send() {
    let server = Server::start();
    let mut answers = Vec::new();
    let url = format!("data:video/gif;base64,{}", animation("kept.gif"));
    for part in [
        json!({"type": "video_url", "video_url": {"url": url, "fps": 4}}),
        json!({"type": "video_url", "video_url": url, "fps": 4}),
        json!({"type": "video", "video": url, "fps": 4}),
    ] {
        let answer = server.post(CHAT, &about(part)).ok();
        let video = answer["usage"]["videos"][0].clone();
        assert!(video["frames"].as_u64().unwrap() >= 2, "{answer}");
        assert!(answer["usage"]["prompt_tokens"].as_u64() > video["tokens"].as_u64());
        answers.push((answer["choices"].clone(), video));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    for name in ["blended.png", "clear.webp"] {
        let url = format!("data:image/png;base64,{}", animation(name));
        let answer = server.post(
            CHAT,
            &about(json!({"type": "video_url", "video_url": {"url": url}})),
        );
        assert_eq!(
            answer.ok()["usage"]["videos"].as_array().unwrap().len(),
            1,
            "{name}"
        );
    }
}

#[test]
fn pictures_that_follow_each_other_are_a_video() {
    let server = Server::start();
    let frame = |side: u32| format!("data:image/bmp;base64,{}", square(side));
    let frames =
        json!([frame(64), {"image_url": {"url": frame(64)}}, frame(64), {"url": frame(64)}]);
    let part = json!({"type": "video", "frames": frames, "fps": 1});
    let answer = server.post(CHAT, &about(part.clone())).ok();
    assert_eq!(answer["usage"]["videos"][0]["frames"], 4, "{answer}");
    let counted = server
        .post("/v1/chat/completions/input_tokens", &about(part))
        .ok();
    assert_eq!(counted["videos"][0]["frames"], 4, "{counted}");
    let response = json!({"model": "ocelli-demo", "max_output_tokens": 8, "input": [{"role": "user", "content": [
        {"type": "input_video", "video_url": [frame(64), frame(64)]}, {"type": "input_text", "text": "What happens?"}]}]});
    let answer = server.post("/v1/responses", &response).ok();
    assert_eq!(answer["usage"]["videos"][0]["frames"], 2, "{answer}");
}

#[test]
fn videos_that_cannot_be_seen_are_refused_with_their_reason() {
    let server = Server::start();
    let before = server.post(CHAT, &text_chat("Hello")).ok();
    let frame = |side: u32| format!("data:image/bmp;base64,{}", square(side));
    let video = |value: Value| json!({"type": "video", "video": value});
    for (part, code, message) in [
        (
            json!({"type": "video"}),
            "invalid_value",
            "messages[0].content[0].video missing",
        ),
        (
            json!({"type": "video_url", "video_url": {}}),
            "invalid_value",
            "video_url.url missing",
        ),
        (
            video(json!(5)),
            "invalid_value",
            "must be a data URI or a list of pictures",
        ),
        (
            video(json!([frame(8)])),
            "invalid_value",
            "must have 2..768 pictures",
        ),
        (
            video(json!(["file:///etc/passwd", "x"])),
            "invalid_image",
            "must be a data URI",
        ),
        (
            video(json!(["https://example.org/1.png", "x"])),
            "invalid_image",
            "frames are not fetched",
        ),
        (
            video(json!("https://example.org/a.mp4")),
            "invalid_video",
            "videos are not fetched",
        ),
        (
            video(json!("data:text/html;base64,QUI=")),
            "invalid_image",
            "data URI must be video/*;base64",
        ),
        (
            video(json!([frame(8), frame(12)])),
            "invalid_video",
            "video 1: frame 2: found 12x12, need 8x8",
        ),
        (
            video(json!("data:video/mp4;base64,AAAAGGZ0eXBtcDQy")),
            "invalid_video",
            "not an animated GIF, WebP or PNG",
        ),
        (
            video(json!("data:video/mp4;base64,")),
            "invalid_video",
            "the file is empty",
        ),
        (
            video(json!(frame(8))),
            "invalid_video",
            "video has 1 frames, need at least 2",
        ),
        (
            json!({"type": "video", "video": [frame(8), frame(8)], "fps": 0}),
            "invalid_value",
            "fps must be a number above 0",
        ),
        (
            json!({"type": "video", "video": [frame(8), frame(8)], "max_frames": 1}),
            "invalid_value",
            "max_frames must be an integer in 2..768",
        ),
    ] {
        let reply = server.post(CHAT, &about(part));
        assert_eq!(reply.status, 400, "{message}: {}", reply.text());
        let error = reply.json()["error"].clone();
        let said = error["message"].as_str().unwrap();
        assert!(said.contains(message), "{message:?} is not in {said:?}");
        assert_eq!(error["code"], code, "{said}");
    }
    let after = server.post(CHAT, &text_chat("Hello")).ok();
    assert_eq!(before["choices"], after["choices"]);
}

#[test]
fn a_video_that_takes_too_long_ends_there() {
    let server = Server::with(|setup| setup.service.video_time = std::time::Duration::ZERO);
    let url = format!("data:video/gif;base64,{}", animation("kept.gif"));
    let reply = server.post(CHAT, &about(json!({"type": "video", "video": url})));
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("takes too long"), "{}", reply.text());
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn films_are_read_by_ffmpeg_where_the_server_may() {
    let place = tempfile::tempdir().unwrap();
    let film = place.path().join("film.mp4");
    let made = std::process::Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=64x64:rate=4:duration=2",
        ])
        .args(["-pix_fmt", "yuv420p"])
        .arg(&film)
        .output();
    let Ok(made) = made else {
        eprintln!("SKIPPED: no ffmpeg on this machine, --video-ffmpeg was NOT tested");
        return;
    };
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let bytes = std::fs::read(&film).unwrap();
    let data = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let url = format!("data:video/mp4;base64,{data}");
    let part = json!({"type": "video_url", "video_url": {"url": url}});
    let server = Server::with(|setup| setup.service.other_videos = OtherVideos::Ffmpeg);
    let answer = server.post(CHAT, &about(part.clone())).ok();
    let video = &answer["usage"]["videos"][0];
    assert_eq!(
        (&video["width"], &video["height"]),
        (&json!(64), &json!(64))
    );
    assert_eq!(video["frames"], 4, "two a second: {answer}");
    // What ffmpeg cannot read is the client's fault; what is no film reaches no decoder without the flag.
    let cut = base64::engine::general_purpose::STANDARD.encode(&bytes[..bytes.len() / 3]);
    let cut = format!("data:video/mp4;base64,{cut}");
    let reply = server.post(CHAT, &about(json!({"type": "video_url", "video_url": cut})));
    assert_eq!(reply.status, 400, "{}", reply.text());
    let said = reply.text();
    assert!(
        !said.contains("/tmp") && !said.contains(place.path().to_str().unwrap()),
        "{said}"
    );
    let careful = Server::start();
    let reply = careful.post(CHAT, &about(part));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["error"]["code"], "invalid_video");
}

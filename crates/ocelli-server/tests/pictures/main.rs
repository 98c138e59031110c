//! Pictures that mean harm: each is refused with its reason, in little time and memory, and nobody
//! else notices. A program of its own, because it measures the memory of the process.
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

#[path = "../server/client.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod client;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use client::{Reply, Server, picture_chat, text_chat};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// One test at a time: the memory of a second server is not to be measured.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A chat about a picture of these bytes.
fn about(bytes: &[u8]) -> Value {
    let mut chat = picture_chat("What is it?");
    let url = format!("data:image/png;base64,{}", base64(bytes));
    chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
    chat["max_tokens"] = json!(4);
    chat
}

/// The picture of the README as a file.
fn scene() -> Vec<u8> {
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(client::scene()).unwrap()
}

/// That file with another size in its header.
fn resized(width: u32, height: u32) -> Vec<u8> {
    let mut png = scene();
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    png
}

/// A GIF whose header names a size that nothing follows.
fn gif(width: u16, height: u16) -> Vec<u8> {
    let [w, h] = [width.to_le_bytes(), height.to_le_bytes()];
    let mut gif = b"GIF89a".to_vec();
    gif.extend([w, h].concat());
    gif.extend(b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0");
    gif.extend([w, h].concat());
    gif.extend(b"\0\x02\x02D\x01\0;");
    gif
}

/// A JPEG's head: what `marker` announces of a picture of this size with three colours.
fn jpeg(marker: u8, side: u16) -> Vec<u8> {
    let side = side.to_be_bytes();
    let mut jpeg = vec![0xff, 0xd8, 0xff, marker, 0, 17, 8];
    jpeg.extend([side, side].concat());
    jpeg.extend([3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    jpeg.extend(b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\0\0\xff\xd9");
    jpeg
}

/// A black BMP of one bit a pixel: two megabytes that become fifty.
fn one_bit(side: u32) -> Vec<u8> {
    let bytes = side.div_ceil(32) * 4 * side;
    let mut file = b"BM".to_vec();
    for value in [62 + bytes, 0, 62, 40, side, side] {
        file.extend(value.to_le_bytes());
    }
    file.extend([1, 0, 1, 0]);
    for value in [0, bytes, 2835, 2835, 2, 0, 0, 0x00ff_ffff] {
        file.extend(value.to_le_bytes());
    }
    file.resize(62 + bytes as usize, 0);
    file
}

/// The most memory this process held since [`forget_peak`], in MiB; zero where the system does not say.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn forget_peak() {
    // Linux alone has it; elsewhere the peak is not measured.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[track_caller]
fn expect(reply: &Reply, status: u16, code: &str, message: &str) {
    assert_eq!(reply.status, status, "{message}: {}", reply.text());
    let error = reply.json()["error"].clone();
    let said = error["message"].as_str().unwrap_or_default();
    assert!(said.contains(message), "{message:?} is not in {said:?}");
    assert_eq!(error["code"], code, "{said}");
}

#[test]
fn a_bad_picture_is_refused_with_its_reason_in_little_time_and_memory() {
    let _alone = alone();
    let server = Server::start();
    let before = server.post(CHAT, &picture_chat("What is it?")).ok();
    let mut broken = scene();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    let cut = scene()[..middle].to_vec();
    let none = "not a supported image (PNG, JPEG, WebP, GIF, BMP)";
    let arithmetic = "unsupported JPEG feature: arithmetic coding";
    let rows: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), none),
        (b"x".to_vec(), none),
        (b"<html></html>".to_vec(), none),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), none),
        (b"%PDF-1.4".to_vec(), none),
        (
            resized(22_000, 22_000),
            "image is 22000x22000 (484.0 MP), limit 67.2 MP",
        ),
        (
            resized(1_000_000, 1),
            "image is 1000000x1, limit 16384 pixels a side",
        ),
        (
            gif(65_535, 65_535),
            "image is 65535x65535 (4294.9 MP), limit 67.2 MP",
        ),
        (
            gif(11_000, 11_000),
            "image is 11000x11000 (121.0 MP), limit 67.2 MP",
        ),
        (gif(8000, 8000), "corrupt GIF"),
        (resized(640, 4000), "corrupt PNG"),
        (cut, "image data truncated"),
        (broken, "corrupt PNG"),
        (jpeg(0xc2, 8192), "decoding takes"),
        (jpeg(0xc9, 64), arithmetic),
        (jpeg(0xc3, 64), "unsupported JPEG feature: lossless coding"),
        (
            vec![0; 21 << 20],
            "image file has 22020096 bytes, limit 20971520",
        ),
    ];
    forget_peak();
    let start = peak_mib();
    for (bytes, message) in rows {
        let length = bytes.len() as u64 >> 20;
        let body = about(&bytes);
        let asked = Instant::now();
        let reply = server.post(CHAT, &body);
        // A bound against work without end; on an idle machine these take milliseconds.
        assert!(asked.elapsed() < Duration::from_secs(20), "{message}");
        expect(&reply, 400, "invalid_image", message);
        // The request itself is held a few times over, by this client too: as text, parsed, and
        // decoded from base64; and what an allocator has not given back yet counts. What is refused
        // here would take gigabytes.
        let grown = peak_mib().saturating_sub(start);
        assert!(grown <= 64 + 16 * length, "{message}: {grown} MiB");
    }
    let after = server.post(CHAT, &picture_chat("What is it?")).ok();
    assert_eq!(before["choices"], after["choices"]);
}

#[test]
fn what_the_file_is_decides_and_not_what_it_is_called() {
    let _alone = alone();
    let server = Server::start();
    let mut chat = picture_chat("What is it?");
    let expected = server.post(CHAT, &chat).ok();
    let url = format!("data:image/jpeg;base64,{}", client::scene());
    chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
    assert_eq!(
        server.post(CHAT, &chat).ok()["choices"],
        expected["choices"]
    );
    let tall = about(&one_bit(1));
    assert_eq!(
        server.post(CHAT, &tall).ok()["usage"]["images"][0]["width"],
        1
    );
}

#[test]
fn a_picture_that_takes_too_long_ends_there() {
    let _alone = alone();
    let server = Server::with(|setup| setup.service.picture_time = Duration::ZERO);
    let reply = server.post(CHAT, &picture_chat("What is it?"));
    expect(
        &reply,
        400,
        "invalid_image",
        "image 1: takes too long to decode",
    );
    server.post(CHAT, &text_chat("Hello")).ok();
}

#[test]
fn large_pictures_wait_for_memory_and_small_ones_go_on() {
    let _alone = alone();
    let server = Server::with(|setup| {
        setup.service.preparing_threads = 8;
        // One of the large ones takes 112 MiB.
        setup.service.decoding_bytes = 128 << 20;
    });
    let expected = server.post(CHAT, &picture_chat("What is it?")).ok();
    let large = about(&one_bit(4096));
    forget_peak();
    let start = peak_mib();
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| server.post(CHAT, &large).status))
            .collect();
        for _ in 0..4 {
            let answer = server.post(CHAT, &picture_chat("What is it?")).ok();
            assert_eq!(answer["choices"], expected["choices"]);
        }
        for asker in askers {
            assert_eq!(asker.join().unwrap(), 200);
        }
    });
    // Without the bound eight at once take 900 MiB. Requests and answers take about 100.
    let grown = peak_mib().saturating_sub(start);
    assert!(grown < 500, "{grown} MiB");
}

#[test]
fn a_picture_without_an_address_is_named() {
    let _alone = alone();
    let server = Server::start();
    for (image_url, message) in [
        (json!({}), "messages[0].content[1].image_url.url missing"),
        (
            json!({"url": null}),
            "messages[0].content[1].image_url.url missing",
        ),
        (json!({"url": 5}), "messages[0].content[1].image_url.url"),
        (
            json!({"url": " ".repeat(10 << 20)}),
            "messages[0].content[1].image_url.url",
        ),
        (
            json!({"url": "data:image/png,QUI="}),
            "data URI must be image/*;base64",
        ),
    ] {
        let mut chat = picture_chat("What is it?");
        chat["messages"][0]["content"][1]["image_url"] = image_url;
        let reply = server.post(CHAT, &chat);
        assert_eq!(reply.status, 400, "{message}");
        let said = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(said.contains(message), "{message:?} is not in {said:?}");
    }
}

#[test]
fn pictures_that_do_not_fit_the_context_are_counted() {
    let _alone = alone();
    let server = Server::start();
    let mut chat = picture_chat("What is it?");
    let part = chat["messages"][0]["content"][1].clone();
    let parts = Value::Array(vec![part; 16]);
    let message = json!({"role": "user", "content": parts});
    chat["messages"] = Value::Array(vec![message; 1]);
    server.post(CHAT, &chat).ok();
    let mut two = chat.clone();
    two["messages"] = Value::Array(vec![chat["messages"][0].clone(); 2]);
    expect(
        &server.post(CHAT, &two),
        400,
        "invalid_request",
        "32 images, limit 16",
    );
}

//! Bad pictures: 6 for a bad one, 8 for a path, and never an answer without the picture.

mod common;

use common::{Folder, bitmap, ocelli, ocelli_fed, picture};

#[test]
fn what_is_no_picture_is_refused() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    for (name, content) in [
        ("empty.png", &b""[..]),
        ("byte.png", b"x"),
        ("text.png", b"just some words"),
        ("page.png", b"<!DOCTYPE html><html></html>"),
        (
            "drawing.svg",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        ),
        ("paper.pdf", b"%PDF-1.7\n"),
    ] {
        let path = folder.file(name, content);
        model
            .run(&["--image", &path, "x"])
            .fails(6, "not a supported image (PNG, JPEG, WebP, GIF, BMP)");
    }
    let arguments = model.arguments("run", &["--image", "-", "x"]);
    ocelli_fed(&arguments, b"just some words").fails(6, "not a supported image");
}

#[test]
fn a_picture_cut_anywhere_is_refused() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let whole = std::fs::read(picture("wide.png")).unwrap();
    for part in 1..8 {
        let path = folder.file("cut.png", &whole[..whole.len() * part / 8]);
        model.run(&["--image", &path, "x"]).fails(6, "cut.png");
    }
}

#[test]
fn sizes_beyond_the_limits_are_refused_before_decoding() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    for (name, content, message) in [
        (
            "huge.bmp",
            bitmap(22_000, 22_000),
            "image is 22000x22000 (484.0 MP)",
        ),
        ("long.bmp", bitmap(1_000_000, 1), "1000000x1"),
        (
            "thin.bmp",
            bitmap(2010, 10),
            "aspect ratio 201:1 exceeds 200:1",
        ),
        ("none.bmp", bitmap(0, 4), "0x4"),
        (
            "giant.gif",
            b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;".to_vec(),
            "65535x65535",
        ),
    ] {
        let path = folder.file(name, content);
        model.run(&["--image", &path, "x"]).fails(6, message);
    }
}

#[test]
fn a_picture_that_is_not_there_ends_with_8() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    model
        .run(&["--image", &folder.path("none.png"), "x"])
        .fails(8, "none.png");
    model
        .run(&["--image", &folder.path(""), "x"])
        .fails(8, "image 1");
}

#[test]
fn the_bad_one_of_several_is_named() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let bad = folder.file("bad.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0");
    model
        .run(&["--image", &picture("wide.png"), "--image", &bad, "x"])
        .fails(6, "image 2");
}

#[test]
fn the_smallest_pictures_and_wrong_endings_are_no_error() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    for (width, height) in [(1, 1), (2, 2), (1, 150), (2000, 10)] {
        let path = folder.file("small.png", bitmap(width, height));
        model.run(&["-n", "1", "--image", &path, "x"]).ok();
    }
}

#[cfg(unix)]
#[test]
fn what_never_ends_or_never_begins_is_given_up_with_8() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    ocelli(&["run", "--image", &pipe, "What is this?"]).fails(8, "nothing came for 3 seconds");
    ocelli(&["run", "--messages", &pipe]).fails(8, "nothing came for 3 seconds");
    ocelli(&["run", "--video", &pipe, "What is this?"]).fails(8, "this is no regular file");
    let verify = ["verify", "--prompt", "x", "--reference", "/dev/zero"];
    ocelli(&verify).fails(8, "this is no regular file");
}

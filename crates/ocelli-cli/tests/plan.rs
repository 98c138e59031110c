//! `ocelli plan`: what it says is what a run does, and a bad picture does not stop it.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, bitmap, ocelli, picture};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn sizes_grids_and_tokens_are_those_of_a_run() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let pictures = ["wide.png", "tall.png", "photo.png", "ragged.png"].map(picture);
    let limits = ["--image-max-tokens", "64"];
    let mut arguments: Vec<&str> = pictures.iter().map(String::as_str).collect();
    arguments.extend(limits);
    arguments.push("--json");
    let plan = json(&ocelli(&model.arguments("plan", &arguments)).ok());
    let mut asked: Vec<&str> = pictures
        .iter()
        .flat_map(|p| ["--image", p.as_str()])
        .collect();
    asked.extend(limits);
    asked.extend(["--json", "-n", "1", "What?"]);
    let run = json(&model.run(&asked).ok());
    let seen = run["images"].as_array().unwrap();
    assert_eq!(seen.len(), 4);
    for (planned, seen) in plan["images"].as_array().unwrap().iter().zip(seen) {
        for (field, value) in seen.as_object().unwrap() {
            assert_eq!(&planned[field], value, "{field} of {planned}");
        }
        for field in ["encode_s", "prefill_s"] {
            assert!(
                planned[field].as_f64().unwrap() > 0.0,
                "{field} of {planned}"
            );
        }
    }
    let sum = |field: &str| -> u64 {
        let all = plan["images"].as_array().unwrap();
        all.iter().map(|image| image[field].as_u64().unwrap()).sum()
    };
    assert_eq!(plan["total"]["tokens"], sum("tokens"));
    assert_eq!(plan["total"]["kv_bytes"], sum("kv_bytes"));
    assert_eq!(plan["total"]["fits_one_prompt"], true);
}

#[test]
fn keys_and_values_take_what_inspect_says() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    // Bytes of a head of 16.
    for (kv, head) in [("f16", 32), ("q8", 16 + 2), ("q8_0", 16 + 2), ("f32", 64)] {
        // Whole pages: inspect says what is reserved.
        let inspected = [
            "inspect",
            "--ctx",
            "1600",
            "--kv",
            kv,
            "--json",
            &model.text,
            &model.mmproj,
        ];
        let report = json(&ocelli(&inspected).ok());
        let of_1600 = report["pairs"][0]["memory"]["cache"].as_u64().unwrap();
        // 3 layers of 2 heads, keys and values.
        assert_eq!(of_1600, 1600 * 3 * 2 * 2 * head, "{kv}");
        let arguments = ["--kv", kv, "--json", &picture("photo.png")];
        let plan = ocelli(&model.arguments("plan", &arguments)).ok();
        let image = &json(&plan)["images"][0];
        let tokens = image["tokens"].as_u64().unwrap();
        assert_eq!(image["kv_bytes"].as_u64().unwrap() * 1600, of_1600 * tokens);
    }
}

#[test]
fn pictures_that_cannot_be_read_are_told_and_the_others_planned() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (text, missing) = (folder.file("notes.png", "words"), folder.path("none.png"));
    let large = folder.file("large.bmp", bitmap(20_000, 20_000));
    let good = picture("photo.png");
    let all = [good.as_str(), &text, &missing, &large, &good];
    let ran = ocelli(&model.arguments("plan", &[&all[..], &["--json"]].concat()));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.contains("3 of 5 pictures"), "{ran:?}");
    let plan = json(&ran.stdout);
    let images = plan["images"].as_array().unwrap();
    let codes: Vec<Option<u64>> = images.iter().map(|i| i["error"]["code"].as_u64()).collect();
    assert_eq!(codes, [None, Some(6), Some(8), Some(6), None]);
    assert_eq!(images[0]["tokens"], images[4]["tokens"]);
    assert_eq!(
        (&plan["total"]["images"], &plan["total"]["failed"]),
        (&2.into(), &3.into())
    );
    let ran = ocelli(&model.arguments("plan", &all));
    assert_eq!(ran.stdout.matches("cannot be seen: ").count(), 3, "{ran:?}");
    assert_eq!(ran.stdout.matches("photo.png").count(), 2, "{ran:?}");
}

#[test]
fn folders_are_planned_and_what_does_not_fit_is_said() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    std::fs::create_dir_all(folder.path("scans")).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::copy(picture("photo.png"), folder.path(&format!("scans/{name}"))).unwrap();
    }
    let scans = folder.path("scans");
    let table = ocelli(&model.arguments("plan", &[&scans])).ok();
    assert!(table.contains("one prompt holds all"), "{table}");
    let table = ocelli(&model.arguments("plan", &[&scans, "-c", "20"])).ok();
    assert!(table.contains("too much for one prompt"), "{table}");
    ocelli(&model.arguments("plan", &[&folder.path("")])).ok();
    let ran = ocelli(&model.arguments("plan", &[&folder.path("nowhere.png")]));
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.stderr.contains("nowhere.png"), "{ran:?}");
}

#[test]
fn a_plan_needs_a_model_that_sees_and_pictures() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let photo = picture("photo.png");
    std::fs::remove_file(&model.mmproj).unwrap();
    ocelli(&["plan", "-m", &model.text, &photo]).fails(4, "--mmproj");
    ocelli(&["plan", "-m", &folder.path("none.gguf"), &photo]).fails(8, "none.gguf");
    ocelli(&["plan"]).fails(2, "IMAGE");
    // Without a model it is the built-in one.
    assert!(ocelli(&["plan", &photo]).ok().contains("ocelli-demo"));
}

/// An animation and frames as command lines have them.
fn videos() -> (String, [String; 3]) {
    let animations = common::root().join("crates/ocelli-image/tests/goldens/animation");
    let gif = animations.join("opaque.gif").to_str().unwrap().to_owned();
    (gif, [0, 1, 2].map(|i| picture(&format!("clip_{i}.png"))))
}

#[test]
fn frames_sizes_and_tokens_of_videos_are_those_of_a_run() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (gif, [a, b, c]) = videos();
    let of_file = vec!["--video", gif.as_str(), "--fps", "10"];
    let of_frames = vec!["--frames", &a, &b, &c, "--fps", "0.5"];
    let text = json(&model.run(&["--json", "-n", "1", "What?"]).ok());
    for asked in [of_file, of_frames] {
        let run = [&asked[..], &["--json", "-n", "1", "What?"]].concat();
        let run = json(&model.run(&run).ok());
        let plan = [&asked[..], &["--json"]].concat();
        let plan = json(&ocelli(&model.arguments("plan", &plan)).ok());
        let planned = &plan["videos"][0];
        for (field, value) in run["videos"][0].as_object().unwrap() {
            assert_eq!(&planned[field], value, "{field} of {planned}");
        }
        let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
        // The marks of the first temporal patch are the template's own.
        assert_eq!(
            planned["prompt_tokens"].as_u64().unwrap() + 2,
            tokens(&run) - tokens(&text),
            "{planned}"
        );
        for field in ["prepare_s", "encode_s", "prefill_s"] {
            assert!(planned[field].as_f64().unwrap() > 0.0, "{field}");
        }
        assert_eq!(plan["total"]["videos"], 1);
        assert_eq!(plan["total"]["tokens"], planned["prompt_tokens"]);
    }
}

#[test]
fn videos_that_cannot_be_seen_are_told_beside_pictures_that_can() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (gif, _) = videos();
    let (photo, film) = (picture("photo.png"), folder.file("film.mp4", ""));
    let all = [photo.as_str(), &film, "--video", &gif, "--json"];
    let ran = ocelli(&model.arguments("plan", &all));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.contains("1 of 3 pictures and videos"), "{ran:?}");
    let plan = json(&ran.stdout);
    assert_eq!(plan["videos"].as_array().unwrap().len(), 2);
    let failed = plan["videos"].as_array().unwrap().iter();
    let failed: Vec<&Value> = failed.filter(|video| !video["error"].is_null()).collect();
    assert_eq!(failed.len(), 1);
    let message = failed[0]["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("film.mp4") && message.contains("empty"),
        "{message}"
    );
    let table = ocelli(&model.arguments("plan", &[&photo, "--video", &gif])).ok();
    assert!(
        table.contains("opaque.gif") && table.contains("prepare"),
        "{table}"
    );
    let gone = ["--video", &folder.path("gone.mp4")];
    let ran = ocelli(&model.arguments("plan", &gone));
    assert_eq!(ran.code, Some(8), "{ran:?}");
    assert!(ran.stderr.contains("gone.mp4"), "{ran:?}");
}

/// Families that resize pictures can be asked for other sizes, also where the file's least and most
/// are one number.
#[test]
fn a_file_with_one_number_for_least_and_most_pixels_still_resizes_as_asked() {
    let folder = Folder::new();
    let model = folder.model(|pair| {
        for key in ["image_min_pixels", "image_max_pixels"] {
            let pixels = ocelli_gguf::Value::U32(1 << 16);
            pair.mmproj.set(&format!("clip.vision.{key}"), pixels);
        }
    });
    let scene = picture("photo.png");
    let tokens = |options: &[&str]| {
        let all = [&[&scene[..], "--json"][..], options].concat();
        let printed = ocelli(&model.arguments("plan", &all)).ok();
        let planned = json(&printed);
        planned["images"][0]["tokens"].as_u64().unwrap()
    };
    let own = tokens(&[]);
    let fewer = tokens(&["--image-min-tokens", "1", "--image-max-tokens", "9"]);
    assert!(fewer <= 9 && own > 9, "{fewer} of {own}");
    let more = tokens(&["--image-max-tokens", "200", "--image-min-tokens", "150"]);
    assert!((150..=200).contains(&more), "{more} after {own}");
}

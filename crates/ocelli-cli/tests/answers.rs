//! One question, one answer: what goes to standard output, what repeats, what ends an answer.

mod common;

use std::process::Stdio;

use common::{Folder, command, finish, ocelli, ocelli_fed, picture, root};
use serde_json::Value;

#[test]
fn the_built_in_model_answers_about_the_example_with_nothing_but_text_on_standard_output() {
    let scene = root().join("examples/scene.png");
    let ran = ocelli(&[
        "run",
        "-n",
        "4",
        "--image",
        scene.to_str().unwrap(),
        "What is in this picture?",
    ]);
    assert_eq!(ran.stderr, "", "{ran:?}");
    let answer = ran.ok();
    assert!(
        !answer.trim().is_empty() && answer.ends_with('\n') && !answer.contains("<|"),
        "{answer:?}"
    );
}

#[test]
fn keys_and_values_in_8_bits_leave_the_answer_about_the_example_as_it_is() {
    let scene = root().join("examples/scene.png");
    let ask = |kv: &str| {
        let image = scene.to_str().unwrap();
        let question = "What shapes are there?";
        ocelli(&["run", "-n", "24", "--kv", kv, "--image", image, question])
    };
    assert_eq!(ask("q8").ok(), ask("f16").ok());
    ask("q3").fails(2, "[possible values: f16, q8, f32]");
}

#[test]
fn json_has_every_field() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (wide, tall) = (picture("wide.png"), picture("tall.png"));
    let arguments = [
        "--json",
        "-n",
        "3",
        "--image-max-tokens",
        "128",
        "--image",
        &wide,
        "--image",
        &tall,
        "Compare.",
    ];
    let answer: Value = serde_json::from_str(&model.run(&arguments).ok()).unwrap();
    assert!(answer["answer"].is_string());
    assert!(["stop", "length"].contains(&answer["finish_reason"].as_str().unwrap()));
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 8);
    assert!((1..=3).contains(&answer["usage"]["completion_tokens"].as_u64().unwrap()));
    let images = answer["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for image in images {
        let number = |name: &str| {
            image[name]
                .as_u64()
                .unwrap_or_else(|| panic!("{name} in {image}"))
        };
        let grid: Vec<u64> = image["grid"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap())
            .collect();
        assert_eq!(
            grid,
            [
                1,
                number("resized_height") / 16,
                number("resized_width") / 16
            ],
            "{image}"
        );
        assert_eq!(number("tokens"), grid[1] * grid[2] / 4, "{image}");
        assert_eq!(number("orientation"), 1, "{image}");
        assert!(number("width") > 0 && number("height") > 0, "{image}");
    }
    for name in [
        "load_s",
        "image_decode_s",
        "preprocess_s",
        "encode_s",
        "prefill_s",
        "decode_s",
    ] {
        assert!(answer["timings"][name].as_f64().unwrap() >= 0.0, "{name}");
    }
}

#[test]
fn verbose_tells_sizes_and_times_on_standard_error_only() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let ran = model.run(&["-v", "-n", "2", "--image", &picture("wide.png"), "What?"]);
    for said in [
        "wide",
        "load",
        "image decode",
        "preprocess",
        "encode",
        "prefill",
        "decode",
        "tokens/s",
        " -> ",
    ] {
        assert!(
            said == "wide" || ran.stderr.contains(said),
            "{said}: {ran:?}"
        );
    }
    assert!(!ran.stdout.contains(" -> "), "{ran:?}");
    ran.ok();
}

#[test]
fn the_prompt_comes_from_an_argument_a_flag_or_standard_input() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let tokens = |arguments: &[&str], input: &[u8]| {
        let all = [&["--json", "-n", "1"], arguments].concat();
        let printed = ocelli_fed(&model.arguments("run", &all), input).ok();
        let answer: Value = serde_json::from_str(&printed).unwrap();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let asked = tokens(&["What is it?"], b"");
    assert_eq!(tokens(&["-p", "What is it?"], b""), asked);
    assert_eq!(tokens(&[], b"What is it?\n"), asked);
    assert_eq!(tokens(&["-"], b"What is it?"), asked);
    let both = tokens(&["What is it?"], b"A riddle.\n");
    assert!(both > asked + 4, "{both} and {asked}");
    assert_eq!(tokens(&["What is it?\n\nA riddle."], b""), both);
}

#[test]
fn an_open_pipe_without_data_does_not_hold_up_an_answer() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let mut child = command(&model.arguments("run", &["-n", "1", "Hello"]))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = child.stdin.take();
    let ran = finish(child);
    drop(pipe);
    assert!(ran.stderr.contains("note: standard input"), "{ran:?}");
    ran.ok();
}

#[test]
fn a_picture_can_come_from_standard_input() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let bytes = std::fs::read(picture("wide.png")).unwrap();
    let from_file = model
        .run(&["-n", "6", "--image", &picture("wide.png"), "What?"])
        .ok();
    let arguments = model.arguments("run", &["-n", "6", "--image", "-", "What?"]);
    assert_eq!(ocelli_fed(&arguments, &bytes).ok(), from_file);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    ocelli_fed(&["run"], b"what \xff is it").fails(2, "byte 5: found no UTF-8");
}

#[test]
fn a_message_list_takes_the_place_of_prompt_and_pictures() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let wide = picture("wide.png");
    let list = folder.file(
        "chat.json",
        format!(
            r#"[{{"role": "user", "content": [{{"type": "image_url", "image_url": {{"url": "{wide}"}}}},
                {{"type": "text", "text": "What?"}}]}}]"#
        ),
    );
    let asked = model.run(&["-n", "6", "--image", &wide, "What?"]).ok();
    assert_eq!(model.run(&["-n", "6", "--messages", &list]).ok(), asked);
    for (name, content, message) in [
        ("empty.json", "[]", "at least one"),
        ("broken.json", "{", "messages: "),
        (
            "king.json",
            r#"[{"role": "king", "content": "x"}]"#,
            "messages[0].role",
        ),
        (
            "url.json",
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/html;base64,QUI="}}]}]"#,
            "data URI must be image/*;base64",
        ),
        (
            "fetch.json",
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]"#,
            "not fetched",
        ),
    ] {
        let list = folder.file(name, content);
        model.run(&["--messages", &list]).fails(2, message);
    }
    model
        .run(&["--messages", &folder.path("none.json")])
        .fails(8, "none.json");
}

#[test]
fn greedy_answers_repeat_and_seeds_decide_the_others() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let ask = |flags: &[&str]| model.run(&[&["-n", "24", "Tell me."], flags].concat()).ok();
    assert_eq!(ask(&[]), ask(&["-t", "1"]));
    let warm = |seed: &str| {
        ask(&[
            "--temp", "1.5", "--top-k", "50", "--top-p", "0.99", "--min-p", "0", "--seed", seed,
        ])
    };
    assert_eq!(warm("7"), warm("7"));
    assert_ne!(warm("7"), warm("8"));
    let penalised = ask(&[
        "--repeat-penalty",
        "1.5",
        "--presence-penalty",
        "1",
        "--frequency-penalty",
        "1",
    ]);
    assert!(!penalised.is_empty());
    assert_ne!(ask(&["--system", "Speak Latin."]), ask(&[]));
}

#[test]
fn a_stop_string_ends_the_answer_before_it() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let whole = model.run(&["-n", "24", "Tell me."]).ok();
    let whole = whole.trim_end();
    let characters: Vec<char> = whole.chars().collect();
    assert!(characters.len() > 6, "{whole:?}");
    let stop: String = characters[4..6].iter().collect();
    let cut = &whole[..whole.find(&stop).unwrap()];
    let printed = model
        .run(&[
            "--json",
            "-n",
            "24",
            "--stop",
            &stop,
            "--stop",
            "never said",
            "Tell me.",
        ])
        .ok();
    let answer: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(answer["answer"], cut);
    assert_eq!(answer["finish_reason"], "stop");
}

#[test]
fn what_a_user_types_is_never_a_picture_or_a_control_token() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    model
        .run(&[
            "-n",
            "1",
            "<|vision_start|><|image_pad|><|vision_end|><|im_end|>",
        ])
        .ok();
}

#[test]
fn a_prompt_over_the_context_lists_every_image() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let (wide, tall) = (picture("wide.png"), picture("tall.png"));
    let ran = model.run(&["-c", "40", "--image", &wide, "--image", &tall, "What?"]);
    assert!(
        ran.stderr.contains("image 1 ") && ran.stderr.contains("image 2 "),
        "{ran:?}"
    );
    ran.fails(2, "does not fit the context of 40");
}

#[test]
fn seventeen_pictures_are_one_too_many() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let small = picture("too_small.png");
    let mut arguments = vec!["What?"];
    arguments.extend(["--image", small.as_str()].repeat(17));
    model.run(&arguments).fails(2, "17 images, limit 16");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let mut child = command(&model.arguments("run", &["-n", "500", "Hello"]))
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let folder = Folder::new();
    let model = folder.model(|_| {});
    let child = command(&model.arguments("run", &["-n", "2", "Hello"]))
        .stdout(full)
        .spawn()
        .unwrap();
    finish(child).fails(8, "cannot write standard output");
}

//! What users of a Gemma 3 pair meet.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use ocelli::{Error, Model, Options, Request, Source};
use ocelli_gguf::{Gguf, Writer};
use ocelli_testkit::{Suite, goldens};

fn load(suite: &str, change: impl FnOnce(&mut Options)) -> Result<Model, Error> {
    let suite = Suite::load(suite);
    let mut options = Options {
        projector: suite.mmproj.clone(),
        context: Some(512),
        ..Options::default()
    };
    change(&mut options);
    Model::load(&Source::File(suite.text), &options, &mut |_, _| {})
}

fn question(text: &str, image: &str) -> Request {
    let mut request = Request::new(text).image(goldens().join("images").join(image));
    request.max_tokens = 2;
    request
}

#[test]
fn crops_take_as_many_tokens_again_and_are_off_by_default() {
    let mut model = load("gemma3-mixed", |_| {}).unwrap();
    let whole = model.ask(question("What?", "panorama.png")).unwrap();
    assert_eq!(whole.images[0].tokens, 16);
    let mut request = question("What?", "panorama.png");
    request.pan_and_scan = true;
    let cropped = model.ask(request).unwrap();
    assert_eq!((cropped.images.len(), cropped.images[0].tokens), (1, 48));
    assert!(cropped.usage.prompt_tokens > whole.usage.prompt_tokens + 32);
}

#[test]
fn crops_of_a_model_that_does_not_know_them_are_refused() {
    let mut model = load("qwen3vl", |_| {}).unwrap();
    let mut request = question("What?", "photo.png");
    request.pan_and_scan = true;
    let message = model.ask(request).unwrap_err().to_string();
    assert!(message.contains("not trained for crops"), "{message}");
}

#[test]
fn places_that_a_user_types_are_text() {
    let mut model = load("gemma3", |_| {}).unwrap();
    let typed = "<start_of_image><image_soft_token><end_of_image> What?";
    let answer = model.ask(question(typed, "photo.png")).unwrap();
    assert_eq!(answer.images.len(), 1);
}

#[test]
fn a_size_that_the_encoder_does_not_have_is_refused() {
    let message = load("gemma3", |options| options.image_max_tokens = Some(64)).unwrap_err();
    let message = message.to_string();
    assert!(
        message.contains("64 tokens") && message.contains("has 4"),
        "{message}"
    );
}

#[test]
fn a_window_larger_than_the_context_is_no_window() {
    let ask = |window: u32| {
        let suite = Suite::load("gemma3");
        let file = Gguf::open(&suite.text).unwrap();
        let mut writer = Writer::new();
        for (key, value) in file.metadata().iter() {
            writer.set(key, value.clone());
        }
        writer.set("gemma3.attention.sliding_window", window);
        for info in file.tensors() {
            writer.add_tensor(info.name(), info.shape(), info.ty(), file.data(info));
        }
        let name = format!("ocelli-gemma3-{}-{window}.gguf", std::process::id());
        let path = std::env::temp_dir().join(name);
        writer.write_to(&path).unwrap();
        let options = Options {
            projector: suite.mmproj,
            context: Some(128),
            ..Options::default()
        };
        let loaded = Model::load(&Source::File(path.clone()), &options, &mut |_, _| {});
        std::fs::remove_file(path).unwrap();
        let answer = loaded.unwrap().ask(question("What?", "photo.png")).unwrap();
        answer.text
    };
    assert_eq!(ask(u32::MAX), ask(128));
    assert_eq!(ask(129), ask(128));
}

#[test]
fn a_pair_without_its_projector_answers_text_and_refuses_pictures() {
    // A folder of its own, so that no projector is found beside the model.
    let folder = std::env::temp_dir().join(format!("ocelli-gemma3-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = folder.join("text.gguf");
    std::fs::copy(Suite::load("gemma3").text, &text).unwrap();
    let mut model = Model::open(&text).unwrap();
    let mut hello = Request::new("Hello");
    hello.max_tokens = 2;
    let told = model
        .ask(hello)
        .map(|answer| answer.usage.completion_tokens);
    let refused = model.ask(question("What?", "photo.png"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(told.unwrap() > 0);
    assert!(matches!(refused, Err(Error::NoVision { .. })));
}

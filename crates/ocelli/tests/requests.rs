//! What a program that embeds the library meets: caches that change nothing, and errors that say what to do.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use ocelli::{
    ErrorKind, Event, FinishReason, Message, Model, Options, Part, Request, Role, Source,
};
use ocelli_testkit::{Suite, goldens};

fn open(context: Option<usize>) -> Model {
    let suite = Suite::load("qwen3vl");
    let options = Options {
        projector: suite.mmproj,
        context,
        image_min_tokens: Some(32),
        image_max_tokens: Some(64),
        ..Options::default()
    };
    Model::load(&Source::File(suite.text), &options, &mut |_, _| {}).unwrap()
}

fn picture(name: &str) -> PathBuf {
    goldens().join("images").join(name)
}

fn ask(model: &mut Model, question: &str, image: &str) -> ocelli::Answer {
    let mut request = Request::new(question).image(picture(image));
    request.max_tokens = 8;
    model.ask(request).unwrap()
}

#[test]
fn a_second_question_about_a_picture_encodes_nothing_and_is_answered_as_if_it_were_the_first() {
    let mut model = open(None);
    ask(&mut model, "What is it?", "photo.png");
    let mut encoded = 0;
    let mut second = Request::new("How many?").image(picture("photo.png"));
    second.max_tokens = 8;
    let second = model
        .ask_with(second, &mut |event| {
            encoded += usize::from(matches!(event, Event::Encoding { .. }));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(encoded, 0);
    assert!(second.usage.cached_tokens >= 32, "{:?}", second.usage);
    let alone = ask(&mut open(None), "How many?", "photo.png");
    assert_eq!(alone.usage.cached_tokens, 0);
    assert_eq!(second.text, alone.text);
}

#[test]
fn another_picture_of_equal_size_is_never_taken_for_the_first() {
    let mut model = open(None);
    ask(&mut model, "What is it?", "same_size_a.png");
    let other = ask(&mut model, "What is it?", "same_size_b.png");
    // The words before the picture are the same.
    assert!(other.usage.cached_tokens < 16, "{:?}", other.usage);
    assert_eq!(
        other.text,
        ask(&mut open(None), "What is it?", "same_size_b.png").text
    );
}

#[test]
fn a_conversation_goes_on_where_it_differs_and_equals_one_asked_at_once() {
    let conversation = |answer: &str| {
        let mut first = Request::new("What is it?").image(picture("photo.png"));
        first.messages.push(Message::text(Role::Assistant, answer));
        first.messages.push(Message::text(Role::User, "And now?"));
        first.max_tokens = 6;
        first
    };
    let mut model = open(None);
    let answer = ask(&mut model, "What is it?", "photo.png").text;
    let gone_on = model.ask(conversation(&answer)).unwrap();
    let fresh = open(None).ask(conversation(&answer)).unwrap();
    assert!(gone_on.usage.cached_tokens > 0);
    assert_eq!(gone_on.text, fresh.text);
}

#[test]
fn the_record_of_each_picture_tells_what_the_model_saw() {
    let answer = ask(&mut open(None), "What is it?", "wide.png");
    let image = &answer.images[0];
    assert_eq!(
        image.resized_width * image.resized_height,
        image.tokens as u32 * 32 * 32
    );
    assert_eq!(image.grid.tokens(), image.tokens);
}

#[test]
fn a_look_says_what_an_answer_takes() {
    let mut model = open(None);
    let request = || {
        Request::new("What is it?")
            .image(picture("photo.png"))
            .max_tokens(1)
    };
    let seen = model.look(&request()).unwrap();
    let answer = model.ask(request()).unwrap();
    assert_eq!(seen.prompt_tokens, answer.usage.prompt_tokens);
    assert_eq!(seen.images, answer.images);
    assert_eq!((seen.images.len(), seen.videos.len()), (1, 0));
}

#[test]
fn a_prompt_over_the_context_is_an_error_with_the_sum_of_each_image() {
    let mut request = Request::new("What is it?")
        .image(picture("photo.png"))
        .image(picture("wide.png"));
    request.max_tokens = 4;
    let mut model = open(Some(32));
    let error = model.ask(request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let text = error.to_string();
    assert!(
        text.contains("image 1") && text.contains("image 2") && text.contains("32"),
        "{text}"
    );
    let mut small = Request::new("Hi");
    small.max_tokens = 1;
    model.ask(small).expect("the model stays usable");
}

#[test]
fn ten_megabytes_of_text_are_refused_before_they_are_tokenized() {
    let mut model = open(Some(64));
    let start = std::time::Instant::now();
    let error = model.ask(Request::new("a ".repeat(5 << 20))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("10485760 bytes"), "{error}");
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn the_context_bounds_the_answer() {
    let mut request = Request::new("Hi");
    request.max_tokens = 1000;
    let mut model = open(Some(40));
    let answer = model.ask(request).unwrap();
    assert!(answer.usage.prompt_tokens + answer.usage.completion_tokens <= 40);
    assert!(matches!(
        answer.finish_reason,
        FinishReason::Length | FinishReason::Stop
    ));
}

#[test]
fn thin_pictures_are_answered_although_they_take_more_tokens_than_the_budget() {
    let thin = ocelli_image::RgbImage::filled(2000, 10, [200, 30, 30]).unwrap();
    let mut request = Request::new("What is it?").image_bytes(thin.to_png().unwrap());
    request.max_tokens = 2;
    let answer = open(None).ask(request).unwrap();
    assert!(answer.images[0].tokens > 0, "{:?}", answer.images[0]);
}

#[test]
fn seventeen_images_are_one_too_many() {
    let mut request = Request::new("What is it?");
    for _ in 0..17 {
        request = request.image(picture("photo.png"));
    }
    let error = open(None).ask(request).unwrap_err();
    assert_eq!(error.to_string(), "17 images, limit 16");
}

#[test]
fn a_picture_for_a_model_without_vision_is_an_error_that_says_what_to_add() {
    let model = Model::open(Suite::load("qwen3vl-mixed").text).unwrap();
    assert!(model.can_see(), "its projector lies beside it");
    let alone = std::env::temp_dir().join(format!("ocelli-blind-{}", std::process::id()));
    std::fs::create_dir_all(&alone).unwrap();
    std::fs::copy(Suite::load("qwen3vl").text, alone.join("text.gguf")).unwrap();
    let mut blind = Model::open(alone.join("text.gguf")).unwrap();
    std::fs::remove_dir_all(&alone).unwrap();
    let error = blind
        .ask(Request::new("What is it?").image(picture("photo.png")))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Pair);
    assert!(error.to_string().contains("--mmproj"), "{error}");
}

#[test]
fn an_observer_stops_an_answer_and_the_next_one_is_as_it_should_be() {
    let mut model = open(None);
    let stop_at = |wanted: fn(&Event<'_>) -> bool| {
        move |event: Event<'_>| match wanted(&event) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let expected = ask(&mut open(None), "What is it?", "photo.png").text;
    let request = || Request::new("What is it?").image(picture("photo.png"));
    for wanted in [
        (|e: &Event<'_>| matches!(e, Event::Encoding { .. })) as fn(&Event<'_>) -> bool,
        |e| matches!(e, Event::Prefill { .. }),
        |e| matches!(e, Event::Text(_)),
    ] {
        let stopped = model.ask_with(request(), &mut stop_at(wanted)).unwrap();
        assert_eq!(stopped.finish_reason, FinishReason::Cancelled);
    }
    assert_eq!(ask(&mut model, "What is it?", "photo.png").text, expected);
}

#[test]
fn bad_pictures_are_named() {
    let mut request = Request::new("What is it?").image(picture("photo.png"));
    request.messages[0]
        .parts
        .push(Part::Image(ocelli::ImageSource::Bytes(b"<svg>".to_vec())));
    let error = open(None).ask(request).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Image);
    assert!(
        error
            .to_string()
            .starts_with("image 2: not a supported image"),
        "{error}"
    );
}

#[test]
fn the_built_in_model_has_one_name() {
    assert_eq!(Model::demo().unwrap().name(), "ocelli-demo");
}

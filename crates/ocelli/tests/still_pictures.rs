//! Mistral 3 and LLaVA through the library: vocabularies that lack what pictures need, sizes that are
//! reported, and features that are kept.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use ocelli::{ErrorKind, Model, Options, Part, Precision, Request, Source};
use ocelli_gguf::{Gguf, Value, Writer};
use ocelli_quant::TensorType;
use ocelli_testkit::{Suite, goldens};

/// The suite's text model with one token called otherwise, in a file of its own.
struct Renamed(PathBuf);

impl Renamed {
    fn new(suite: &Suite, from: &str, to: &str) -> Self {
        let file = Gguf::open(&suite.text).unwrap();
        let mut writer = Writer::new();
        for (key, value) in file.metadata().iter() {
            writer.set(key, value.clone());
        }
        let key = "tokenizer.ggml.tokens";
        let tokens = file.metadata().required_str_array(key).unwrap();
        let renamed = tokens.iter().map(|token| match token == from {
            true => to.to_owned(),
            false => token.to_owned(),
        });
        writer.set(key, Value::from(renamed.collect::<Vec<String>>()));
        for info in file.tensors() {
            writer.add_tensor(info.name(), info.shape(), info.ty(), file.data(info));
        }
        let name = format!("ocelli-{}-{}-{to}.gguf", suite.name, std::process::id());
        let path = std::env::temp_dir().join(name);
        writer.write_to(&path).unwrap();
        Self(path)
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn load(suite: &Suite, text: PathBuf) -> Result<Model, ocelli::Error> {
    let options = Options {
        projector: suite.mmproj.clone(),
        precision: Precision::F32,
        ..Options::default()
    };
    Model::load(&Source::File(text), &options, &mut |_, _| {})
}

fn request() -> Request {
    let picture = goldens().join("images").join("photo.png");
    let mut request = Request::new("Describe the image.").image(picture);
    request.max_tokens = 6;
    request
}

#[test]
fn mistral_without_a_token_for_breaks_is_refused_by_its_name() {
    let suite = Suite::load("mistral3");
    for token in ["[IMG]", "[IMG_BREAK]", "[IMG_END]"] {
        let text = Renamed::new(&suite, token, "gone");
        let error = load(&suite, text.0.clone()).err().unwrap();
        assert!(error.to_string().contains(token), "{error}");
        assert_eq!(error.kind(), ErrorKind::Pair);
    }
}

#[test]
fn llava_whose_vocabulary_has_no_token_for_pictures_answers_the_same() {
    let suite = Suite::load("llava");
    let own = load(&suite, suite.text.clone())
        .unwrap()
        .ask(request())
        .unwrap();
    let text = Renamed::new(&suite, "<image>", "other");
    let other = load(&suite, text.0.clone())
        .unwrap()
        .ask(request())
        .unwrap();
    assert_eq!(own.usage.prompt_tokens, other.usage.prompt_tokens);
    assert_eq!(own.text, other.text);
}

#[test]
fn tokens_of_a_picture_count_its_breaks() {
    let suite = Suite::load("mistral3");
    let mut model = load(&suite, suite.text.clone()).unwrap();
    let answer = model.ask(request()).unwrap();
    let record = &answer.images[0];
    assert_eq!((record.resized_width, record.resized_height), (80, 64));
    assert_eq!(record.tokens, 4 * (5 + 1));
}

#[test]
fn a_picture_kept_with_its_tiles_is_not_taken_for_the_picture_without() {
    let suite = Suite::load("llava-next");
    let folder = std::env::temp_dir().join(format!("ocelli-tiles-{}", std::process::id()));
    let ask = |tokens: Option<u32>, cache: bool| {
        let options = Options {
            projector: suite.mmproj.clone(),
            precision: Precision::F32,
            image_max_tokens: tokens,
            image_cache: cache.then(|| (folder.clone(), 1 << 20)),
            ..Options::default()
        };
        let source = Source::File(suite.text.clone());
        let mut model = Model::load(&source, &options, &mut |_, _| {}).unwrap();
        let answer = model.ask(request()).unwrap();
        (answer.images[0].tokens, answer.text)
    };
    let own = [None, Some(40), Some(12)].map(|tokens| ask(tokens, false));
    assert_eq!(own.each_ref().map(|(tokens, _)| *tokens), [37, 24, 10]);
    for _ in 0..2 {
        let kept = [None, Some(40), Some(12)].map(|tokens| ask(tokens, true));
        assert_eq!(kept, own);
    }
    let kept = std::fs::read_dir(&folder).unwrap().flatten();
    let kept = kept.filter(|entry| entry.path().extension().is_some_and(|e| e == "features"));
    assert_eq!(kept.count(), 3, "each of the three has an entry of its own");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// LLaVA was trained on Llama 3 too, whose template and vocabulary know of no pictures.
#[test]
fn a_text_model_that_knows_of_no_pictures_sees_them_with_a_projector_of_llava() {
    let suite = Suite::load("llava-next");
    let projector = Gguf::open(suite.mmproj.as_ref().unwrap()).unwrap();
    let mut writer = Writer::new();
    for (key, value) in projector.metadata().iter() {
        writer.set(key, value.clone());
    }
    // The text model of `llama` is 64 wide.
    for info in projector.tensors() {
        let (name, shape) = (info.name(), info.shape());
        if !name.starts_with("mm.") && name != "model.image_newline" {
            writer.add_tensor(name, shape, info.ty(), projector.data(info));
            continue;
        }
        let widened: Vec<u64> = shape
            .iter()
            .map(|n| if *n == 48 { 64 } else { *n })
            .collect();
        let bytes = 4 * widened.iter().product::<u64>() as usize;
        writer.add_tensor(name, &widened, TensorType::F32, vec![0; bytes]);
    }
    let path = std::env::temp_dir().join(format!("ocelli-wide-{}.gguf", std::process::id()));
    writer.write_to(&path).unwrap();
    let text = Suite::load("llama").text;
    let options = Options {
        projector: Some(path.clone()),
        precision: Precision::F32,
        ..Options::default()
    };
    let mut model = Model::load(&Source::File(text), &options, &mut |_, _| {}).unwrap();
    let seen = model.ask(request()).unwrap();
    let mut blind = request();
    blind.messages[0]
        .parts
        .retain(|part| matches!(part, Part::Text(_)));
    let words = model.ask(blind).unwrap().usage.prompt_tokens;
    std::fs::remove_file(&path).unwrap();
    // The picture's rows, and the new line behind them.
    assert_eq!(seen.usage.prompt_tokens, words + 37 + 1);
    // What a user types is no picture.
    let mut typed = request();
    typed.messages[0].parts = vec![Part::Text("<image> What?".to_owned())];
    assert!(model.ask(typed).unwrap().images.is_empty());
}

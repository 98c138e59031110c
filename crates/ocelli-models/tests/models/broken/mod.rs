//! Files that are no sound models: each is refused with what was found and what is needed.

use crate::draft::Draft;
use ocelli_gguf::{Array, Gguf, Value};
use ocelli_models::registry::{load_text, load_vision};
use ocelli_tensor::Measure;
use ocelli_testkit::Suite;

/// Drops what a change gives back.
pub(crate) fn done<T>(_: T) {}

/// Sets a key.
macro_rules! set {
    ($key:literal, $value:expr) => {
        |draft: &mut Draft| crate::broken::done(draft.set($key, $value))
    };
}

/// Takes a tensor or a key away.
macro_rules! without {
    (tensor $name:literal) => {
        |draft: &mut Draft| crate::broken::done(draft.take_tensor($name))
    };
    (key $name:literal) => {
        |draft: &mut Draft| crate::broken::done(draft.take($name))
    };
}

mod gemma3;
mod pair;
mod projector;
mod text;

pub(crate) type Break = fn(&mut Draft);

pub(crate) fn text_of(suite: &str) -> Draft {
    Draft::of(&Gguf::open(&Suite::load(suite).text).unwrap())
}

pub(crate) fn projector_of(suite: &str) -> Draft {
    Draft::of(&Gguf::open(&Suite::load(suite).mmproj.unwrap()).unwrap())
}

/// Loads a text model after each change and looks for the words in the message.
pub(crate) fn assert_text_refused(suite: &str, cases: &[(Break, &str)]) {
    let whole = text_of(suite);
    for (change, words) in cases {
        let mut draft = whole.clone();
        change(&mut draft);
        let file = draft.file("broken.gguf");
        let error = load_text(&file, &Measure, &|_| ()).err();
        assert_says(error, words);
    }
}

pub(crate) fn assert_projector_refused(suite: &str, cases: &[(Break, &str)]) {
    let whole = projector_of(suite);
    for (change, words) in cases {
        let mut draft = whole.clone();
        change(&mut draft);
        let file = draft.file("broken.gguf");
        let error = load_vision(&file, &Measure, &|_| ()).err();
        assert_says(error, words);
    }
}

fn assert_says(error: Option<ocelli_models::Error>, words: &str) {
    let error = error.unwrap_or_else(|| panic!("loads, need `{words}`"));
    let message = error.to_string();
    assert!(message.contains(words), "`{message}` needs `{words}`");
    assert!(message.contains("broken.gguf"), "`{message}` names no file");
}

pub(crate) fn i32s(values: &[i32]) -> Value {
    Value::Array(Array::I32(values.to_vec()))
}

pub(crate) fn f32s(values: &[f32]) -> Value {
    Value::Array(Array::F32(values.to_vec()))
}

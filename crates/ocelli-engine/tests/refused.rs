//! Requests that could never be answered are refused when they are handed in.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use ocelli_engine::{Engine, Error, STEP_ROWS, Settings};
use ocelli_image::Grid;
use ocelli_tensor::KvElement;

use common::{Bench, CONTEXT, finish};

/// Settings for pictures of up to 16 patches.
fn small() -> Settings {
    Settings {
        context: CONTEXT,
        sequences: 2,
        cache_tokens: CONTEXT,
        kv_element: KvElement::F16,
        feature_bytes: 1 << 20,
        largest_picture: Some(Grid {
            t: 1,
            h: 2,
            w: 8,
            merge: 2,
            tiles: None,
        }),
    }
}

/// An engine with settings, if there can be one.
fn engine(bench: &Bench, settings: Settings) -> Result<Engine, Error> {
    let (model, backend) = (Arc::clone(&bench.model), Arc::clone(&bench.backend));
    Engine::new(model, backend, settings)
}

#[test]
fn an_engine_that_could_run_nothing_or_too_much_is_refused() {
    let bench = Bench::new(1);
    let sequences = |sequences| Settings {
        sequences,
        ..small()
    };
    let no_context = Settings {
        context: 0,
        ..small()
    };
    for (settings, expected) in [
        (sequences(0), "sequences at the same time: found 0"),
        (sequences(STEP_ROWS + 1), "sequences at the same time"),
        (no_context, "tokens of the context: found 0"),
    ] {
        let error = engine(&bench, settings).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(engine(&bench, sequences(1)).is_ok());
}

#[test]
fn a_picture_that_no_encoder_takes_is_refused_with_both_sizes() {
    let bench = Bench::new(1);
    let mut engine = engine(&bench, small()).unwrap();
    let request = bench.request("What is it?", Some("photo.png"));
    let own = request.pictures[0].patches.grid.patches();
    match engine.submit(request).unwrap_err() {
        Error::PictureSize { patches, most, .. } => assert_eq!((patches, most), (own, 16)),
        other => panic!("{other}"),
    }
    assert!(engine.is_idle());
}

#[test]
fn a_prompt_and_the_pictures_of_another_are_refused() {
    let bench = Bench::new(1);
    let mut engine = bench.engine(1);
    let mut request = bench.request("What is it?", Some("photo.png"));
    request.pictures.clear();
    let error = engine.submit(request).unwrap_err();
    assert!(
        matches!(error, Error::Pictures { shown: 1, given: 0 }),
        "{error}"
    );
    let mut request = bench.request("Hi", None);
    request.pictures.push(bench.picture("photo.png"));
    let error = engine.submit(request).unwrap_err();
    assert!(
        matches!(error, Error::Pictures { shown: 0, given: 1 }),
        "{error}"
    );
    let id = engine.submit(bench.request("Hi", None)).unwrap();
    assert!(
        finish(&mut engine).contains_key(&id),
        "the engine is as it was"
    );
}

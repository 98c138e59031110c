//! Answers that are bound to boxes, from models that know nothing of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use ocelli_engine::{FinishReason, GrammarSource, Grammars};
use ocelli_image::boxes::{Convention, Region, View, locate};
use ocelli_text::ControlTokens;
use serde_json::Value;

use common::{Bench, cpu};

#[test]
fn boxes_are_written_as_the_family_writes_them_and_lie_inside() {
    let view = View {
        width: 640,
        height: 480,
        resized_width: 56,
        resized_height: 42,
    };
    for (suite, convention) in [
        ("qwen3vl", Convention::Relative1000),
        ("qwen2.5vl", Convention::ResizedPixels),
        ("qwen2vl", Convention::Tagged1000),
    ] {
        let bench = Bench::of(suite, Arc::new(cpu(2)));
        let mut found = 0;
        for outcome in bench.drawn(&GrammarSource::Boxes) {
            let tokenizer = &bench.model.tokenizer;
            let text = tokenizer.decode(&outcome.tokens, ControlTokens::Shown);
            let boxes = locate(&text, convention, &view);
            found += boxes.len();
            for located in &boxes {
                let Region::Box { right, bottom, .. } = located.region else {
                    panic!("{suite}: {located:?} in {text}");
                };
                assert!(right <= 640.0 && bottom <= 480.0);
            }
            if convention != Convention::Tagged1000 && outcome.finish_reason == FinishReason::Stop {
                let list: Vec<Value> = serde_json::from_str(&outcome.text).unwrap();
                assert_eq!(list.len(), boxes.len(), "{text}");
            }
        }
        assert!(found > 0, "{suite}: no box");
    }
    let bench = Bench::of("gemma3", Arc::new(cpu(2)));
    let compiled = Grammars::new(Arc::clone(&bench.model)).compile(&GrammarSource::Boxes);
    let refused = compiled.unwrap_err().to_string();
    assert!(refused.contains("write no boxes"), "{refused}");
}

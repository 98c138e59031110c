//! Frames and sizes of videos against the reference's processors (`tools/image/make_goldens.py`).
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use common::cases;
use ocelli_image::{VideoBudget, VideoRule};
use serde_json::Value;

fn rule(case: &Value) -> VideoRule {
    match case[0].as_str() {
        Some("frames") => VideoRule::Frames,
        Some("volume") => VideoRule::Volume,
        other => panic!("rule {other:?}"),
    }
}

#[test]
fn the_frames_that_the_reference_looks_at_are_looked_at() {
    for case in cases("video_sampling.json") {
        let (total, fps) = (case[1].as_u64().unwrap(), case[2].as_f64().unwrap());
        let got = rule(&case).sample(total, fps, case[3].as_f64().unwrap(), 768);
        let expected = case[4].as_array().unwrap();
        let expected: Vec<u64> = expected.iter().filter_map(Value::as_u64).collect();
        assert_eq!(got, expected, "{} {total} {fps} {}", case[0], case[3]);
    }
}

#[test]
fn videos_are_shown_at_the_size_of_the_reference() {
    for case in cases("video_sizes.json") {
        let number = |index: usize| case[index].as_u64().unwrap();
        let factor = number(1) as u32;
        let budget = VideoBudget {
            factor,
            moments: 2,
            rule: rule(&case),
            min_tokens: case[5].as_u64(),
            max_tokens: number(6),
            keeps_to_max: true,
            frame_tokens: 1 << 20,
        };
        let size = (number(3) as u32, number(4) as u32);
        let patch = factor / 2;
        let grid = budget.grid(number(2), size, patch).unwrap();
        let got = (u64::from(grid.w * patch), u64::from(grid.h * patch));
        assert_eq!(got, (number(7), number(8)), "{case}");
        assert_eq!(u64::from(grid.t), number(2).div_ceil(2));
    }
}

#[test]
fn nothing_is_chosen_from_nothing() {
    for rule in [VideoRule::Frames, VideoRule::Volume] {
        assert!(rule.sample(0, 24.0, 2.0, 768).is_empty());
        assert!(rule.sample(1, 24.0, 2.0, 768).len() <= 1);
        // Absurd rates choose all there are, or the least.
        assert_eq!(rule.sample(6, 24.0, 1e300, 768), [0, 1, 2, 3, 4, 5]);
        assert_eq!(rule.sample(400, 24.0, 1e-300, 768).len(), 4);
    }
}

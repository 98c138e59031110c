//! What must not depend on company: a row on other rows, a frame on other frames.

use crate::run::{MEMORY, Model, PAGES};
use ocelli_gguf::Gguf;
use ocelli_image::{Patches, RgbImage};
use ocelli_models::{ImageFeatures, Progress, Segment, Step, run_step};
use ocelli_tensor::{KvStore, Memory, PageId, Pass, Probe, Span};
use ocelli_testkit::Suite;

fn open(name: &str) -> Model {
    let suite = Suite::load(name);
    let text = Gguf::open(&suite.text).unwrap();
    let projector = suite.mmproj.as_ref().map(|path| Gguf::open(path).unwrap());
    Model::load(&text, projector.as_ref()).unwrap_or_else(|error| panic!("{error}"))
}

/// Tokens of a sequence that run in a step.
pub(crate) struct Part<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) cached: usize,
    pub(crate) pages: &'a [PageId],
}

/// Runs parts side by side, prompts first, and gives the logits of each part's last row.
pub(crate) fn step(
    model: &Model,
    kv: &mut dyn KvStore,
    parts: &[Part<'_>],
    prompts: usize,
) -> Vec<Vec<f32>> {
    let (mut tokens, mut positions) = (Vec::new(), Vec::new());
    let (mut spans, mut last_rows) = (Vec::new(), Vec::new());
    for part in parts {
        let start = tokens.len();
        tokens.extend_from_slice(part.tokens);
        let all = model
            .text
            .positions(&[Segment::Text(part.cached + part.tokens.len())]);
        positions.extend_from_slice(&all.tokens[part.cached..]);
        last_rows.push(tokens.len() - 1);
        spans.push(Span {
            rows: start..tokens.len(),
            cached: part.cached,
            pages: part.pages,
            near_pages: part.pages,
            both_ways: &[],
        });
    }
    let step = Step {
        tokens: &tokens,
        positions: &positions,
        prompt_rows: parts[..prompts].iter().map(|p| p.tokens.len()).sum(),
        spans: &spans,
        images: &[],
        output_rows: &last_rows,
    };
    let mut memory = Memory::reserve(&model.backend, MEMORY);
    let mut pass = Pass::new(&model.backend, &mut memory, Probe::Off).with_kv(kv);
    let logits = run_step(model.text.as_ref(), &mut pass, &step);
    let width = model.text.vocabulary();
    pass.download(&logits)
        .chunks(width)
        .map(<[f32]>::to_vec)
        .collect()
}

/// A generated token beside another sequence's prompt, against each alone.
fn assert_company_changes_nothing(name: &str) {
    let model = open(name);
    let (first, second): (Vec<u32>, Vec<u32>) = ((300..340).collect(), (100..161).collect());
    let pages: Vec<PageId> = (0..PAGES).map(PageId).collect();
    let (here, there) = pages.split_at(PAGES as usize / 2);
    let part = |tokens, cached, pages| Part {
        tokens,
        cached,
        pages,
    };

    let mut kv = model.cache();
    step(&model, kv.as_mut(), &[part(&first, 0, here)], 1);
    let parts = [part(&second, 0, there), part(&[7], first.len(), here)];
    let together = step(&model, kv.as_mut(), &parts, 1);

    let mut kv = model.cache();
    step(&model, kv.as_mut(), &[part(&first, 0, here)], 1);
    let token = step(&model, kv.as_mut(), &[part(&[7], first.len(), here)], 0);
    let prompt = step(&model, kv.as_mut(), &[part(&second, 0, there)], 1);
    assert!(together[0] == prompt[0], "{name}: prompt beside a token");
    assert!(together[1] == token[0], "{name}: token beside a prompt");
}

#[test]
fn a_sequence_gives_the_same_bits_alone_and_beside_another() {
    for name in ["qwen3vl-moe", "qwen3vl", "qwen2vl", "llama"] {
        assert_company_changes_nothing(name);
    }
}

pub(crate) fn picture(seed: u32) -> RgbImage {
    let mut picture = RgbImage::filled(230, 150, [0; 3]).unwrap();
    for (i, value) in (0u32..).zip(picture.pixels.iter_mut()) {
        *value = (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8;
    }
    picture
}

pub(crate) fn encode(model: &Model, patches: &Patches) -> ImageFeatures {
    let vision = model.vision.as_deref().unwrap();
    let mut memory = Memory::reserve(&model.backend, MEMORY);
    let mut pass = Pass::new(&model.backend, &mut memory, Probe::Off);
    let mut encoding = vision.begin(&mut pass, patches);
    loop {
        if let Progress::Done(features) = vision.advance(&mut pass, &mut encoding, 1) {
            return features;
        }
    }
}

#[test]
fn frames_of_a_video_do_not_see_each_other() {
    for name in ["qwen2vl", "qwen2.5vl", "qwen3vl"] {
        let model = open(name);
        let vision = model.vision.as_deref().unwrap();
        let budget = vision.budget();
        let (first, second) = (picture(1), picture(2));
        let still = |frame: &RgbImage| {
            let frames = std::slice::from_ref(frame);
            encode(&model, &vision.preprocess(frames, &budget).unwrap())
        };
        let frames = [first.clone(), first.clone(), second.clone(), second.clone()];
        let video = vision.preprocess(&frames, &budget).unwrap();
        assert_eq!(video.grid.t, 2);
        let video = encode(&model, &video);
        let (first, second) = (still(&first), still(&second));
        assert!(video.rows == [first.rows, second.rows].concat(), "{name}");
        let stacked = first.deepstack.iter().zip(&second.deepstack);
        for (both, (first, second)) in video.deepstack.iter().zip(stacked) {
            assert!(
                *both == [&first[..], &second[..]].concat(),
                "{name}: deepstack"
            );
        }
    }
}

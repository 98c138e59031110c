//! Memory for the worst step and the largest picture, and the arithmetic of prompts and pictures,
//! found by running the model on a backend that computes nothing.

use ocelli_image::{Grid, Patches};
use ocelli_models::{ImageFeatures, ImageRows, Progress, Step, TextModel, VisionModel, run_step};

use crate::draft::DRAFT_ROWS;
use ocelli_tensor::{
    Backend as _, KvElement, KvLayout, Measure, Memory, PageId, Pass, Probe, Span, Work,
};

/// Most rows of a step. Longer prompts are cut; results do not depend on where. A picture of 1024
/// tokens and a short question are two steps, not two and a little one that reads all weights for a
/// few rows.
pub const STEP_ROWS: usize = 544;

/// A position behind all that a model was first trained for: there queries of some grow, which
/// takes more memory.
const FAR: u32 = 1 << 30;

/// Most rows of prompts in a step, each of whose tokens is to have its probability: the logits of
/// every such row are held at once. Each step reads all weights for them, so that fewer rows would
/// cost more time.
pub const SCORED_ROWS: usize = 32;

/// Elements that a text step of [`STEP_ROWS`] rows needs, image rows with `deepstack` extras
/// included, where so many sequences run.
pub fn text_memory(model: &dyn TextModel, deepstack: usize, sequences: usize) -> usize {
    let rows = STEP_ROWS;
    // One row of each sequence has logits, and all of those that are scored or guessed.
    let outputs = (sequences + SCORED_ROWS + DRAFT_ROWS).min(rows);
    let features = ImageFeatures {
        grid: Grid {
            t: 1,
            h: 2,
            w: 2,
            merge: 2,
            tiles: None,
        },
        width: model.hidden(),
        rows: vec![0.0; rows * model.hidden()],
        deepstack: vec![vec![0.0; rows * model.hidden()]; deepstack],
    };
    let images = [ImageRows {
        features: &features,
        from: 0..rows,
        rows: 0..rows,
    }];
    let pages = [PageId(0)];
    let spans = [Span {
        rows: 0..rows,
        cached: 0,
        pages: &pages,
        near_pages: &pages,
        both_ways: &[],
    }];
    let step = Step {
        tokens: &vec![0; rows],
        positions: &vec![[FAR; 3]; rows],
        prompt_rows: rows,
        spans: &spans,
        images: if deepstack > 0 { &images } else { &[] },
        output_rows: &(rows - outputs..rows).collect::<Vec<_>>(),
    };
    measured_step(model, &step).peak()
}

/// The arithmetic of a step of at most [`STEP_ROWS`] prompt rows behind `cached` tokens of the same prompt.
pub fn text_work(model: &dyn TextModel, cached: usize, rows: usize) -> Work {
    let pages = [PageId(0)];
    let spans = [Span {
        rows: 0..rows,
        cached,
        pages: &pages,
        near_pages: &pages,
        both_ways: &[],
    }];
    let step = Step {
        tokens: &vec![0; rows],
        positions: &vec![[0; 3]; rows],
        prompt_rows: rows,
        spans: &spans,
        images: &[],
        output_rows: &[rows - 1],
    };
    Work::of(&mut measured_step(model, &step))
}

fn measured_step(model: &dyn TextModel, step: &Step<'_>) -> Memory {
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut kv = Measure.kv_store(KvLayout {
        layers: model.caches(),
        pages: 1,
        near_pages: 1,
        page_tokens: step.tokens.len(),
        element: KvElement::F32,
    });
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off).with_kv(kv.as_mut());
    run_step(model, &mut pass, step);
    memory
}

/// Elements that encoding a picture of this grid needs.
pub fn vision_memory(model: &dyn VisionModel, grid: Grid, patch_elements: usize) -> usize {
    measured_encoding(model, grid, patch_elements).peak()
}

/// The arithmetic of encoding a picture of this grid.
pub fn vision_work(model: &dyn VisionModel, grid: Grid, patch_elements: usize) -> Work {
    Work::of(&mut measured_encoding(model, grid, patch_elements))
}

fn measured_encoding(model: &dyn VisionModel, grid: Grid, patch_elements: usize) -> Memory {
    // Zeroed pages that nobody touches: this costs no memory.
    let patches = Patches {
        pixels: vec![0.0; grid.patches() * patch_elements],
        grid,
    };
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off);
    let mut encoding = model.begin(&mut pass, &patches);
    while let Progress::Layers(..) = model.advance(&mut pass, &mut encoding, model.layers()) {}
    memory
}

//! What a stage has to do at least, counted by running the model on a backend that computes nothing.

use ocelli_engine::Prompt;
use ocelli_gguf::Gguf;
use ocelli_image::{Grid, Patches};
use ocelli_models::{Progress, Step, TextModel, VisionModel, is_vision, run_step};
use ocelli_tensor::{
    Backend as _, KvElement, KvLayout, Measure, Memory, PageId, Pass, Probe, Span, Work,
};

/// Operations of encoding a picture.
pub(super) fn encoding(model: &dyn VisionModel, grid: Grid) -> u64 {
    let shape = model.shape();
    let patch = shape.patch_size as usize;
    // Zeroed pages that nobody touches: this costs no memory.
    let patches = Patches {
        pixels: vec![0.0; grid.patches() * 3 * shape.moments as usize * patch * patch],
        grid,
    };
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off);
    let mut encoding = model.begin(&mut pass, &patches);
    while let Progress::Layers(..) = model.advance(&mut pass, &mut encoding, model.layers()) {}
    Work::of(&mut memory).operations()
}

/// Operations of a prompt from nothing.
pub(super) fn prefill(model: &dyn TextModel, prompt: &Prompt) -> u64 {
    step(model, prompt.tokens.len(), 0).operations()
}

/// Bytes of keys and values that a generated token reads behind so many others.
pub(super) fn cache_read(model: &dyn TextModel, tokens: usize, element: KvElement) -> u64 {
    let layout = KvLayout {
        layers: model.caches(),
        pages: 0,
        near_pages: 0,
        page_tokens: 1,
        element,
    };
    layout.bytes_of(tokens + 1)
}

fn step(model: &dyn TextModel, rows: usize, cached: usize) -> Work {
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
        prompt_rows: if cached == 0 { rows } else { 0 },
        spans: &spans,
        images: &[],
        output_rows: &[rows - 1],
    };
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut kv = Measure.kv_store(KvLayout {
        layers: model.caches(),
        pages: 1,
        near_pages: 1,
        page_tokens: cached + rows,
        element: KvElement::F32,
    });
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off).with_kv(kv.as_mut());
    run_step(model, &mut pass, &step);
    Work::of(&mut memory)
}

/// Bytes of a file's tensors: those of the text model, those of a vision part in the same file.
pub(super) fn stored_bytes(file: &Gguf) -> (u64, u64) {
    file.tensors()
        .iter()
        .fold((0, 0), |(text, vision), tensor| {
            let bytes = tensor.bytes() as u64;
            match is_vision(tensor.name()) {
                true => (text, vision + bytes),
                false => (text + bytes, vision),
            }
        })
}

/// Bytes of a text model's tensors that one generated token has to read.
pub(super) fn read_per_token(file: &Gguf) -> u64 {
    let metadata = file.metadata();
    let architecture = metadata.str("general.architecture").ok().flatten();
    let number = |key: &str| {
        let key = format!("{}.{key}", architecture.unwrap_or_default());
        metadata.u64(&key).ok().flatten()
    };
    let used = number("expert_used_count").zip(number("expert_count"));
    let has_output = file.tensor("output.weight").is_some();
    let read = file.tensors().iter().map(|tensor| {
        let (name, bytes) = (tensor.name(), tensor.bytes() as u64);
        match used {
            // One row of the embedding is nothing beside the matrices.
            _ if is_vision(name) || name == "token_embd.weight" && has_output => 0,
            Some((used, all)) if name.contains("_exps.") => bytes * used / all.max(1),
            _ => bytes,
        }
    });
    read.sum()
}

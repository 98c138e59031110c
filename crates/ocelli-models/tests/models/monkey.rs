//! One thing wrong at a time, everywhere: a file is refused or runs, and never panics.

use crate::draft::Draft;
use ocelli_gguf::{Array, Gguf, Value};
use ocelli_image::{Grid, Patches};
use ocelli_models::registry::{load_text, load_vision};
use ocelli_models::{Progress, Segment, Step, run_step};
use ocelli_tensor::{
    Backend as _, KvElement, KvLayout, Measure, Memory, PageId, Pass, Probe, Span,
};
use ocelli_testkit::{Suite, suites};

/// Loads the text part and, if it loads, runs a step that computes nothing.
fn try_text(file: &Gguf) {
    let Ok(model) = load_text(file, &Measure, &|_| ()) else {
        return;
    };
    let positions = model.positions(&[Segment::Text(3)]).tokens;
    let spans = [Span {
        rows: 0..3,
        cached: 0,
        pages: &[PageId(0)],
        near_pages: &[PageId(0)],
        both_ways: &[],
    }];
    let step = Step {
        tokens: &[0, 1, 2],
        positions: &positions,
        prompt_rows: 3,
        spans: &spans,
        images: &[],
        output_rows: &[2],
    };
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut kv = Measure.kv_store(KvLayout {
        layers: model.caches(),
        pages: 1,
        near_pages: 1,
        page_tokens: 16,
        element: KvElement::F32,
    });
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off).with_kv(kv.as_mut());
    run_step(model.as_ref(), &mut pass, &step);
}

/// Loads the vision part and, if it loads, encodes a picture without computing.
fn try_vision(file: &Gguf) {
    let Ok(model) = load_vision(file, &Measure, &|_| ()) else {
        return;
    };
    let (budget, merge) = (model.budget(), model.shape().merge);
    // Some encoders see squares of one size alone.
    let largest = model.largest_grid(&budget);
    let grid = match largest.tiles.is_some() || budget.min_pixels == budget.max_pixels {
        true => largest,
        false => Grid {
            t: 1,
            h: 3 * merge,
            w: 5 * merge,
            merge,
            tiles: None,
        },
    };
    let patches = Patches {
        pixels: vec![0.0; grid.patches() * model.patch_elements()],
        grid,
    };
    let mut memory = Memory::reserve(&Measure, usize::MAX);
    let mut pass = Pass::new(&Measure, &mut memory, Probe::Off);
    let mut encoding = model.begin(&mut pass, &patches);
    while let Progress::Layers(..) = model.advance(&mut pass, &mut encoding, 1) {}
}

fn odd_values() -> Vec<Value> {
    let mut values: Vec<Value> = [0, 1, 2, 3, 5, 7, 64, 1000, 65_536, u32::MAX]
        .map(Value::U32)
        .to_vec();
    values.extend([f32::NAN, f32::INFINITY, -1.0, 1e-30, 1e30].map(Value::F32));
    values.extend([i64::MIN, -1].map(Value::I64));
    values.extend([Value::U64(u64::MAX), Value::Bool(false), Value::Bool(true)]);
    values.push(Value::String("odd".to_owned()));
    values.push(Value::Array(Array::I32(vec![])));
    values.push(Value::Array(Array::I32(vec![-1, i32::MAX, 0, 1])));
    values.push(Value::Array(Array::U32(vec![u32::MAX; 3])));
    values.push(Value::Array(Array::F32(vec![f32::NAN; 3])));
    values
}

type Try = fn(&Gguf);

/// Every file of the goldens with what loads it.
fn files() -> Vec<(Draft, Try)> {
    let mut files: Vec<(Draft, Try)> = Vec::new();
    for suite in suites().iter().map(|name| Suite::load(name)) {
        files.push((Draft::of(&Gguf::open(&suite.text).unwrap()), try_text));
        if let Some(path) = &suite.mmproj {
            files.push((Draft::of(&Gguf::open(path).unwrap()), try_vision));
        }
    }
    for (file, _) in &mut files {
        file.take_all("tokenizer.");
    }
    files
}

#[test]
fn odd_metadata_never_panics() {
    for (whole, load) in files() {
        for key in whole.keys() {
            let mut draft = whole.clone();
            draft.take(&key);
            load(&draft.file("odd.gguf"));
            for value in odd_values() {
                draft.set(&key, value);
                load(&draft.file("odd.gguf"));
            }
        }
    }
}

#[test]
fn odd_tensors_never_panic() {
    for (whole, load) in files() {
        let names: Vec<String> = whole.tensors().iter().map(|t| t.name.clone()).collect();
        for name in names {
            let mut draft = whole.clone();
            let tensor = draft.take_tensor(&name);
            load(&draft.file("odd.gguf"));
            let count: u64 = tensor.shape.iter().product();
            let mut shapes = vec![vec![count], vec![count / 2, 2], vec![count, 1, 1, 1]];
            shapes.push(tensor.shape.iter().rev().copied().collect());
            for shape in shapes {
                let mut changed = tensor.clone();
                if changed.ty.row_bytes(shape[0] as usize).is_none()
                    || shape.iter().product::<u64>() != count
                {
                    continue;
                }
                changed.shape = shape;
                let mut draft = draft.clone();
                draft.extend([changed]);
                load(&draft.file("odd.gguf"));
            }
            let mut renamed = tensor.clone();
            renamed.name = renamed.name.replacen(".0.", ".99999999999.", 1);
            let mut draft = draft.clone();
            draft.extend([renamed]);
            load(&draft.file("odd.gguf"));
        }
    }
}

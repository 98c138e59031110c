//! All layouts of experts give the same file.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Folder, content, copy_of, quiet};
use ocelli_convert::{ConvertOptions, convert};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// All tensors of both parts of the fixture; all are BF16.
fn read(folder: &Path) -> Tensors {
    let mut tensors = Tensors::new();
    for part in 1..=2 {
        let bytes = fs::read(folder.join(format!("model-0000{part}-of-00002.safetensors")));
        let bytes = bytes.expect("read");
        for (name, view) in SafeTensors::deserialize(&bytes).expect("sound").tensors() {
            tensors.insert(name, (view.shape().to_vec(), view.data().to_vec()));
        }
    }
    tensors
}

fn write(folder: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (
            name,
            TensorView::new(Dtype::BF16, shape.clone(), bytes).expect("sound"),
        )
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).expect("written");
}

/// Each of `count` matrices `[rows, columns]` of two-byte elements, turned.
fn transpose(bytes: &[u8], [count, rows, columns]: [usize; 3]) -> Vec<u8> {
    let at = |e: usize, row: usize, column: usize| 2 * ((e * rows + row) * columns + column);
    (0..count)
        .flat_map(|e| (0..columns).flat_map(move |c| (0..rows).map(move |r| at(e, r, c))))
        .flat_map(|start| [bytes[start], bytes[start + 1]])
        .collect()
}

/// The fixture's tensors as the modelling code has them.
fn modelling(tensors: &Tensors) -> Tensors {
    let turned = |(name, (shape, bytes)): (&String, &(Vec<usize>, Vec<u8>))| match shape[..] {
        [count, rows, columns] if name.contains(".experts.") => {
            let bytes = transpose(bytes, [count, rows, columns]);
            (name.clone(), (vec![count, columns, rows], bytes))
        }
        _ => (name.clone(), (shape.clone(), bytes.clone())),
    };
    tensors.iter().map(turned).collect()
}

/// With one tensor for each expert's gate, up and down.
fn apart(modelling: &Tensors) -> Tensors {
    let mut tensors = Tensors::new();
    for (name, (shape, bytes)) in modelling {
        let [count, rows, columns] = shape[..] else {
            tensors.insert(name.clone(), (shape.clone(), bytes.clone()));
            continue;
        };
        let size = 2 * rows * columns;
        for expert in 0..count {
            let own = &bytes[expert * size..(expert + 1) * size];
            let mut add = |from: &str, to: &str, rows: usize, bytes: &[u8]| {
                let name = name.replace(from, &format!("{expert}.{to}.weight"));
                tensors.insert(name, (vec![rows, columns], bytes.to_vec()));
            };
            if name.ends_with("gate_up_proj") {
                add("gate_up_proj", "gate_proj", rows / 2, &own[..size / 2]);
                add("gate_up_proj", "up_proj", rows / 2, &own[size / 2..]);
            } else {
                add("down_proj", "down_proj", rows, own);
            }
        }
    }
    tensors
}

#[test]
fn experts_of_the_hub_of_the_modelling_code_and_apart_give_the_same_file() {
    let folder = Folder::new("experts");
    let checkpoint = copy_of("qwen3vl-moe", &folder);
    let run = |name: &str| {
        let options = ConvertOptions {
            name: Some(name.to_owned()),
            ..ConvertOptions::default()
        };
        let made = convert(&checkpoint, folder.path(), &options, &mut quiet);
        content(&made.unwrap_or_else(|error| panic!("{name}: {error}")).text).1
    };
    let hub = run("hub");
    let turned = modelling(&read(&checkpoint));
    write(&checkpoint, &turned);
    assert_eq!(run("modelling"), hub);
    write(&checkpoint, &apart(&turned));
    assert_eq!(run("apart"), hub);
}

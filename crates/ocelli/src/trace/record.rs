//! The stages of a run, collected while it goes on.

use std::collections::btree_map::Entry::{Occupied, Vacant};

use ocelli_engine::{Owner, Traced};
use ocelli_image::Patches;
use ocelli_tensor::Stage;

use super::{Entry, Trace, Values};

/// Collects stages while a model runs.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    trace: Trace,
}

impl Recorder {
    /// Adds a picture, or the next temporal patch of a video.
    pub(crate) fn picture(&mut self, owner: Owner, patches: &Patches) {
        let name = match owner {
            Owner::Image(index) => format!("image.{index}"),
            Owner::Video(index) => format!("video.{index}"),
        };
        let grid = patches.grid;
        let columns = patches.pixels.len() / grid.patches();
        self.rows(format!("{name}.pixels"), columns, &patches.pixels);
        let sides = [grid.t, grid.h, grid.w].map(|n| n as i32);
        let whole = Entry {
            shape: vec![3],
            values: Values::I32(sides.to_vec()),
        };
        match self.trace.stages.entry(format!("{name}.grid")) {
            Occupied(mut entry) => {
                if let Values::I32(sides) = &mut entry.get_mut().values {
                    sides[0] += grid.t as i32;
                }
            }
            Vacant(entry) => drop(entry.insert(whole)),
        }
    }

    /// Adds a stage. Rows of the same stage from later steps of a prompt, and from later temporal patches,
    /// go below the earlier ones.
    pub(crate) fn stage(&mut self, owner: Option<Owner>, stage: &Stage<'_>) {
        let name = match owner {
            Some(Owner::Image(index)) => format!("vision.{index}.{}", stage.name),
            Some(Owner::Video(index)) => format!("vision.video.{index}.{}", stage.name),
            None => format!("text.{}", stage.name),
        };
        self.rows(name, stage.columns, stage.values);
    }

    fn rows(&mut self, name: String, columns: usize, rows: &[f32]) {
        let entry = self.trace.stages.entry(name).or_insert_with(|| Entry {
            shape: vec![0, columns],
            values: Values::F32(Vec::new()),
        });
        entry.shape[0] += rows.len() / columns;
        if let Values::F32(values) = &mut entry.values {
            values.extend_from_slice(rows);
        }
    }

    pub(crate) fn finish(mut self, traced: Traced) -> Trace {
        let count = traced.tokens.len();
        let tokens = traced.tokens.iter().map(|t| *t as i32).collect();
        self.whole("prompt.tokens".to_owned(), vec![count], tokens);
        let positions = (0..3)
            .flat_map(|axis| traced.positions.iter().map(move |p| p[axis] as i32))
            .collect();
        self.whole("prompt.positions".to_owned(), vec![3, count], positions);
        self.floats(
            "logits".to_owned(),
            vec![traced.logits.len()],
            traced.logits,
        );
        if !traced.decoded.is_empty() {
            let tokens: Vec<i32> = traced.decoded.iter().map(|(t, _)| *t as i32).collect();
            self.whole("decode.tokens".to_owned(), vec![tokens.len()], tokens);
        }
        for (k, (_, logits)) in traced.decoded.into_iter().enumerate() {
            self.floats(format!("decode.{k}.logits"), vec![logits.len()], logits);
        }
        self.trace
    }

    fn floats(&mut self, name: String, shape: Vec<usize>, values: Vec<f32>) {
        let values = Values::F32(values);
        self.trace.stages.insert(name, Entry { shape, values });
    }

    fn whole(&mut self, name: String, shape: Vec<usize>, values: Vec<i32>) {
        let values = Values::I32(values);
        self.trace.stages.insert(name, Entry { shape, values });
    }
}

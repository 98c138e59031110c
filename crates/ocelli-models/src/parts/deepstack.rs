//! Rows that an encoder gives for inner layers of the text model.

use ocelli_tensor::{Pass, Tensor};

use crate::Step;

/// Adds the deepstack rows that belong to layer `layer` to the pictures' rows of `x`.
pub fn add_deepstack(pass: &mut Pass<'_>, x: &Tensor, step: &Step<'_>, layer: usize) {
    for image in step.images {
        let Some(rows) = image.features.deepstack.get(layer) else {
            continue;
        };
        let width = image.features.width;
        let mark = pass.mark();
        let rows = &rows[image.from.start * width..image.from.end * width];
        let rows = pass.upload(rows, width, image.rows.len());
        pass.add(&rows, &x.slice_rows(image.rows.clone()));
        pass.release(mark);
    }
}

//! A look at every weight, for files that came damaged.

use ocelli_gguf::Gguf;
use ocelli_quant::dequantize;

use crate::Error;

/// Elements that are looked at together.
const ELEMENTS_AT_ONCE: usize = 1 << 16;

/// Refuses a file with a weight that is not finite.
pub(crate) fn check_finite(file: &Gguf) -> Result<(), Error> {
    for tensor in file.tensors().iter().filter(|t| t.ty().is_runnable()) {
        let columns = tensor.shape()[0] as usize;
        let Some(row_bytes) = tensor.ty().row_bytes(columns).filter(|bytes| *bytes > 0) else {
            continue;
        };
        let rows = (ELEMENTS_AT_ONCE / columns).max(1);
        for (index, block) in file.data(tensor).chunks(rows * row_bytes).enumerate() {
            let mut values = vec![0.0; block.len() / row_bytes * columns];
            let invalid = |what: String| {
                Error::Model(ocelli_models::Error::Invalid {
                    file: file.name().to_owned(),
                    what: format!("tensor '{}': {what}", tensor.name()),
                })
            };
            dequantize(tensor.ty(), block, &mut values).map_err(|e| invalid(e.to_string()))?;
            if let Some(place) = values.iter().position(|v| !v.is_finite()) {
                let row = index * rows + place / columns;
                let value = values[place];
                return Err(invalid(format!(
                    "row {row} column {} is {value}, need finite values",
                    place % columns
                )));
            }
        }
    }
    Ok(())
}

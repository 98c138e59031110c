//! Opening the model that a command names, with a bar while it loads.

use ocelli::Model;

use crate::args::{ModelArgs, Precision};
use crate::failure::Failure;
use crate::progress::Progress;

/// Opens the model.
///
/// # Errors
/// As the library, and for flags that contradict each other.
pub(crate) fn load(args: &ModelArgs, default_precision: Precision) -> Result<Model, Failure> {
    let source = args.source()?;
    let options = args.options(default_precision)?;
    let mut progress = Progress::new();
    Ok(Model::load(&source, &options, &mut |done, total| {
        progress.load(done, total)
    })?)
}

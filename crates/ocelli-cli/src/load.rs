//! Opening the model that a command names, with a bar while it loads.

use ocelli::{Model, Source};

use crate::args::{ModelArgs, Precision};
use crate::failure::Failure;
use crate::models;
use crate::progress::Progress;

/// Opens the model.
///
/// # Errors
/// As the library, and for flags that contradict each other.
pub(crate) fn load(args: &ModelArgs, default_precision: Precision) -> Result<Model, Failure> {
    let mut options = args.options(default_precision)?;
    let source = match args.source()? {
        Source::Demo => Source::Demo,
        Source::File(given) => {
            let found = models::find(&given)?;
            options.projector = options.projector.or(found.projector);
            Source::File(found.text)
        }
    };
    let mut progress = Progress::new();
    Ok(Model::load(&source, &options, &mut |done, total| {
        progress.load(done, total)
    })?)
}

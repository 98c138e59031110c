//! Opening the model that a command names, with a bar while it loads.

use ocelli::{Model, Options, Source};

use crate::args::{ModelArgs, Precision};
use crate::failure::{Failure, one_line};
use crate::models;
use crate::progress::Progress;

/// Where the model is, with names looked up, and what it is opened with.
///
/// # Errors
/// For flags that contradict each other, and names that nothing is known by.
pub(crate) fn resolve(
    args: &ModelArgs,
    default_precision: Precision,
) -> Result<(Source, Options), Failure> {
    let mut options = args.options(default_precision)?;
    let source = match args.source()? {
        Source::Demo => Source::Demo,
        Source::File(given) => {
            let found = models::find(&given)?;
            options.projector = options.projector.or(found.projector);
            Source::File(found.text)
        }
    };
    Ok((source, options))
}

/// Opens the model.
///
/// # Errors
/// As the library, and for flags that contradict each other.
pub(crate) fn load(args: &ModelArgs, default_precision: Precision) -> Result<Model, Failure> {
    let (source, options) = resolve(args, default_precision)?;
    let mut progress = Progress::new();
    Ok(Model::load(&source, &options, &mut |done, total| {
        progress.load(done, total)
    })?)
}

/// Says on standard error what was assumed about the model's files.
pub(crate) fn report_assumed(model: &Model) {
    for note in model.assumed() {
        eprintln!("{:<14} {}", "assumed", one_line(note));
    }
}

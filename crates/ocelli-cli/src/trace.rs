//! `ocelli trace`: every stage of one prompt into a file.

use ocelli::{Model, Request};

use crate::args::{Precision, StageArgs, TraceArgs};
use crate::failure::Failure;
use crate::load::load;
use crate::output::refuse_bad_target;
use crate::prompt;

/// Runs the command.
///
/// # Errors
/// As the library, when the file cannot be written, and, once it is, when it holds values that are
/// not finite.
pub(crate) fn trace(args: &TraceArgs) -> Result<(), Failure> {
    refuse_bad_target("--out", &args.out)?;
    let (mut model, request) = prepare(&args.stages, Precision::F32)?;
    let trace = model.trace(&request, args.decode)?;
    trace.write(&args.out)?;
    eprintln!(
        "{} stages written to {}",
        trace.stages.len(),
        args.out.display()
    );
    // They are in the file all the same: there one sees what spoilt them.
    trace.check_finite()?;
    Ok(())
}

/// The model and the request that trace and verify share.
///
/// # Errors
/// As the library.
pub(crate) fn prepare(
    args: &StageArgs,
    default_precision: Precision,
) -> Result<(Model, Request), Failure> {
    let flags = args.answer.sampling_flags();
    if !flags.is_empty() {
        eprintln!("note: decoding is greedy; {} ignored", flags.join(", "));
    }
    let messages = match &args.asked.messages {
        Some(path) => prompt::messages(path)?,
        None => {
            let media = prompt::media(&args.asked)?;
            let system = args.answer.system.as_deref();
            prompt::conversation(system, media, args.prompt.clone().unwrap_or_default())
        }
    };
    let model = load(&args.model, default_precision)?;
    let request = Request {
        pan_and_scan: args.answer.pan_and_scan,
        ..Request::from_messages(messages)
    };
    Ok((model, request))
}

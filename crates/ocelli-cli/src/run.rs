//! `ocelli run`: one answer, or a chat.

use std::ops::ControlFlow;
use std::path::Path;

use ocelli::{Answer, Event, ImageSource, Message, Model, Part, Request};

use crate::args::{AnswerArgs, Precision, RunArgs};
use crate::chat::Chat;
use crate::failure::Failure;
use crate::form::Form;
use crate::interrupt::Interrupt;
use crate::load::{load, report_assumed};
use crate::output::{self, Output, counted, refuse_bad_target};
use crate::progress::Progress;
use crate::prompt::{self, Task};

/// Runs the command.
///
/// # Errors
/// Whatever ends it without an answer.
pub(crate) fn run(args: &RunArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    // Everything that can be wrong with the command line is found before the model is loaded.
    args.model.source()?;
    args.answer.stop_strings()?;
    let form = Form::read(&args.answer)?;
    if let Some(path) = &args.draw {
        refuse_bad_target("--draw", path)?;
    }
    match prompt::task(args)? {
        Task::Answer(messages) => {
            let mut model = open(args, form.as_ref())?;
            answer(&mut model, args, form.as_ref(), messages)
        }
        Task::Chat(media) => {
            if args.json {
                return Err(Failure::usage(
                    "--json: found no prompt, need one: a chat has no JSON form",
                ));
            }
            let model = open(args, form.as_ref())?;
            Chat::new(model, args, form, interrupt)?.talk(media)
        }
    }
}

fn open(args: &RunArgs, form: Option<&Form>) -> Result<Model, Failure> {
    let model = load(&args.model, Precision::Auto)?;
    if let Some(form) = form {
        form.check(&model)?;
    }
    if args.verbose {
        report_assumed(&model);
    }
    Ok(model)
}

/// The library's request for a conversation.
///
/// # Errors
/// As [`AnswerArgs::stop_strings`].
pub(crate) fn request(
    model: &Model,
    args: &AnswerArgs,
    form: Option<&Form>,
    messages: Vec<Message>,
) -> Result<Request, Failure> {
    Ok(Request {
        sampling: Some(args.sampling(model.default_sampling())),
        max_tokens: args.max_tokens,
        stop: args.stop_strings()?,
        pan_and_scan: args.pan_and_scan,
        grammar: form.map(|form| form.source.clone()),
        ..Request::from_messages(messages)
    })
}

fn answer(
    model: &mut Model,
    args: &RunArgs,
    form: Option<&Form>,
    messages: Vec<Message>,
) -> Result<(), Failure> {
    let mut parts = messages.iter().rev().flat_map(|m| m.parts.iter().rev());
    let last = parts.find_map(|part| match part {
        Part::Image(source) => Some(source.clone()),
        Part::Text(_) | Part::Video(_) => None,
    });
    if args.draw.is_some() && last.is_none() {
        return Err(Failure::usage(
            "--draw: found no picture, need one with --image",
        ));
    }
    let request = request(model, &args.answer, form, messages)?;
    let mut output = Output::new();
    let answer = if args.json {
        let mut progress = Progress::new();
        let answer = model.ask_with(request, &mut |event| {
            progress.event(&event);
            ControlFlow::Continue(())
        })?;
        let mut told = output::answer_json(model.name(), &answer);
        if let Some(Ok(value)) = form.and_then(|form| form.value(&answer)) {
            told["json"] = value;
        }
        output.text(&format!("{told:#}\n"));
        answer
    } else {
        stream(model, request, &mut output, &mut || {
            ControlFlow::Continue(())
        })?
    };
    if let Some((path, picture)) = args.draw.as_ref().zip(last) {
        draw(path, &picture, &answer)?;
    }
    if args.verbose && !output.is_closed() {
        eprintln!(
            "{:<14} {}, context {}",
            "model",
            model.name(),
            model.context()
        );
        eprintln!("{}", output::report(&answer));
    }
    output.finish()?;
    match form.and_then(|form| form.value(&answer)) {
        Some(Err(failure)) => Err(failure),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Writes the picture with what the answer located on it.
fn draw(path: &Path, picture: &ImageSource, answer: &Answer) -> Result<(), Failure> {
    let drawn = ocelli::draw(picture, &answer.boxes)?;
    ocelli::write_bytes(path, &drawn).map_err(|error| Failure::path("write", path, &error))?;
    let count = answer.boxes.len();
    eprintln!("{} drawn on {}", counted(count, "place"), path.display());
    Ok(())
}

/// Asks, and writes the text as it comes. Stops when nobody reads, or when `go_on` says so.
///
/// # Errors
/// As the library.
pub(crate) fn stream(
    model: &mut Model,
    request: Request,
    output: &mut Output,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Answer, Failure> {
    let mut progress = Progress::new();
    let answer = model.ask_with(request, &mut |event| {
        progress.event(&event);
        if let Event::Text(text) = event {
            output.text(text);
        }
        match output.is_closed() {
            true => ControlFlow::Break(()),
            false => go_on(),
        }
    });
    drop(progress);
    output.end_line();
    Ok(answer?)
}

//! `ocelli batch`: one answer for every picture of a folder, a line of JSON each.
//!
//! The file of answers is the memory of the work: it is only ever appended to, one whole line at a
//! time, and a line that a kill cut in two is taken back. So the same command again goes on where
//! it stopped, and no picture is answered twice or left out. It comes into being when model and
//! schema are known to be good.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli::{ImageSource, Model, Part, Request, Video};
use serde_json::{Value, json};

use crate::args::{BatchArgs, Precision};
use crate::failure::{Code, Failure, one_line};
use crate::form::Form;
use crate::load::load;
use crate::output::{self, counted};
use crate::pictures::{expand, is_video, name, walk};
use crate::prompt::conversation;
use crate::rows::{Rows, Written, error_code};

/// Runs the command.
///
/// # Errors
/// When there is nothing to do, the file of answers cannot be used, or some pictures failed.
pub(crate) fn batch(args: &BatchArgs) -> Result<(), Failure> {
    let form = Form::read(&args.answer)?;
    let pictures = pictures(&args.inputs)?;
    let written = Written::read(args, form.as_ref())?;
    let open: Vec<&PathBuf> = pictures
        .iter()
        .filter(|p| !written.done.contains_key(&name(p)))
        .collect();
    let mut failures = Failures::of(&pictures, &written);
    let kept = pictures.len() - open.len();
    if kept > 0 {
        eprintln!(
            "{kept} of {} pictures are in {} already",
            pictures.len(),
            args.out.display()
        );
    }
    if open.is_empty() {
        written.take_back(&args.out)?;
        return failures.end(pictures.len(), &args.out);
    }
    let mut model = load(&args.model, Precision::Auto)?;
    if let Some(form) = &form {
        form.check(&model)?;
    }
    let mut rows = Rows::open(&args.out, &written)?;
    let bar = bar(pictures.len(), kept);
    let mut done = 0;
    for picture in open {
        bar.set_message(one_line(&name(picture)));
        let row = answer(&mut model, args, form.as_ref(), picture)?;
        match error_code(&row) {
            Some(code) => failures.add(code),
            None => done += 1,
        }
        rows.add(&row)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    eprintln!(
        "{} written to {}",
        counted(done, "answer"),
        args.out.display()
    );
    failures.end(pictures.len(), &args.out)
}

/// Pictures whose lines have an error, those of earlier runs included: the exit code is about the whole file.
#[derive(Default)]
struct Failures {
    count: usize,
    /// One of them was not only an answer that is no whole value.
    is_image: bool,
}

impl Failures {
    /// Those that an earlier run met.
    fn of(pictures: &[PathBuf], written: &Written) -> Self {
        let mut failures = Self::default();
        for picture in pictures {
            if let Some(Some(code)) = written.done.get(&name(picture)) {
                failures.add(*code);
            }
        }
        failures
    }

    fn add(&mut self, code: u64) {
        self.count += 1;
        self.is_image |= code != Code::Check as u64;
    }

    fn end(self, pictures: usize, out: &Path) -> Result<(), Failure> {
        let code = match (self.count, self.is_image) {
            (0, _) => return Ok(()),
            (_, true) => Code::Image,
            (_, false) => Code::Check,
        };
        let (failed, out) = (self.count, out.display());
        Err(Failure::new(
            code,
            format_args!(
                "{failed} of {pictures} pictures failed: their lines in {out} have an \"error\". Delete these lines to ask again"
            ),
        ))
    }
}

/// The line for a picture. A picture that fails has a line too; only what concerns all of them ends the work.
fn answer(
    model: &mut Model,
    args: &BatchArgs,
    form: Option<&Form>,
    picture: &Path,
) -> Result<Value, Failure> {
    let medium = match is_video(picture) {
        true => Part::Video(Video::file(picture)),
        false => Part::Image(ImageSource::File(picture.to_owned())),
    };
    let messages = conversation(
        args.answer.system.as_deref(),
        vec![medium],
        args.prompt.clone(),
    );
    let request = Request {
        sampling: Some(args.answer.sampling(model.default_sampling())),
        max_tokens: args.answer.max_tokens,
        stop: args.answer.stop_strings()?,
        pan_and_scan: args.answer.pan_and_scan,
        grammar: form.map(|form| form.source.clone()),
        ..Request::from_messages(messages)
    };
    let asked = model.ask_with(request, &mut |_| ControlFlow::Continue(()));
    let mut row = json!({"image": name(picture), "prompt": args.prompt});
    if let Some(form) = form {
        row["schema"] = json!(form.digest);
    }
    match asked {
        Ok(answer) => {
            let told = output::answer_json(model.name(), &answer);
            if let (Value::Object(row), Value::Object(told)) = (&mut row, told) {
                row.extend(told);
            }
            match form.and_then(|form| form.value(&answer)) {
                None => {}
                Some(Ok(value)) => row["json"] = value,
                Some(Err(failure)) => row["error"] = error_json(&failure),
            }
        }
        Err(error) => {
            let failure = Failure::from(error);
            if failure.is(Code::Pair) {
                return Err(failure);
            }
            row["error"] = error_json(&failure);
        }
    }
    Ok(row)
}

fn error_json(failure: &Failure) -> Value {
    json!({"message": failure.message(), "code": failure.code()})
}

fn bar(total: usize, done: usize) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let bar = ProgressBar::with_draw_target(Some(total as u64), target);
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {eta} {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_position(done as u64);
    bar
}

/// Every picture that was named, each once, in order: files as they are, folders with all below them.
fn pictures(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for input in inputs {
        let before = found.len();
        if input.is_dir() {
            walk(input, &mut found)?;
        } else if input.exists() {
            found.push(input.clone());
        } else {
            expand(input, &mut found)?;
            if found.len() == before {
                return Err(Failure::new(
                    Code::Path,
                    format_args!(
                        "{}: found no file or folder of this name, and none that it is a pattern of",
                        input.display()
                    ),
                ));
            }
        }
    }
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if found.is_empty() {
        return Err(Failure::usage(
            "no pictures: found none (png, jpg, webp, gif, bmp), need at least one",
        ));
    }
    let mut names = HashSet::new();
    match found
        .iter()
        .map(|path| name(path))
        .find(|name| !names.insert(name.clone()))
    {
        Some(twice) => Err(Failure::usage(format_args!(
            "two pictures are both written {twice} in the file of answers, need different names. Rename one"
        ))),
        None => Ok(found),
    }
}

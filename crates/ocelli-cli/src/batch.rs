//! `ocelli batch`: one answer for every picture of a folder, a line of JSON each.
//!
//! The file of answers is the memory of the work: it is only ever appended to, one whole line at a time, and a line
//! that a kill cut in two is taken back. So the same command again goes on where it stopped, and no picture is
//! answered twice or left out.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli::{ImageSource, Model, Part, Request, Video};
use serde_json::{Value, json};

use crate::args::{BatchArgs, Precision};
use crate::failure::{Code, Failure};
use crate::load::load;
use crate::output;
use crate::prompt::conversation;

/// Endings of files in a folder that are taken for pictures.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Endings of files that are taken for videos. Animations are pictures here: of most, one frame says enough.
const VIDEO_ENDINGS: [&str; 7] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg"];

/// Runs the command.
///
/// # Errors
/// When there is nothing to do, the file of answers cannot be used, or some pictures failed.
pub(crate) fn batch(args: &BatchArgs) -> Result<(), Failure> {
    let pictures = pictures(&args.inputs)?;
    let mut rows = Rows::open(&args.out, &args.prompt)?;
    let open: Vec<&PathBuf> = pictures
        .iter()
        .filter(|p| !rows.done.contains(&name(p)))
        .collect();
    let kept = pictures.len() - open.len();
    if kept > 0 {
        eprintln!(
            "{kept} of {} pictures are in {} already",
            pictures.len(),
            args.out.display()
        );
    }
    if open.is_empty() {
        return Ok(());
    }
    let mut model = load(&args.model, Precision::Auto)?;
    let bar = bar(pictures.len(), kept);
    let mut failed = 0;
    for picture in open {
        bar.set_message(name(picture));
        let row = answer(&mut model, args, picture)?;
        failed += usize::from(row.get("error").is_some());
        rows.add(&row)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let done = pictures.len() - kept - failed;
    eprintln!("{done} answers written to {}", args.out.display());
    if failed > 0 {
        let what = format!(
            "{failed} of {} pictures failed: their lines in {} have an \"error\"",
            pictures.len(),
            args.out.display()
        );
        return Err(Failure::new(Code::Image, what));
    }
    Ok(())
}

/// The line for a picture. A picture that fails has a line too; only what concerns all of them ends the work.
fn answer(model: &mut Model, args: &BatchArgs, picture: &Path) -> Result<Value, Failure> {
    let medium = match has_ending(picture, &VIDEO_ENDINGS) {
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
        ..Request::from_messages(messages)
    };
    let asked = model.ask_with(request, &mut |_| ControlFlow::Continue(()));
    let mut row = json!({"image": name(picture), "prompt": args.prompt});
    match asked {
        Ok(answer) => {
            let answer = output::answer_json(model.name(), &answer);
            if let (Value::Object(row), Value::Object(answer)) = (&mut row, answer) {
                row.extend(answer);
            }
        }
        Err(error) => {
            let failure = Failure::from(error);
            if failure.is(Code::Pair) {
                return Err(failure);
            }
            row["error"] = json!({"message": failure.message(), "code": failure.code()});
        }
    }
    Ok(row)
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

/// A picture's name in the file of answers: its path as it was found.
fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Every picture that was named, each once, in order: files as they are, folders with all below them.
fn pictures(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for input in inputs {
        if input.is_dir() {
            walk(input, &mut found)?;
        } else if input.exists() {
            found.push(input.clone());
        } else {
            expand(input, &mut found)?;
        }
    }
    let mut seen = HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if found.is_empty() {
        return Err(Failure::usage(
            "no pictures: found none (png, jpg, webp, gif, bmp), need at least one",
        ));
    }
    Ok(found)
}

/// Pictures of a folder and all below it, by name.
///
/// # Errors
/// When a folder cannot be listed.
pub(crate) fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let wrong = |error| Failure::path("list", folder, &error);
    let mut entries = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(wrong)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links to folders are not followed: they may lead back.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found)?;
        } else if is_picture(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    has_ending(path, &ENDINGS) || has_ending(path, &VIDEO_ENDINGS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    endings
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

/// Pictures of a pattern such as `scans/**/*.png`, for shells that leave it as it is.
pub(crate) fn expand(pattern: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let missing = || {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        Failure::path("read", pattern, &error)
    };
    let text = pattern.to_str().ok_or_else(missing)?;
    let paths = glob::glob(text)
        .map_err(|error| Failure::usage(format_args!("{text}: not a pattern: {error}")))?;
    let before = found.len();
    found.extend(paths.flatten().filter(|path| path.is_file()));
    match found.len() > before {
        true => Ok(()),
        false => Err(missing()),
    }
}

/// The file of answers.
struct Rows {
    path: PathBuf,
    file: File,
    /// Pictures that have a line.
    done: HashSet<String>,
}

impl Rows {
    /// Opens the file, reads which pictures are done, and takes back a line that was cut in two.
    fn open(path: &Path, prompt: &str) -> Result<Self, Failure> {
        let wrong = |action: &'static str| move |error| Failure::path(action, path, &error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(wrong("write"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(wrong("read"))?;
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |end| end + 1);
        let mut done = HashSet::new();
        for (index, line) in bytes[..whole].split(|b| *b == b'\n').enumerate() {
            if !line.is_empty() {
                done.insert(read_row(line, prompt, path, index + 1)?);
            }
        }
        file.set_len(whole as u64).map_err(wrong("write"))?;
        file.seek(SeekFrom::End(0)).map_err(wrong("write"))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            done,
        })
    }

    fn add(&mut self, row: &Value) -> Result<(), Failure> {
        let line = format!("{row}\n");
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| Failure::path("write", &self.path, &error))
    }
}

/// The picture that a line is about.
fn read_row(line: &[u8], prompt: &str, path: &Path, number: usize) -> Result<String, Failure> {
    let wrong = |found: &str| {
        Failure::usage(format_args!(
            "--out {}: line {number}: found {found}, need answers of this prompt. Name another file",
            path.display()
        ))
    };
    let row: Value = serde_json::from_slice(line).map_err(|_| wrong("no answer of a batch"))?;
    let image = row.get("image").and_then(Value::as_str);
    let image = image.ok_or_else(|| wrong("no answer of a batch"))?;
    if row.get("prompt").and_then(Value::as_str) != Some(prompt) {
        return Err(wrong("another prompt"));
    }
    Ok(image.to_owned())
}

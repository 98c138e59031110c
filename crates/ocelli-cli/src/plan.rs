//! `ocelli plan`: what a model would see of pictures and videos, and the cost, as a table or as JSON.

use std::path::PathBuf;
use std::time::Duration;

use ocelli::plan::{Plan, PlannedPicture, PlannedVideo, Seen, SeenVideo, Total, plan as look};
use ocelli::{Error, ErrorKind, Fps, Video};
use serde_json::{Value, json};

use crate::args::{PlanArgs, Precision};
use crate::failure::{Code, Failure, one_line};
use crate::inspect::size;
use crate::load::resolve;
use crate::output::{Output, image_json, print_json, video_json};
use crate::pictures::{expand, is_video, name, walk};
use crate::prompt::videos;

/// Runs the command.
///
/// # Errors
/// When the model cannot be opened, or, after all others were planned, when a picture or video
/// cannot be read.
pub(crate) fn plan(args: &PlanArgs) -> Result<(), Failure> {
    let (source, options) = resolve(&args.model, Precision::Auto)?;
    let mut videos = videos(&args.video)?;
    let (films, pictures): (Vec<_>, Vec<_>) = pictures(&args.inputs)?
        .into_iter()
        .partition(|p| is_video(p));
    videos.extend(films.into_iter().map(|path| Video {
        sampled: args.video.fps.unwrap_or(Fps::USUAL),
        most_frames: args.video.max_frames,
        ..Video::file(path)
    }));
    let plan = look(&source, &options, &pictures, &videos)?;
    let of_pictures = plan.pictures.iter().map(failure);
    let failures: Vec<Option<Failure>> = of_pictures
        .chain(plan.videos.iter().map(video_failure))
        .collect();
    if args.json {
        print_json(&plan_json(&plan, &failures))?;
    } else {
        let mut output = Output::new();
        output.text(&table(&plan, &failures));
        output.finish()?;
    }
    match (plan.total.failed, failures.len()) {
        (0, _) => Ok(()),
        // The only picture: its own error says all.
        (_, 1) => failures.into_iter().flatten().next().map_or(Ok(()), Err),
        (failed, all) => Err(Failure::new(
            Code::Image,
            match plan.videos.is_empty() {
                true => format!("{failed} of {all} pictures cannot be read"),
                false => format!("{failed} of {all} pictures and videos cannot be read"),
            },
        )),
    }
}

/// Every picture that was named. One that is not there stays in the list, to be reported in its place.
fn pictures(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for input in inputs {
        if input.is_dir() {
            let before = found.len();
            walk(input, &mut found)?;
            if found.len() == before {
                return Err(Failure::usage(format_args!(
                    "{}: found no pictures (png, jpg, webp, gif, bmp), need at least one",
                    input.display()
                )));
            }
        } else {
            let before = found.len();
            if !input.exists() {
                expand(input, &mut found)?;
            }
            if found.len() == before {
                found.push(input.clone());
            }
        }
    }
    Ok(found)
}

fn failure(picture: &PlannedPicture) -> Option<Failure> {
    let error = picture.seen.as_ref().err()?;
    // The errors of pictures stand in a list of their own, so what counts is their kind and text.
    let code = match error.kind() {
        ErrorKind::Path => Code::Path,
        _ => Code::Image,
    };
    let text = match error {
        Error::Image { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let named = match text.contains(&picture.path.display().to_string()) {
        true => text,
        false => format!("{}: {text}", picture.path.display()),
    };
    Some(Failure::new(code, named))
}

fn video_failure(video: &PlannedVideo) -> Option<Failure> {
    let error = video.seen.as_ref().err()?;
    let (code, what) = match error {
        Error::Video {
            what,
            kind: ErrorKind::Path,
            ..
        } => (Code::Path, what.clone()),
        Error::Video { what, .. } => (Code::Image, what.clone()),
        other => (Code::Pair, other.to_string()),
    };
    Some(Failure::new(code, format!("{}: {what}", video.name)))
}

fn plan_json(plan: &Plan, failures: &[Option<Failure>]) -> Value {
    let (of_pictures, of_videos) = failures.split_at(plan.pictures.len());
    let pictures: Vec<Value> = plan
        .pictures
        .iter()
        .zip(of_pictures)
        .map(|(picture, failure)| picture_json(picture, failure.as_ref()))
        .collect();
    let videos: Vec<Value> = plan
        .videos
        .iter()
        .zip(of_videos)
        .map(|(video, failure)| planned_video_json(video, failure.as_ref()))
        .collect();
    let total = &plan.total;
    json!({
        "model": plan.model,
        "context": plan.context,
        "images": pictures,
        "videos": videos,
        "total": {
            "images": total.pictures,
            "videos": total.videos,
            "failed": total.failed,
            "tokens": total.tokens,
            "kv_bytes": total.kv_bytes,
            "prepare_s": total.prepare.as_secs_f64(),
            "encode_s": total.encode.as_secs_f64(),
            "prefill_s": total.prefill.as_secs_f64(),
            "fits_one_prompt": total.one_prompt.is_ok(),
            "why_not": total.one_prompt.as_ref().err(),
            "prefill_of_one_prompt_s": total.one_prompt.as_ref().ok().map(Duration::as_secs_f64),
        },
    })
}

fn picture_json(picture: &PlannedPicture, failure: Option<&Failure>) -> Value {
    let path = name(&picture.path);
    let mut row = json!({ "image": path });
    if let (Ok(seen), Value::Object(row)) = (&picture.seen, &mut row) {
        if let Value::Object(record) = image_json(&seen.record) {
            row.extend(record);
        }
        let costs = [
            ("tokens", json!(seen.tokens)),
            ("kv_bytes", json!(seen.kv_bytes)),
            ("prepare_s", json!(seen.prepare.as_secs_f64())),
            ("encode_s", json!(seen.encode.as_secs_f64())),
            ("prefill_s", json!(seen.prefill.as_secs_f64())),
        ];
        row.extend(costs.map(|(name, value)| (name.to_owned(), value)));
    }
    if let Some(failure) = failure {
        row["error"] = json!({"message": failure.message(), "code": failure.code()});
    }
    row
}

fn planned_video_json(video: &PlannedVideo, failure: Option<&Failure>) -> Value {
    let mut row = json!({ "video": video.name });
    if let Ok(seen) = &video.seen {
        if let (Value::Object(row), Value::Object(record)) = (&mut row, video_json(&seen.record)) {
            row.extend(record);
        }
        row["prompt_tokens"] = json!(seen.tokens);
        row["kv_bytes"] = json!(seen.kv_bytes);
        row["prepare_s"] = json!(seen.prepare.as_secs_f64());
        row["encode_s"] = json!(seen.encode.as_secs_f64());
        row["prefill_s"] = json!(seen.prefill.as_secs_f64());
    }
    if let Some(failure) = failure {
        row["error"] = json!({"message": failure.message(), "code": failure.code()});
    }
    row
}

const COLUMNS: [&str; 8] = [
    "image", "size", "turn", "seen at", "grid", "tokens", "KV", "seconds",
];

fn table(plan: &Plan, failures: &[Option<Failure>]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned).to_vec()];
    for picture in &plan.pictures {
        if let Ok(seen) = &picture.seen {
            rows.push(row(&one_line(&picture.path.display().to_string()), seen));
        }
    }
    for video in &plan.videos {
        if let Ok(seen) = &video.seen {
            rows.push(video_row(&one_line(&video.name), seen));
        }
    }
    let total = &plan.total;
    if total.pictures + total.videos > 1 {
        rows.push(total_row(total));
    }
    let mut text = format!(
        "{}, context {} tokens\n",
        one_line(&plan.model),
        plan.context
    );
    if total.pictures + total.videos > 0 {
        text.push_str(&aligned(&rows));
    }
    for failure in failures.iter().flatten() {
        text.push_str(&format!(
            "cannot be seen: {}\n",
            failure.message().unwrap_or_default()
        ));
    }
    text.push_str(&verdict(total, plan.context));
    text
}

fn row(name: &str, seen: &Seen) -> Vec<String> {
    let record = &seen.record;
    let grid = record.grid;
    vec![
        name.to_owned(),
        format!("{}x{}", record.width, record.height),
        match record.orientation.exif_value() {
            1 => String::new(),
            _ => record.orientation.name().to_owned(),
        },
        format!("{}x{}", record.resized_width, record.resized_height),
        format!("{}x{}x{}", grid.t, grid.h, grid.w),
        seen.tokens.to_string(),
        size(seen.kv_bytes),
        seconds([seen.prepare, seen.encode, seen.prefill]),
    ]
}

fn video_row(name: &str, seen: &SeenVideo) -> Vec<String> {
    let record = &seen.record;
    let grid = record.grid;
    vec![
        name.to_owned(),
        format!("{}x{}x{}", record.frames, record.width, record.height),
        String::new(),
        format!("{}x{}", record.resized_width, record.resized_height),
        format!("{}x{}x{}", grid.t, grid.h, grid.w),
        seen.tokens.to_string(),
        size(seen.kv_bytes),
        seconds([seen.prepare, seen.encode, seen.prefill]),
    ]
}

fn total_row(total: &Total) -> Vec<String> {
    let mut row = vec![String::new(); COLUMNS.len()];
    row[0] = format!("all {}", total.pictures + total.videos);
    row[5] = total.tokens.to_string();
    row[6] = size(total.kv_bytes);
    row[7] = seconds([total.prepare, total.encode, total.prefill]);
    row
}

fn seconds([prepare, encode, prefill]: [Duration; 3]) -> String {
    format!(
        "prepare {}, encode {}, prefill {}",
        short(prepare),
        short(encode),
        short(prefill)
    )
}

/// An estimate for people: two digits are more than it is worth already.
fn short(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.01 => format!("{seconds:.4}"),
        0.01..1.0 => format!("{seconds:.2}"),
        1.0..10.0 => format!("{seconds:.1}"),
        _ => format!("{seconds:.0}"),
    }
}

fn verdict(total: &Total, context: usize) -> String {
    match &total.one_prompt {
        _ if total.pictures + total.videos == 0 => String::new(),
        Err(why) => format!("too much for one prompt: {why}\n"),
        Ok(time) if total.pictures + total.videos > 1 => format!(
            "one prompt holds all, with {} tokens left; its prefill takes {} s\n",
            context - total.tokens,
            short(*time)
        ),
        Ok(_) => format!("{} tokens are left for text\n", context - total.tokens),
    }
}

/// Rows as columns of one width each, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let of_row = |row: &Vec<String>| row[column].chars().count();
        rows.iter().map(of_row).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

//! Models by name: looking them up, listing and downloading them. The environment's places are read here.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use ocelli::store::{self, Found, Hub, Origin, Places, ResolvedModel};
use serde_json::{Value, json};

use crate::args::{ListArgs, PullArgs};
use crate::failure::{Failure, one_line};
use crate::output::{Output, print_json};
use crate::progress::Progress;

/// The files that a path or a name stands for.
///
/// # Errors
/// When a name is unknown, or what it stands for is broken.
pub(crate) fn find(given: &Path) -> Result<ResolvedModel, Failure> {
    match given.to_str() {
        Some(name) => Ok(store::resolve(name, &places()).map_err(ocelli::Error::from)?),
        // A name is text; what is none can only be a path.
        None => Ok(ResolvedModel {
            text: given.to_owned(),
            projector: None,
            source: Origin::Path,
        }),
    }
}

/// Runs `ocelli list`.
///
/// # Errors
/// When standard output cannot be written.
pub(crate) fn list(args: &ListArgs) -> Result<(), Failure> {
    let found = store::list(&places());
    if args.json {
        let models: Vec<Value> = found.iter().map(model_json).collect();
        return print_json(&json!({ "models": models }));
    }
    let mut output = Output::new();
    output.text(&table(&found));
    output.finish()
}

/// Runs `ocelli pull`.
///
/// # Errors
/// As the library.
pub(crate) fn pull(args: &PullArgs) -> Result<(), Failure> {
    let places = places();
    let Some(cache) = places.hf_hub.first() else {
        return Err(Failure::usage(
            "no place for models: found neither HOME nor HF_HUB_CACHE, need one",
        ));
    };
    let hub = Hub::from_env(&|name| std::env::var_os(name));
    let mut progress = Progress::new();
    let pulled = store::pull(&args.name, &hub, cache, &mut |event| {
        progress.download(&event);
        ControlFlow::Continue(())
    })
    .map_err(ocelli::Error::from)?;
    progress.clear();
    let mut output = Output::new();
    for file in std::iter::once(&pulled.text).chain(&pulled.projector) {
        output.text(&format!("{}\n", file.display()));
    }
    output.finish()
}

fn places() -> Places {
    Places::from_env(&|name| std::env::var_os(name))
}

fn table(found: &[Found]) -> String {
    if found.is_empty() {
        return "no models on this machine; 'ocelli pull USER/REPO' downloads one\n".to_owned();
    }
    let width = found.iter().map(|model| model.name.chars().count()).max();
    let width = width.unwrap_or_default().min(64);
    let mut text = String::new();
    for model in found {
        let gib = model.size as f64 / f64::from(1 << 30);
        let state = match (&model.broken, &model.projector) {
            (Some(why), _) => format!("broken: {why}"),
            (None, Some(_)) => format!("sees; {}", model.why),
            (None, None) => model.why.clone(),
        };
        let architecture = model.architecture.as_deref().unwrap_or("-");
        let line = format!(
            "{:width$}  {gib:6.2} GiB  {architecture:10}  {}  {state}",
            model.name, model.source
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", one_line(&line));
    }
    text
}

fn model_json(model: &Found) -> Value {
    json!({
        "name": model.name,
        "source": model.source.to_string(),
        "text": model.text.display().to_string(),
        "projector": model.projector.as_ref().map(|path| path.display().to_string()),
        "why": model.why,
        "architecture": model.architecture,
        "size": model.size,
        "quant": model.quant,
        "broken": model.broken,
    })
}

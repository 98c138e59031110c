//! All models of this machine: what each file is, and what pairs with what.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use ocelli_gguf::Gguf;

use crate::pairing::pick_projector;
use crate::resolve::projector_groups;
use crate::shelf::{Shelf, shelves};
use crate::{FileKind, Origin, Places, choose, classify, fit, ollama};

/// A model on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What [`resolve`](crate::resolve) takes for it: `user/repo:quant`, `ollama:name:tag`, else the path.
    pub name: String,
    /// Where it is.
    pub source: Origin,
    /// The text model, or the first part of a split one; of a broken entry of Ollama's the manifest.
    pub text: PathBuf,
    /// The projector that is taken.
    pub projector: Option<PathBuf>,
    /// Why this projector, or why none. One line.
    pub why: String,
    /// `general.architecture`; `None` when the file is broken.
    pub architecture: Option<String>,
    /// Bytes of the text model's and the projector's files.
    pub size: u64,
    /// The quantisation by the file's name, or as Ollama says.
    pub quant: Option<String>,
    /// Why it cannot be used; `None` when nothing is known against it.
    pub broken: Option<String>,
}

/// Lists all models of some places, in order of place and name. Only the beginnings of files are
/// read: metadata and lists of tensors. What cannot be used is in the list with the reason.
pub fn list(places: &Places) -> Vec<Found> {
    let shelves = shelves(places);
    let mut files = Files::default();
    files.open_all(paths(&shelves));
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for shelf in &shelves {
        for text in shelf.files.iter().filter(|file| choose::is_text(file)) {
            // An older snapshot's file is told only when the current snapshot has none of its name.
            let is_new = match &shelf.id {
                Some(id) => seen.insert((shelf.origin, id.clone(), text.clone())),
                None => true,
            };
            if is_new {
                found.extend(of_shelf(shelf, text, &mut files));
            }
        }
    }
    for store in &places.ollama {
        found.extend(
            ollama::tags(store)
                .iter()
                .map(|tag| of_ollama(tag, &mut files)),
        );
    }
    found.sort_by(|a, b| (a.source, &a.name).cmp(&(b.source, &b.name)));
    // A name stands for the first place that has it; the order of `Origin` is that of the search.
    let mut names = HashSet::new();
    for model in &mut found {
        if !names.insert(model.name.clone()) {
            model.name = model.text.display().to_string();
        }
    }
    found
}

/// All files that a list will open, but for the blobs that only manifests name.
fn paths(shelves: &[Shelf]) -> Vec<PathBuf> {
    let is_wanted = |file: &&String| choose::is_text(file) || choose::is_projector(file);
    let of_shelf = |shelf: &Shelf| -> Vec<PathBuf> {
        let wanted = shelf.files.iter().filter(is_wanted);
        wanted.map(|file| shelf.path(file)).collect()
    };
    shelves.iter().flat_map(of_shelf).collect()
}

/// What is known of a file after it was opened once.
#[derive(Clone, Debug)]
struct Opened {
    kind: Result<FileKind, String>,
    bytes: u64,
}

/// Opened files; each is opened once, however many models may pair with it.
#[derive(Default)]
struct Files(HashMap<PathBuf, Opened>);

/// More threads than this gain nothing: the disk is the same.
const THREADS: usize = 8;

impl Files {
    /// Opens files on several threads: a vocabulary takes some milliseconds, and there may be hundreds.
    fn open_all(&mut self, paths: Vec<PathBuf>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = paths.len().div_ceil(threads.min(THREADS)).max(1);
        let opened = std::thread::scope(|scope| {
            let open = |paths: &[PathBuf]| paths.iter().map(|path| Opened::at(path)).collect();
            let shares: Vec<_> = paths
                .chunks(share)
                .map(|paths| {
                    let work = move || -> Vec<Opened> { open(paths) };
                    std::thread::Builder::new().spawn_scoped(scope, work)
                })
                .collect();
            // A thread that panicked or that the system refused leaves the files to be opened one by one.
            let all = shares.into_iter().map(|share| share.ok()?.join().ok());
            all.collect::<Option<Vec<Vec<Opened>>>>()
        });
        let opened = opened.unwrap_or_default().into_iter().flatten();
        self.0.extend(paths.into_iter().zip(opened));
    }

    fn get(&mut self, path: &Path) -> &Opened {
        let entry = self.0.entry(path.to_owned());
        entry.or_insert_with(|| Opened::at(path))
    }
}

impl Opened {
    fn at(path: &Path) -> Self {
        let file = Gguf::open(path);
        let bytes = match &file {
            Ok(file) => file.total_bytes(),
            Err(_) => fs::metadata(path).map_or(0, |data| data.len()),
        };
        let kind = file.and_then(|file| classify(&file));
        Self {
            kind: kind.map_err(|error| error.to_string()),
            bytes,
        }
    }
}

/// One text model of a shelf; `None` for a file that is no text model.
fn of_shelf(shelf: &Shelf, text: &str, files: &mut Files) -> Option<Found> {
    let path = shelf.path(text);
    let opened = files.get(&path).clone();
    let mut found = Found {
        name: name(shelf, text),
        source: shelf.origin,
        text: path.clone(),
        projector: None,
        why: String::new(),
        architecture: None,
        size: opened.bytes,
        quant: choose::quant_label(text),
        broken: None,
    };
    match opened.kind {
        Ok(FileKind::Text(facts)) => {
            let groups = projector_groups(shelf, text);
            let open = |path: &Path| files.get(path).kind.clone().map(|kind| ((), kind));
            let (_, pairing) = pick_projector((&path, &facts), groups, open);
            found.architecture = Some(facts.architecture);
            found.why = pairing.reason;
            if let Some(projector) = pairing.chosen {
                found.size += files.get(&projector).bytes;
                found.projector = Some(projector);
            }
        }
        Ok(FileKind::Merged(facts)) => {
            found.architecture = Some(facts.architecture);
            found.why = INSIDE.to_owned();
        }
        Ok(FileKind::Projector(_) | FileKind::Other(_)) => return None,
        Err(why) => found.broken = Some(why),
    }
    Some(found)
}

const INSIDE: &str = "the vision tensors are in the same file";

/// The shortest text that stands for this very file.
fn name(shelf: &Shelf, text: &str) -> String {
    let quant = choose::quant_label(text);
    let first = choose::texts(&shelf.files, quant.as_deref());
    match (&shelf.id, quant) {
        (Some(id), Some(quant)) if first.first() == Some(&text) => format!("{id}:{quant}"),
        (Some(id), None) if first.first() == Some(&text) => id.clone(),
        _ => shelf.path(text).display().to_string(),
    }
}

fn of_ollama(tag: &ollama::Tag, files: &mut Files) -> Found {
    let mut found = Found {
        name: tag.name.short(),
        source: Origin::Ollama,
        text: tag.manifest().to_owned(),
        projector: None,
        why: String::new(),
        architecture: None,
        size: 0,
        quant: None,
        broken: None,
    };
    let blobs = match tag.blobs() {
        Ok(blobs) => blobs,
        Err(why) => {
            found.broken = Some(why);
            return found;
        }
    };
    let opened = files.get(&blobs.text).clone();
    found.size = opened.bytes;
    found.text = blobs.text;
    found.quant = blobs.quant;
    let projector = blobs.projector.map(|path| (files.get(&path).clone(), path));
    found.size += projector.as_ref().map_or(0, |(opened, _)| opened.bytes);
    match (opened.kind, projector) {
        (Ok(FileKind::Merged(facts)), _) => {
            found.architecture = Some(facts.architecture);
            found.why = INSIDE.to_owned();
        }
        (Ok(FileKind::Text(facts)), None) => {
            found.architecture = Some(facts.architecture);
            found.why = "its manifest names no projector".to_owned();
        }
        (Ok(FileKind::Text(facts)), Some((projector, path))) => {
            let matched = match projector.kind {
                Ok(FileKind::Projector(own)) => {
                    fit(&facts, &own).map_err(|misfit| misfit.to_string())
                }
                Ok(other) => Err(format!("the projector layer is {}", other.describe())),
                Err(why) => Err(why),
            };
            match matched {
                Ok(matched) => found.why = format!("named by its manifest; {}", matched.join(", ")),
                Err(why) => found.broken = Some(why),
            }
            found.projector = Some(path);
            found.architecture = Some(facts.architecture);
        }
        (Ok(other), _) => found.broken = Some(format!("the model layer is {}", other.describe())),
        (Err(why), _) => found.broken = Some(why),
    }
    found
}

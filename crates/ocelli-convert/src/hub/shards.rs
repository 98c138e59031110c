//! The tensors of a checkpoint: one safetensors file or the parts that an index names.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ocelli_quant::TensorType;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::tensor::{HubTensor, ShardFile};
use crate::Error;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The most bytes of a header; the reference implementation has the same limit.
const HEADER_BYTES: u64 = 100_000_000;

/// All tensors of a checkpoint by normalised name, each taken at most once: what is left at the end
/// should not be there.
#[derive(Debug)]
pub(crate) struct Shelf {
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    file: Arc<ShardFile>,
    start: u64,
    is_taken: bool,
}

impl Shelf {
    /// Opens all files of a checkpoint.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let mut shelf = Self {
            tensors: BTreeMap::new(),
        };
        if folder.join(SINGLE).is_file() {
            shelf.add_file(&folder.join(SINGLE), None)?;
            return Ok(shelf);
        }
        let index_path = folder.join(INDEX);
        if !index_path.is_file() {
            return Err(no_tensors(folder));
        }
        for (file, names) in read_index(&index_path)? {
            let path = folder.join(&file);
            if !path.is_file() {
                return Err(Error::MissingFile {
                    folder: folder.to_path_buf(),
                    what: format!("{file}, which {INDEX} names,"),
                });
            }
            shelf.add_file(&path, Some(&names))?;
        }
        Ok(shelf)
    }

    /// Adds the tensors of a file; only those of `names` if given, and all of these.
    fn add_file(&mut self, path: &Path, names: Option<&[String]>) -> Result<(), Error> {
        let (metadata, data_start, file) = read_header(path)?;
        let file_name = file_name(path);
        let bad = |problem: String| Error::BadFile {
            file: file_name.clone(),
            problem,
        };
        let all = metadata.offset_keys();
        for name in names.unwrap_or(&all) {
            let info = metadata.info(name).ok_or_else(|| {
                bad(format!(
                    "tensor '{name}' not found, but the index says it is here"
                ))
            })?;
            let normal = normal_name(name);
            let entry = Entry {
                name: name.clone(),
                shape: info.shape.clone(),
                dtype: info.dtype,
                file: file.clone(),
                start: data_start + info.data_offsets.0 as u64,
                is_taken: false,
            };
            if let Some(other) = self.tensors.insert(normal, entry) {
                let problem = format!("tensors '{name}' and '{}' are the same", other.name);
                return Err(bad(problem));
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor, slowest-varying first.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// The tensor of a normalised name, which must have this shape.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<HubTensor, Error> {
        let entry = self
            .tensors
            .get_mut(name)
            .ok_or_else(|| Error::MissingTensor {
                name: name.to_owned(),
                hint: String::new(),
            })?;
        entry.is_taken = true;
        let ty = match entry.dtype {
            Dtype::F32 => TensorType::F32,
            Dtype::F16 => TensorType::F16,
            Dtype::BF16 => TensorType::BF16,
            other => {
                return Err(Error::ElementType {
                    name: entry.name.clone(),
                    found: format!("{other:?}"),
                });
            }
        };
        if entry.shape != shape {
            return Err(Error::WrongShape {
                name: entry.name.clone(),
                found: entry.shape.clone(),
                need: shape.to_vec(),
            });
        }
        Ok(HubTensor {
            shape: entry.shape.clone(),
            ty,
            file: entry.file.clone(),
            start: entry.start,
        })
    }

    /// Normalised names with a beginning.
    pub(crate) fn names_below(&self, prefix: &str) -> Vec<String> {
        let names = self.tensors.keys();
        names
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Leaves a tensor out on purpose.
    pub(crate) fn discard(&mut self, name: &str) {
        if let Some(entry) = self.tensors.get_mut(name) {
            entry.is_taken = true;
        }
    }

    /// Leaves every tensor of a prefix out on purpose; false when there is none.
    pub(crate) fn discard_all(&mut self, prefix: &str) -> bool {
        let mut found = false;
        for (_, entry) in self
            .tensors
            .iter_mut()
            .filter(|(name, _)| name.starts_with(prefix))
        {
            (entry.is_taken, found) = (true, true);
        }
        found
    }

    /// An error when tensors were neither taken nor known as not needed.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let is_needless =
            |name: &str| name.ends_with("rotary_emb.inv_freq") || name.starts_with("mtp.");
        let left: Vec<&str> = self
            .tensors
            .iter()
            .filter(|(normal, entry)| !entry.is_taken && !is_needless(normal))
            .map(|(_, entry)| entry.name.as_str())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut names = left[..left.len().min(4)].join(", ");
        if left.len() > 4 {
            names.push_str(", ...");
        }
        Err(Error::ExtraTensors {
            count: left.len(),
            names,
        })
    }
}

/// Names of all generations and versions of the modelling code, as one: `layers.0...`, `visual...`,
/// `vision_tower...`, `lm_head.weight`.
fn normal_name(name: &str) -> String {
    for (prefix, normal) in [
        ("model.language_model.", ""),
        ("language_model.model.", ""),
        ("language_model.lm_head.", "lm_head."),
        ("model.visual.", "visual."),
        ("model.vision_tower.vision_model.", "vision_tower."),
        ("model.vision_tower.", "vision_tower."),
        ("vision_tower.vision_model.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("model.lm_head.", "lm_head."),
        ("model.", ""),
    ] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return format!("{normal}{rest}");
        }
    }
    name.to_owned()
}

fn no_tensors(folder: &Path) -> Error {
    let files: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let ends = |end: &str| files.iter().find(|name| name.ends_with(end));
    if ends(".safetensors").is_some() {
        return Error::MissingFile {
            folder: folder.to_path_buf(),
            what: INDEX.to_owned(),
        };
    }
    let (found, hint) = match (ends(".bin"), ends(".gguf")) {
        (Some(name), _) => (name.clone(), "Save the model as safetensors first"),
        (_, Some(name)) => (name.clone(), "This is a GGUF already: see `quantize`"),
        _ => ("no tensors".to_owned(), "Download all files of the model"),
    };
    Error::NotACheckpoint {
        path: folder.to_path_buf(),
        found,
        hint,
    }
}

/// The files that an index names, each with its tensors.
fn read_index(path: &Path) -> Result<BTreeMap<String, Vec<String>>, Error> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bad = |problem: String| Error::BadFile {
        file: INDEX.to_owned(),
        problem,
    };
    let text = fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    })?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, file) in index.weight_map {
        if Path::new(&file).file_name() != Some(file.as_ref()) {
            return Err(bad(format!("'{file}' is no plain file name")));
        }
        files.entry(file).or_default().push(tensor);
    }
    Ok(files)
}

/// The header of a safetensors file and where its data starts; the file's size is that of the
/// header's tensors.
fn read_header(path: &Path) -> Result<(Metadata, u64, Arc<ShardFile>), Error> {
    let io = |source| Error::Io {
        action: "read",
        path: path.to_path_buf(),
        source,
    };
    let bad = |problem: String| Error::BadFile {
        file: file_name(path),
        problem,
    };
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Err(bad(format!("{size} bytes; download incomplete?")));
    }
    file.read_exact(&mut length).map_err(io)?;
    if length == *b"version " {
        let problem = "this is a Git LFS pointer, not the tensors; download the real file";
        return Err(bad(problem.to_owned()));
    }
    let length = u64::from_le_bytes(length);
    if length > HEADER_BYTES.min(size - 8) {
        return Err(bad(format!("header of {length} bytes in a file of {size}")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| bad(e.to_string()))?;
    let need = 8 + length + metadata.data_len() as u64;
    if size != need {
        return Err(bad(format!(
            "found {size} bytes, need {need}; download incomplete?"
        )));
    }
    let file = Arc::new(ShardFile {
        path: PathBuf::from(path),
        file,
    });
    Ok((metadata, 8 + length, file))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::normal_name;

    #[test]
    fn names_of_all_versions_of_the_modelling_code_become_one() {
        for (name, normal) in [
            (
                "model.language_model.layers.0.mlp.gate.weight",
                "layers.0.mlp.gate.weight",
            ),
            ("language_model.model.norm.weight", "norm.weight"),
            ("model.embed_tokens.weight", "embed_tokens.weight"),
            ("model.visual.merger.norm.bias", "visual.merger.norm.bias"),
            ("visual.merger.ln_q.bias", "visual.merger.ln_q.bias"),
            (
                "vision_tower.vision_model.post_layernorm.bias",
                "vision_tower.post_layernorm.bias",
            ),
            (
                "model.multi_modal_projector.mm_soft_emb_norm.weight",
                "multi_modal_projector.mm_soft_emb_norm.weight",
            ),
            ("lm_head.weight", "lm_head.weight"),
            ("language_model.lm_head.weight", "lm_head.weight"),
        ] {
            assert_eq!(normal_name(name), normal);
        }
    }
}

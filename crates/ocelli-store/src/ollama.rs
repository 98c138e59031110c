//! Ollama's store: manifests name layers, layers are blobs named by their SHA-256. Read only; blobs
//! are shared.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model_name::OllamaName;
use crate::shelf::names;

/// Manifests and configurations are small; what is larger is something else.
const JSON_BYTES: u64 = 1 << 20;
const LAYER: &str = "application/vnd.ollama.image.";

/// A manifest's place and the name that it stands for.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) name: OllamaName,
    store: PathBuf,
    manifest: PathBuf,
}

/// Files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blobs {
    pub(crate) text: PathBuf,
    pub(crate) projector: Option<PathBuf>,
    /// As the configuration says it: `Q4_K_M`.
    pub(crate) quant: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Layer>,
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Config {
    file_type: Option<String>,
}

/// All models of a store.
pub(crate) fn tags(store: &Path) -> Vec<Tag> {
    let root = store.join("manifests");
    let mut tags = Vec::new();
    for host in names(&root) {
        for namespace in names(&root.join(&host)) {
            for model in names(&root.join(&host).join(&namespace)) {
                let folder = root.join(&host).join(&namespace).join(&model);
                for tag in names(&folder) {
                    tags.push(Tag {
                        manifest: folder.join(&tag),
                        store: store.to_owned(),
                        name: OllamaName {
                            host: host.clone(),
                            namespace: namespace.clone(),
                            model: model.clone(),
                            tag,
                        },
                    });
                }
            }
        }
    }
    tags
}

impl Tag {
    /// True when this is a model of the store.
    pub(crate) fn is_in(&self, store: &Path) -> bool {
        self.store == store
    }

    /// The manifest's path.
    pub(crate) fn manifest(&self) -> &Path {
        &self.manifest
    }

    /// The model's files; an error says why it cannot be used.
    pub(crate) fn blobs(&self) -> Result<Blobs, String> {
        let manifest: Manifest = read_json(&self.manifest)?;
        let of_kind = |kind: &str| -> Vec<&Layer> {
            let is_kind = |layer: &&Layer| layer.media_type.strip_prefix(LAYER) == Some(kind);
            manifest.layers.iter().filter(is_kind).collect()
        };
        if !of_kind("adapter").is_empty() {
            return Err("it needs its adapter (LoRA), which is not supported".to_owned());
        }
        let text = match of_kind("model").as_slice() {
            [one] => self.blob(one)?,
            [] if !of_kind("tensor").is_empty() => {
                return Err("it is stored as safetensors, need GGUF".to_owned());
            }
            [] => return Err("its manifest has no model layer".to_owned()),
            several => {
                return Err(format!(
                    "found {} model layers, need one file; split models of Ollama's are not supported",
                    several.len()
                ));
            }
        };
        let projector = match of_kind("projector").first() {
            Some(layer) => Some(self.blob(layer)?),
            None => None,
        };
        let config: Option<Config> = manifest
            .config
            .and_then(|layer| read_json(&self.blob(&layer).ok()?).ok());
        Ok(Blobs {
            text,
            projector,
            quant: config.and_then(|config| config.file_type),
        })
    }

    /// The path of a layer's blob, which is there and has the stated size.
    fn blob(&self, layer: &Layer) -> Result<PathBuf, String> {
        let Some(hex) = sha256_of_digest(&layer.digest) else {
            let shown: String = layer.digest.chars().take(80).collect();
            return Err(format!(
                "digest: found '{}', need sha256: and 64 hexadecimal digits",
                shown.escape_default()
            ));
        };
        let path = self.store.join("blobs").join(format!("sha256-{hex}"));
        let found = match fs::metadata(&path) {
            Ok(data) if data.is_file() => data.len(),
            Ok(_) => return Err(format!("blob {}: this is no file", path.display())),
            Err(error) => return Err(format!("blob {}: {error}", path.display())),
        };
        match layer.size {
            Some(need) if need != found => Err(format!(
                "blob {}: found {found} bytes, need {need}; pull the model again with Ollama",
                path.display()
            )),
            _ => Ok(path),
        }
    }
}

/// The digits of `sha256:...`, in lower case.
fn sha256_of_digest(digest: &str) -> Option<String> {
    let hex = digest
        .strip_prefix("sha256:")
        .or_else(|| digest.strip_prefix("sha256-"))?;
    let is_hash = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| hex.to_ascii_lowercase())
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
    let bad = |why: String| format!("{}: {why}", path.display());
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(JSON_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| bad(error.to_string()))?;
    if bytes.len() as u64 > JSON_BYTES {
        return Err(bad(format!("found more than {JSON_BYTES} bytes of JSON")));
    }
    serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_digest_becomes_part_of_a_path() {
        let hex = "Ab".repeat(32);
        let lower = hex.to_lowercase();
        assert_eq!(sha256_of_digest(&format!("sha256:{hex}")), Some(lower));
        for bad in [
            format!("sha256:{}", &hex[1..]),
            format!("sha512:{hex}"),
            format!("sha256:../{hex}"),
            format!("sha256:{}/", &hex[1..]),
            String::new(),
        ] {
            assert_eq!(sha256_of_digest(&bad), None, "{bad}");
        }
    }
}

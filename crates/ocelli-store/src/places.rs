//! Where programs on this machine keep models. Nothing is read here but what the caller hands in.

use std::ffi::OsString;
use std::path::PathBuf;

/// Folders in which models are looked for, each list in the order of the search. A folder need not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Hugging Face hub caches (`models--user--repo/...`). Downloads go to the first.
    pub hf_hub: Vec<PathBuf>,
    /// llama.cpp's older cache: flat files `user_repo_file.gguf`.
    pub llama_cache: Vec<PathBuf>,
    /// LM Studio's models (`publisher/model/file.gguf`).
    pub lm_studio: Vec<PathBuf>,
    /// Ollama's stores (`manifests/`, `blobs/`).
    pub ollama: Vec<PathBuf>,
}

impl Places {
    /// The places that the environment names, else the programs' own defaults. `get` gives a
    /// variable's value; an empty value counts as none.
    pub fn from_env(get: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let variables = Variables(get);
        let home = variables.home();
        let below_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let llama = variables.path("LLAMA_CACHE");
        let hub = variables.hub();
        let ollama = match variables.path("OLLAMA_MODELS") {
            Some(chosen) => vec![chosen],
            None => {
                let service = cfg!(target_os = "linux")
                    .then(|| PathBuf::from("/usr/share/ollama/.ollama/models"));
                let own = below_home(".ollama/models");
                own.into_iter().chain(service).collect()
            }
        };
        Self {
            // Newer versions of llama.cpp write the hub's layout into their own folder, too.
            hf_hub: hub.into_iter().chain(llama.clone()).collect(),
            llama_cache: llama
                .or_else(|| variables.llama_default())
                .into_iter()
                .collect(),
            lm_studio: [".lmstudio/models", ".cache/lm-studio/models"]
                .into_iter()
                .filter_map(below_home)
                .collect(),
            ollama,
        }
    }
}

/// Reads variables as paths.
pub(crate) struct Variables<'a>(pub(crate) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = (self.0)(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value))
    }

    fn home(&self) -> Option<PathBuf> {
        let home = self.path("HOME").filter(|_| !cfg!(windows));
        home.or_else(|| self.path("USERPROFILE"))
    }

    fn user_cache(&self) -> Option<PathBuf> {
        let below_home = || Some(self.home()?.join(".cache"));
        self.path("XDG_CACHE_HOME").or_else(below_home)
    }

    /// The folder of Hugging Face's tools: cache, token.
    pub(crate) fn hugging_face(&self) -> Option<PathBuf> {
        let default = || Some(self.user_cache()?.join("huggingface"));
        self.path("HF_HOME").or_else(default)
    }

    /// The Hugging Face hub cache.
    fn hub(&self) -> Option<PathBuf> {
        let default = || Some(self.hugging_face()?.join("hub"));
        self.path("HF_HUB_CACHE")
            .or_else(|| self.path("HUGGINGFACE_HUB_CACHE"))
            .or_else(default)
    }

    fn llama_default(&self) -> Option<PathBuf> {
        if cfg!(windows) {
            return Some(self.path("LOCALAPPDATA")?.join("llama.cpp"));
        }
        if cfg!(target_os = "macos") {
            return Some(self.home()?.join("Library/Caches/llama.cpp"));
        }
        Some(self.user_cache()?.join("llama.cpp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::from_env(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn defaults_are_below_the_home_folder() {
        let places = places(&[("HOME", "/h"), ("HF_HOME", "")]);
        assert_eq!(places.hf_hub, [PathBuf::from("/h/.cache/huggingface/hub")]);
        assert_eq!(places.llama_cache, [PathBuf::from("/h/.cache/llama.cpp")]);
        assert_eq!(places.lm_studio[0], PathBuf::from("/h/.lmstudio/models"));
        assert_eq!(places.ollama[0], PathBuf::from("/h/.ollama/models"));
    }

    #[test]
    fn the_first_variable_that_is_set_wins() {
        let hub = |variables: &[(&str, &str)]| places(variables).hf_hub;
        let all = [
            ("HF_HUB_CACHE", "/a"),
            ("HUGGINGFACE_HUB_CACHE", "/b"),
            ("HF_HOME", "/c"),
            ("XDG_CACHE_HOME", "/d"),
        ];
        assert_eq!(hub(&all), [PathBuf::from("/a")]);
        assert_eq!(hub(&all[1..]), [PathBuf::from("/b")]);
        assert_eq!(hub(&all[2..]), [PathBuf::from("/c/hub")]);
        assert_eq!(hub(&all[3..]), [PathBuf::from("/d/huggingface/hub")]);
    }

    #[test]
    fn folders_that_are_chosen_replace_the_defaults() {
        let places = places(&[("LLAMA_CACHE", "/l"), ("OLLAMA_MODELS", "/o")]);
        assert_eq!(places.llama_cache, [PathBuf::from("/l")]);
        assert_eq!(places.hf_hub, [PathBuf::from("/l")]);
        assert_eq!(places.ollama, [PathBuf::from("/o")]);
    }

    #[test]
    fn without_any_variable_there_is_no_place_of_a_user() {
        let places = places(&[]);
        assert_eq!((places.hf_hub.len(), places.lm_studio.len()), (0, 0));
    }
}

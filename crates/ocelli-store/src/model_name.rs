//! Names of models as people type them, taken apart. Nothing here touches the disk.

/// A name that is not a path: what it may stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelName {
    /// As a repository of the hub.
    pub(crate) repo: Option<RepoName>,
    /// As a model of Ollama's.
    pub(crate) ollama: Option<OllamaName>,
}

/// `user/repo[:quant]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RepoName {
    pub(crate) user: String,
    pub(crate) repo: String,
    pub(crate) quant: Option<String>,
}

impl RepoName {
    /// `user/repo`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.user, self.repo)
    }
}

/// `[host/][namespace/]model[:tag]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OllamaName {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) model: String,
    pub(crate) tag: String,
}

/// The registry that Ollama means when none is named.
pub(crate) const OLLAMA_HOST: &str = "registry.ollama.ai";
const OLLAMA_NAMESPACE: &str = "library";
const HUB_HOSTS: [&str; 2] = ["hf.co", "huggingface.co"];
/// Longest part of a name; the hub allows 96.
const PART_BYTES: usize = 128;

impl ModelName {
    /// Takes a name apart; `None` when the text is none, so that it can only be a path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("ollama:") {
            let ollama = Some(OllamaName::parse(rest)?);
            return Some(Self { repo: None, ollama });
        }
        if text.to_ascii_lowercase().ends_with(".gguf") {
            return None;
        }
        if let Some(rest) = without_hub(text) {
            let repo = RepoName::parse(rest)?;
            let ollama = OllamaName {
                host: HUB_HOSTS[0].to_owned(),
                namespace: repo.user.clone(),
                model: repo.repo.clone(),
                tag: repo.quant.clone().unwrap_or_else(|| "latest".to_owned()),
            };
            return Some(Self {
                repo: Some(repo),
                ollama: Some(ollama),
            });
        }
        let ollama = Some(OllamaName::parse(text)?);
        let repo = RepoName::parse(text);
        Some(Self { repo, ollama })
    }
}

impl RepoName {
    /// `user/repo[:quant]`, also with the hub's host before it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = without_hub(text).unwrap_or(text);
        let (path, quant) = split_tag(text)?;
        let (user, repo) = path.split_once('/')?;
        (is_part(user) && is_part(repo)).then(|| Self {
            user: user.to_owned(),
            repo: repo.to_owned(),
            quant: quant.map(str::to_owned),
        })
    }
}

impl OllamaName {
    fn parse(text: &str) -> Option<Self> {
        let (path, tag) = split_tag(text)?;
        let parts: Vec<&str> = path.split('/').collect();
        let (host, namespace, model) = match parts.as_slice() {
            [model] => (OLLAMA_HOST, OLLAMA_NAMESPACE, *model),
            [namespace, model] => (OLLAMA_HOST, *namespace, *model),
            [host, namespace, model] => (*host, *namespace, *model),
            _ => return None,
        };
        let is_name = [host, namespace, model].into_iter().all(is_part);
        is_name.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.unwrap_or("latest").to_owned(),
        })
    }

    /// The shortest text that stands for it.
    pub(crate) fn short(&self) -> String {
        let Self {
            host,
            namespace,
            model,
            tag,
        } = self;
        if host != OLLAMA_HOST {
            format!("ollama:{host}/{namespace}/{model}:{tag}")
        } else if namespace != OLLAMA_NAMESPACE {
            format!("ollama:{namespace}/{model}:{tag}")
        } else {
            format!("ollama:{model}:{tag}")
        }
    }

    /// True when both are the same model; Ollama does not tell upper from lower case.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        [
            (&self.host, &other.host),
            (&self.namespace, &other.namespace),
            (&self.model, &other.model),
            (&self.tag, &other.tag),
        ]
        .into_iter()
        .all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
}

/// What follows `hf.co/`, with or without `https://`.
fn without_hub(text: &str) -> Option<&str> {
    let text = text.strip_prefix("https://").unwrap_or(text);
    let (host, rest) = text.split_once('/')?;
    HUB_HOSTS
        .iter()
        .any(|hub| hub.eq_ignore_ascii_case(host))
        .then_some(rest)
}

/// Cuts off `:tag`; `None` when the tag is no name.
fn split_tag(text: &str) -> Option<(&str, Option<&str>)> {
    match text.rsplit_once(':') {
        None => Some((text, None)),
        Some((path, tag)) => is_part(tag).then_some((path, Some(tag))),
    }
}

/// True for one part of a name. Nothing that passes can leave a folder: no separators, no leading dot.
fn is_part(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty()
        && text.len() <= PART_BYTES
        && !text.starts_with('.')
        && text.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(text: &str) -> Option<(String, Option<String>)> {
        let repo = ModelName::parse(text)?.repo?;
        Some((repo.id(), repo.quant))
    }

    fn ollama(text: &str) -> Option<String> {
        Some(ModelName::parse(text)?.ollama?.short())
    }

    #[test]
    fn repositories_are_named_with_and_without_host_and_quant() {
        let plain = Some(("u/r-GGUF".to_owned(), None));
        let quant = Some(("u/r-GGUF".to_owned(), Some("q4_K_M".to_owned())));
        assert_eq!(repo("u/r-GGUF"), plain);
        for text in [
            "u/r-GGUF:q4_K_M",
            "hf.co/u/r-GGUF:q4_K_M",
            "https://huggingface.co/u/r-GGUF:q4_K_M",
        ] {
            assert_eq!(repo(text), quant, "{text}");
        }
        assert_eq!(
            ollama("hf.co/u/r:Q8_0").as_deref(),
            Some("ollama:hf.co/u/r:Q8_0")
        );
    }

    #[test]
    fn ollamas_names_get_their_defaults() {
        for (text, short) in [
            ("gemma3", "ollama:gemma3:latest"),
            ("ollama:gemma3:4b", "ollama:gemma3:4b"),
            ("me/eye:1", "ollama:me/eye:1"),
            ("example.org/me/eye", "ollama:example.org/me/eye:latest"),
        ] {
            assert_eq!(ollama(text).as_deref(), Some(short), "{text}");
        }
        assert_eq!(repo("ollama:u/r"), None);
    }

    #[test]
    fn what_could_leave_a_folder_is_no_name() {
        for text in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "a/../b",
            "a/..",
            "~/x",
            "a//b",
            "a\\b",
            "C:\\x",
            "a/b:",
            "a/b:..",
            "a:b:c d",
            "x.gguf",
            "a/b.gguf",
            "ollama:",
            "ollama:../x",
            "a/b/c/d",
            "hf.co/u",
            "a\0b",
        ] {
            assert_eq!(ModelName::parse(text), None, "{text:?}");
        }
    }
}

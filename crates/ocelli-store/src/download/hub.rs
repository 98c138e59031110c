//! The hub: settings, the list of a repository's files, and what each file must be.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::http::{Client, Failed, Method, Reply, without_query};
use super::watch::Watch;
use crate::Error;
use crate::places::Variables;

/// Longest list of a repository's files.
const LIST_BYTES: u64 = 32 << 20;
/// Longest token.
const TOKEN_BYTES: u64 = 4096;

/// Where models are downloaded from, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// Address of the hub. `http` is allowed only when this says so.
    pub endpoint: String,
    /// Goes to the hub's own host only.
    pub token: Option<String>,
    /// True when nothing may be downloaded.
    pub offline: bool,
    /// Address of an HTTP proxy.
    pub proxy: Option<String>,
    /// How long and how often is tried.
    pub patience: Patience,
}

/// How long and how often is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A server that sends nothing for so long is given up for this try.
    pub stall: Duration,
    /// Waited before the second try; doubled for each further one, up to a minute, with some chance added.
    pub first_wait: Duration,
    /// Tries in a row without progress.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            first_wait: Duration::from_secs(1),
            tries: 6,
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            offline: false,
            proxy: None,
            patience: Patience::default(),
        }
    }
}

// By hand: a token must not get into logs.
impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("offline", &self.offline)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Settings by the environment: `HF_ENDPOINT`, `HF_TOKEN`, the token file (`HF_TOKEN_PATH`,
    /// else `token` in `HF_HOME`), `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`,
    /// `HTTPS_PROXY`. `get` gives a variable's value.
    pub fn from_env(get: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = get(name)?.into_string().ok()?;
            let value = value.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let is_on = |name: &str| {
            let value = text(name).unwrap_or_default().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let default = Self::default();
        let token = match is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            true => None,
            false => text("HF_TOKEN").or_else(|| token_in(token_file(&Variables(get))?)),
        };
        let endpoint = text("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned());
        Self {
            endpoint: endpoint.unwrap_or(default.endpoint),
            // What cannot be a header is no token.
            token: token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())),
            offline: is_on("HF_HUB_OFFLINE"),
            proxy: text("HTTPS_PROXY").or_else(|| text("https_proxy")),
            patience: default.patience,
        }
    }
}

fn token_file(variables: &Variables<'_>) -> Option<PathBuf> {
    let default = || Some(variables.hugging_face()?.join("token"));
    variables.path("HF_TOKEN_PATH").or_else(default)
}

fn token_in(path: PathBuf) -> Option<String> {
    let is_small = std::fs::metadata(&path).is_ok_and(|data| data.len() <= TOKEN_BYTES);
    let token = is_small.then(|| std::fs::read_to_string(path).ok())??;
    let token = token.trim().to_owned();
    (!token.is_empty()).then_some(token)
}

/// A repository at one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<Listed>,
}

/// A file of a repository, as the list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Relative, with `/`; each part is a plain name.
    pub(super) path: String,
    size: Option<u64>,
    sha256: Option<String>,
}

/// A file that is to be downloaded, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) path: String,
    pub(super) url: String,
    /// Becomes the blob's name.
    pub(super) etag: String,
    pub(super) size: u64,
    /// Known for every large file.
    pub(super) sha256: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: Option<String>,
}

/// Lists the files of a repository's main branch.
///
/// # Errors
/// When the hub cannot be reached, refuses or answers something else.
pub(super) fn listing(
    client: &Client,
    hub: &Hub,
    id: &str,
    watch: &mut Watch<'_>,
) -> Result<Listing, Error> {
    let url = format!("{}/api/models/{id}/revision/main?blobs=true", hub.endpoint);
    let bytes = watch.retry(&url, || {
        let reply = client.ask(Method::Get, &url, &|_, _| Vec::new())?;
        let mut reply = require_ok(reply, &url)?;
        let body = reply.body.with_config().limit(LIST_BYTES);
        body.read_to_vec().map_err(Failed::for_now)
    })?;
    let wrong = |found: String| Error::WrongContent {
        what: without_query(&url).to_owned(),
        found,
        need: "the list of the repository's files (JSON)".to_owned(),
    };
    if is_html(&bytes) {
        return Err(wrong(HTML.to_owned()));
    }
    let answer: Answer =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let is_commit = answer.sha.len() >= 7 && is_hex(&answer.sha) && answer.sha.len() <= 64;
    if !is_commit {
        return Err(wrong("no commit".to_owned()));
    }
    let files = answer
        .siblings
        .into_iter()
        .filter(|file| is_plain_path(&file.rfilename));
    Ok(Listing {
        commit: answer.sha,
        files: files
            .map(|file| Listed {
                path: file.rfilename,
                size: file.size,
                sha256: file.lfs.and_then(|large| large.sha256).and_then(as_sha256),
            })
            .collect(),
    })
}

/// Asks what a file is, without its bytes.
///
/// # Errors
/// As [`listing`].
pub(super) fn remote(
    client: &Client,
    hub: &Hub,
    place: (&str, &str, &Listed),
    watch: &mut Watch<'_>,
) -> Result<Remote, Error> {
    let (id, commit, file) = place;
    let path = encoded(&file.path);
    let url = format!("{}/{id}/resolve/{commit}/{path}", hub.endpoint);
    let reply = watch.retry(&url, || {
        let reply = client.ask(Method::HeadAtHome, &url, &|_, _| Vec::new())?;
        match reply.status {
            300..=399 => Ok(reply),
            _ => require_ok(reply, &url),
        }
    })?;
    let wrong = |found: &str, need: &str| Error::WrongContent {
        what: file.path.clone(),
        found: found.to_owned(),
        need: need.to_owned(),
    };
    let linked = reply.header("x-linked-etag");
    if linked.is_none() && reply.is_html() {
        return Err(wrong(HTML, "the file"));
    }
    let own = || reply.header("etag").filter(|_| reply.status < 300);
    let etag = linked.or_else(own).and_then(as_etag);
    let etag = etag
        .or_else(|| file.sha256.clone())
        .ok_or_else(|| wrong("no ETag", "one that names the content"))?;
    let length = || {
        reply
            .header("content-length")
            .filter(|_| reply.status < 300)
    };
    let size = reply.header("x-linked-size").or_else(length);
    let size = size
        .and_then(|size| size.parse().ok())
        .or(file.size)
        .ok_or_else(|| wrong("no size", "the number of bytes"))?;
    Ok(Remote {
        path: file.path.clone(),
        url,
        sha256: as_sha256(etag.clone()).or_else(|| file.sha256.clone()),
        etag,
        size,
    })
}

/// Sorts statuses into those that may pass and those that will not.
pub(super) fn require_ok(reply: Reply, url: &str) -> Result<Reply, Failed> {
    let hint = match reply.status {
        200 | 206 | 416 => return Ok(reply),
        408 | 425 | 429 | 500..=599 => {
            let seconds = reply
                .header("retry-after")
                .and_then(|text| text.parse().ok());
            return Err(Failed::ForNow {
                why: format!("status {}", reply.status),
                after: seconds.map(Duration::from_secs),
            });
        }
        // A signed address of another host may have expired; the next try gets a new one.
        403 if !reply.is_home => return Err(Failed::for_now("status 403")),
        401 | 403 => {
            ". The repository does not exist, or needs a token of an account that may read it (HF_TOKEN)"
        }
        404 => ". Check the repository's name",
        _ => "",
    };
    Err(Failed::ForGood(Error::Refused {
        url: without_query(url).to_owned(),
        status: reply.status,
        hint,
    }))
}

/// How messages call a web page in place of a file.
pub(super) const HTML: &str = "a web page (HTML)";

/// True for bytes that begin as a web page does.
pub(super) fn is_html(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"<")
}

/// An ETag's text without quotes. It becomes a file's name: nothing but letters, digits, `-` and
/// `_` may pass.
pub(super) fn as_etag(header: &str) -> Option<String> {
    let etag = header.trim_start_matches("W/").trim_matches('"');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_name = !etag.is_empty() && etag.len() <= 128 && etag.bytes().all(is_allowed);
    is_name.then(|| etag.to_owned())
}

fn as_sha256(text: String) -> Option<String> {
    (text.len() == 64 && is_hex(&text)).then(|| text.to_ascii_lowercase())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// True for a relative path of plain names. It becomes a path in the cache.
fn is_plain_path(path: &str) -> bool {
    let is_name = |name: &str| {
        let is_bad = |c: char| c.is_control() || "\\:*?\"<>|".contains(c);
        !name.is_empty() && name != "." && name != ".." && !name.contains(is_bad)
    };
    path.len() <= 1024 && path.split('/').all(is_name)
}

/// A path for an address.
fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        Hub::from_env(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name)?;
            Some(OsString::from(found.1))
        })
    }

    #[test]
    fn the_environment_sets_endpoint_token_and_offline() {
        let set = hub(&[
            ("HF_ENDPOINT", "http://mirror.example/"),
            ("HF_TOKEN", " hf_x\n"),
            ("HF_HUB_OFFLINE", "true"),
        ]);
        assert_eq!(set.endpoint, "http://mirror.example");
        assert_eq!(set.token.as_deref(), Some("hf_x"));
        assert!(set.offline);
        assert!(!format!("{set:?}").contains("hf_x"));
        let unset = hub(&[("HF_HUB_OFFLINE", "0"), ("HF_ENDPOINT", "")]);
        assert_eq!((unset.offline, unset), (false, Hub::default()));
        let hidden = [("HF_TOKEN", "x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(hub(&hidden).token, None);
        assert_eq!(hub(&[("HF_TOKEN", "a\r\nHost: b")]).token, None);
    }

    #[test]
    fn what_a_server_says_cannot_leave_the_cache() {
        for bad in [
            "", "..", "../x", "a/../b", "/a", "a//b", "a\\b", "C:x", "a\0",
        ] {
            assert!(!is_plain_path(bad), "{bad:?}");
        }
        assert!(is_plain_path("Q4 K/a-00001-of-00002.gguf"));
        for bad in ["", "\"\"", "../x", "a/b", "a.b"] {
            assert_eq!(as_etag(bad), None, "{bad:?}");
        }
        assert_eq!(as_etag("W/\"ab-1\"").as_deref(), Some("ab-1"));
        assert_eq!(encoded("a b/\u{e9}.gguf"), "a%20b/%C3%A9.gguf");
    }
}

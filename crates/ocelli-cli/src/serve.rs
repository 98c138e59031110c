//! `ocelli serve`: hands models and settings to the server, and ends it when asked to.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelli::service::{KeepAlive, ModelEntry, Models, OtherVideos, ServiceOptions};
use ocelli::{Options, Source};
use ocelli_server::{Limits, Settings, UnknownFields};

use crate::args::{ContextPolicy, ImageUrls, Precision, ServeArgs, Time};
use crate::complain;
use crate::failure::{Code, Failure, one_line};
use crate::interrupt::Interrupt;
use crate::models;
use crate::prompt::{file, utf8};

/// Most bytes of a file with keys.
const KEY_FILE_BYTES: u64 = 1 << 20;

/// Serves until a signal comes and what runs is answered.
///
/// # Errors
/// When a setting is wrong, the address is not free, or the first model cannot be loaded.
pub(crate) fn serve(args: &ServeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    // A fault in the work for one request must not end the others.
    std::panic::set_hook(Box::new(|panic| {
        complain(&format!(
            "internal: {}. This is a bug; please report it",
            one_line(&panic.to_string())
        ));
    }));
    let queue = args.queue.unwrap_or((args.parallel * 4).max(16));
    let service = ServiceOptions {
        most_requests: args.parallel.saturating_add(queue),
        most_waiting: Duration::from_secs(args.queue_wait),
        context_policy: match args.context_policy {
            ContextPolicy::Error => ocelli::ContextPolicy::Error,
            ContextPolicy::DropOldest => ocelli::ContextPolicy::DropOldest,
        },
        other_videos: match args.video_ffmpeg {
            true => OtherVideos::Ffmpeg,
            false => OtherVideos::Refused,
        },
        ..ServiceOptions::default()
    };
    let keep = match args.keep_alive {
        Some(Time::For(time)) => KeepAlive::For(time),
        Some(Time::Forever) => KeepAlive::Forever,
        None if args.models.len() > 1 => KeepAlive::For(Duration::from_secs(300)),
        None => KeepAlive::Forever,
    };
    let memory = args.memory.map(std::num::NonZero::get);
    let models = Models::new(entries(args)?, service, keep, memory)?;
    let stop = interrupt.serving();
    ocelli_server::serve(settings(args)?, models, stop, |address| {
        // In one piece, for those who wait for it.
        let line = format!("listening on http://{address}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    })
    .map_err(failure)
}

fn failure(error: ocelli_server::Error) -> Failure {
    match error {
        ocelli_server::Error::Model(error) => error.into(),
        ocelli_server::Error::Settings(what) => Failure::usage(what),
        ocelli_server::Error::Listen { .. } => Failure::new(Code::Network, error),
        ocelli_server::Error::NoThread(_) => Failure::new(Code::Memory, error),
        other => Failure::new(Code::Internal, other),
    }
}

fn settings(args: &ServeArgs) -> Result<Settings, Failure> {
    let mut api_keys = args.api_key.clone();
    if let Some(path) = &args.api_key_file {
        let text = utf8(file(path, KEY_FILE_BYTES)?, "--api-key-file")?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        api_keys.extend(keys.map(str::to_owned));
        if api_keys.is_empty() {
            let path = path.display();
            return Err(Failure::usage(format_args!(
                "{path}: found no key, need one a line"
            )));
        }
    }
    Ok(Settings {
        host: args.host,
        port: args.port,
        api_keys,
        insecure_no_auth: args.insecure_no_auth,
        allowed_hosts: args.allowed_host.clone(),
        allowed_origins: args.allowed_origin.clone(),
        share_prefix: args.share_prefix,
        image_urls: match args.image_urls {
            None => ocelli_server::ImageUrls::Off,
            Some(ImageUrls::Https) => ocelli_server::ImageUrls::Https,
            Some(ImageUrls::Http) => ocelli_server::ImageUrls::HttpToo,
        },
        image_url_hosts: args.image_url_host.clone(),
        media_folder: args.media_dir.clone(),
        unknown_fields: match args.strict {
            true => UnknownFields::Refused,
            false => UnknownFields::Named,
        },
        answers_per_client: match args.per_client {
            Some(0) => Some(usize::MAX),
            limit => limit,
        },
        limits: Limits::default(),
    })
}

/// What is served, by name.
fn entries(args: &ServeArgs) -> Result<Vec<ModelEntry>, Failure> {
    let options = Options {
        sequences: Some(args.parallel),
        cache_tokens: args.cache_tokens,
        image_cache: args
            .image_cache
            .clone()
            .map(|folder| (folder, args.image_cache_size.get())),
        ..args.how.options(Precision::Auto)?
    };
    if args.models.is_empty() {
        return Ok(vec![ModelEntry {
            name: "ocelli-demo".to_owned(),
            source: Source::Demo,
            options,
        }]);
    }
    let entry = |given: &String| {
        let Given {
            name,
            text,
            projector,
        } = Given::parse(given)?;
        let found = models::find(Path::new(&text))?;
        let projector = projector.map(PathBuf::from).or(found.projector);
        Ok(ModelEntry {
            name,
            source: Source::File(found.text),
            options: Options {
                projector,
                ..options.clone()
            },
        })
    };
    args.models.iter().map(entry).collect()
}

/// A model as it is given: `[NAME=]TEXT[,PROJECTOR]`.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    name: String,
    text: String,
    projector: Option<String>,
}

impl Given {
    fn parse(given: &str) -> Result<Self, Failure> {
        let (name, files) = match given.split_once('=') {
            // A path may have the sign too.
            Some((name, files)) if !name.contains(['/', '\\']) => (Some(name), files),
            _ => (None, given),
        };
        let (text, projector) = match files.split_once(',') {
            // A path may have a comma too.
            Some((text, projector)) if !Path::new(files).exists() => (text, Some(projector)),
            _ => (files, None),
        };
        let wrong = |what: &str| {
            Failure::usage(format_args!(
                "-m {given}: {what}, need [NAME=]TEXT[,PROJECTOR]"
            ))
        };
        if text.is_empty() || projector == Some("") {
            return Err(wrong("found an empty file name"));
        }
        let name = match name {
            Some(name) => name.to_owned(),
            None => stem(text),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        if name.is_empty() || name.len() > 200 || !name.chars().all(is_plain) {
            return Err(wrong(
                "found a name that is empty, long or has other characters than letters, digits and . _ - / :",
            ));
        }
        Ok(Self {
            name,
            text: text.to_owned(),
            projector: projector.map(str::to_owned),
        })
    }
}

/// The name of a model without one: its file's without the ending; a name stays as it is.
fn stem(text: &str) -> String {
    let path = Path::new(text);
    let is_file = path.exists()
        || path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    let name = match path.file_name().filter(|_| is_file) {
        Some(name) => name.to_string_lossy().into_owned(),
        None => text.to_owned(),
    };
    let name = name
        .strip_suffix(".gguf")
        .or(name.strip_suffix(".GGUF"))
        .unwrap_or(&name);
    // A file may be called anything; a model's name travels in addresses.
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-/:".contains(c) {
            c
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_given_with_or_without_name_and_projector() {
        let given = |text: &str| {
            let Given {
                name,
                text,
                projector,
            } = Given::parse(text).unwrap();
            (name, text, projector)
        };
        let own = |n: &str, t: &str, p: Option<&str>| (n.into(), t.into(), p.map(Into::into));
        assert_eq!(given("a/b.gguf"), own("b", "a/b.gguf", None));
        assert_eq!(given("x=a.gguf,p.gguf"), own("x", "a.gguf", Some("p.gguf")));
        assert_eq!(
            given("user/repo:Q8_0"),
            own("user/repo:Q8_0", "user/repo:Q8_0", None)
        );
        assert_eq!(given("a/b=c.gguf"), own("b-c", "a/b=c.gguf", None));
        assert_eq!(
            given("my model.gguf"),
            own("my-model", "my model.gguf", None)
        );
        for bad in ["x=", "a.gguf,", "=a.gguf"] {
            assert!(Given::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Pictures of requests: inside them as base64, or, where that is allowed, fetched from the web or
//! from the media folder.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ocelli::service::{Ask, AskedFor};
use ocelli::store::{self, WebOptions, fetch_public};
use ocelli::{Error, ImageSource, MOST_IMAGES, Part};

use crate::ImageUrls;
use crate::app::App;
use crate::failure::Failure;
use crate::http::body::Share;
use crate::media;
use crate::percent::unescape;

/// Clients leave out the padding at times.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, CONFIG);
/// Some write `-` and `_` for `+` and `/`.
const URL_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, CONFIG);

/// Most bytes of a fetched picture.
const MOST_BYTES: u64 = 20 << 20;

/// A picture that is still to be fetched from the web or the media folder, for a place among the messages.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) message: usize,
    pub(crate) part: usize,
    pub(crate) url: String,
}

/// Where a picture of a request is.
pub(crate) enum Found {
    Here(ImageSource),
    At(String),
}

/// Reads a picture's address: a data URI, or an address of the web.
///
/// # Errors
/// When it is neither.
pub(crate) fn from_url(url: &str, place: &str) -> Result<Found, Failure> {
    let url = url.trim_start();
    let scheme = |scheme: &str| {
        url.get(..scheme.len())
            .is_some_and(|s| s.eq_ignore_ascii_case(scheme))
    };
    if scheme("data:") {
        return from_data_uri(url, place).map(Found::Here);
    }
    if scheme("http:") || scheme("https:") || scheme("file:") {
        return Ok(Found::At(url.to_owned()));
    }
    let what = "must be a data URI (data:image/...;base64,...)";
    Err(image_failure(place, what))
}

pub(crate) fn image_failure(place: &str, what: &str) -> Failure {
    Failure {
        code: "invalid_image",
        ..Failure::field(place, what)
    }
}

fn from_data_uri(url: &str, place: &str) -> Result<ImageSource, Failure> {
    read_data_uri(url, place, &["image/"]).map(ImageSource::Bytes)
}

/// Reads a video's data URI; an animated picture is a video too.
///
/// # Errors
/// When it is none.
pub(crate) fn video_from_url(url: &str, place: &str) -> Result<Vec<u8>, Failure> {
    if !url
        .get(..5)
        .is_some_and(|s| s.eq_ignore_ascii_case("data:"))
    {
        let what = "must be a data URI (data:video/...;base64,...): videos are not fetched";
        return Err(Failure {
            code: "invalid_video",
            ..Failure::field(place, what)
        });
    }
    read_data_uri(url, place, &["video/", "image/"])
}

fn read_data_uri(url: &str, place: &str, kinds: &[&str]) -> Result<Vec<u8>, Failure> {
    let wrong = || {
        let mut failure = image_failure(place, "");
        let first = kinds.first().copied().unwrap_or_default();
        failure.message = format!("{place}: data URI must be {first}*;base64");
        failure
    };
    let rest = &url["data:".len()..];
    let (kind, data) = rest.split_once(',').ok_or_else(wrong)?;
    let kind = kind.to_ascii_lowercase();
    // What the bytes are is seen from the bytes; an empty type is a careless client's.
    let is_image = kinds.iter().any(|known| kind.starts_with(known))
        || kind.starts_with(';')
        || kind.starts_with("application/octet-stream");
    let encoding = kind.rsplit(';').next().unwrap_or_default();
    if !is_image || !kind.contains(';') || encoding.trim() != "base64" {
        return Err(wrong());
    }
    match data.contains('%') {
        // An address may be escaped as a whole.
        true => unescape(data).and_then(|data| decode(&data)),
        false => decode(data),
    }
    .ok_or_else(wrong)
}

/// Reads a picture in bare base64.
///
/// # Errors
/// When it is none.
pub(crate) fn from_base64(data: &str, place: &str) -> Result<ImageSource, Failure> {
    let bytes = decode(data).ok_or_else(|| image_failure(place, "must be an image in base64"))?;
    Ok(ImageSource::Bytes(bytes))
}

fn decode(data: &str) -> Option<Vec<u8>> {
    let data = data.trim();
    match BASE64.decode(data) {
        Ok(bytes) => Some(bytes),
        // Lines of base64, as mail programs write it.
        Err(_) => {
            let data: Vec<u8> = data.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
            let decoded = BASE64.decode(&data);
            decoded.or_else(|_| URL_BASE64.decode(&data)).ok()
        }
    }
}

/// Fetches what is still to be fetched.
///
/// # Errors
/// When that is not allowed, or fails.
pub(crate) async fn fetch(
    app: &Arc<App>,
    (ask, body): (&mut Ask, &mut Share),
    wanted: Vec<Fetch>,
) -> Result<(), Failure> {
    if wanted.len() > MOST_IMAGES {
        return Err(Failure::from(Error::TooManyImages {
            found: wanted.len(),
            limit: MOST_IMAGES,
        }));
    }
    for Fetch { message, part, url } in wanted {
        let bytes = match media::is_file(&url) {
            true => from_folder(app, url).await?,
            false => from_web(app, url).await?,
        };
        body.add(app, bytes.len())?;
        if let AskedFor::Chat(messages) = &mut ask.asked
            && let Some(message) = messages.get_mut(message)
            && let Some(place) = message.parts.get_mut(part)
        {
            *place = Part::Image(ImageSource::Bytes(bytes));
        }
    }
    Ok(())
}

async fn from_folder(app: &Arc<App>, url: String) -> Result<Vec<u8>, Failure> {
    let app = app.clone();
    let read = tokio::task::spawn_blocking(move || app.media.read(&url, MOST_BYTES)).await;
    read.unwrap_or_else(|_| Err(Failure::internal("an image could not be read")))
}

async fn from_web(app: &Arc<App>, url: String) -> Result<Vec<u8>, Failure> {
    if app.settings.image_urls == ImageUrls::Off {
        let message = "image URLs are not fetched by this server; send the image as a data URI, or start with --image-urls";
        return Err(Failure {
            code: "image_url_not_allowed",
            ..Failure::bad(message)
        });
    }
    let options = WebOptions {
        http_too: app.settings.image_urls == ImageUrls::HttpToo,
        hosts: app.settings.image_url_hosts.clone(),
        most_bytes: MOST_BYTES,
    };
    let place = app.fetches.acquire().await;
    let fetched = tokio::task::spawn_blocking(move || fetch_public(&url, &options)).await;
    drop(place);
    let fetched = fetched.map_err(|_| Failure::internal("an image could not be fetched"))?;
    fetched.map_err(|error| match error {
        // One text for every reason: who asks learns nothing of the network here.
        store::Error::Address { .. } => Failure {
            code: "image_url_not_allowed",
            ..Failure::bad("image URL host not allowed")
        },
        error => Failure {
            code: "image_url_failed",
            ..Failure::bad(error)
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_uris_are_read_with_and_without_padding_and_case() {
        for url in [
            "data:image/png;base64,QUI=",
            "DATA:IMAGE/PNG;BASE64,QUI",
            "data:;base64,QUI=",
            "data:image/png;base64, QU\nI= ",
            " data:image/png;charset=utf-8; base64,QUI=",
            "data:image/png;base64,QUI%3D",
        ] {
            let Ok(Found::Here(ImageSource::Bytes(bytes))) = from_url(url, "url") else {
                panic!("{url}");
            };
            assert_eq!(bytes, b"AB", "{url}");
        }
        let safe = from_base64("-_8=", "image").unwrap();
        assert_eq!(safe, ImageSource::Bytes(vec![0xfb, 0xff]));
        for url in [
            "data:image/png,QUI=",
            "data:image/png;base64,QUI%3",
            "data:image/png;base64,QU-/",
            "data:base64,QUI=",
            "data:text/html;base64,QUI=",
            "data:image/png;base64",
        ] {
            assert!(from_url(url, "url").is_err(), "{url}");
        }
    }
}

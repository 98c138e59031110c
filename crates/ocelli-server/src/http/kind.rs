//! What a body says that it is, and when it is read as JSON all the same.
//!
//! A web page can have its visitor's browser send any bytes here without asking first, as long as
//! they are not called JSON. Browsers mark what they send, and pages cannot take the marks off. So
//! what carries one must be called JSON, which makes the browser ask first; programs that call JSON
//! something else (`curl -d` says that it is a form) are understood.

use axum::http::{HeaderMap, StatusCode, header};

use crate::failure::Failure;

/// Headers that only browsers send, and that a page cannot remove. Not `Sec-Fetch-Mode`: Node sends it too.
const OF_BROWSERS: [&str; 6] = [
    "origin",
    "referer",
    "cookie",
    "sec-fetch-site",
    "sec-fetch-dest",
    "sec-fetch-user",
];

/// What programs call JSON when nobody told them what it is: nothing, a form (curl), text (Node), bytes.
const CARELESS: [&str; 4] = [
    "",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/octet-stream",
];

/// Checks that a body may be read as JSON.
///
/// # Errors
/// 415 when it is packed, is called something else, or might be sent by a page that did not have to ask.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Failure> {
    let unsupported = |message| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Failure::new(status, "unsupported_media_type", message))
    };
    let mut packings = headers.get_all(header::CONTENT_ENCODING).iter();
    if !packings.all(|packing| packing.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return unsupported("Content-Encoding is not supported, send the body as it is");
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, None) = (kinds.next(), kinds.next()) else {
        return unsupported("Content-Type is given more than once, need application/json");
    };
    let kind = kind.map_or(Ok(""), |kind| kind.to_str());
    let kind = kind.unwrap_or("?").split(';').next().unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    if kind == "application/json" {
        return Ok(());
    }
    if !CARELESS.contains(&kind.as_str()) {
        return unsupported("Content-Type must be application/json");
    }
    match is_of_a_browser(headers) {
        true => unsupported("Content-Type must be application/json in what a browser sends"),
        false => Ok(()),
    }
}

/// True for what a browser sends, and for what might be.
fn is_of_a_browser(headers: &HeaderMap) -> bool {
    // All browsers call themselves this; old ones leave out the origin of forms.
    let mut agents = headers.get_all(header::USER_AGENT).iter();
    let says_so = agents.any(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    says_so || OF_BROWSERS.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn status(headers: &[(&'static str, &'static str)]) -> u16 {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let checked = check(&headers.collect());
        checked.map_or_else(|failure| failure.status.as_u16(), |()| 200)
    }

    #[test]
    fn what_programs_call_json_is_read_and_what_pages_can_send_is_not() {
        let own = ["application/json", "Application/JSON; charset=utf-8"];
        let careless = [
            "",
            "application/x-www-form-urlencoded",
            "text/plain;charset=UTF-8",
            "application/octet-stream",
        ];
        let marks = [
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
            ("referer", "http://evil.example/"),
            ("cookie", "a=b"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-dest", "empty"),
            ("sec-fetch-user", "?1"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ];
        for kind in own.iter().chain(&careless) {
            let kind = ("content-type", *kind);
            for program in [("user-agent", "curl/8.5"), ("sec-fetch-mode", "cors")] {
                assert_eq!(status(&[kind, program]), 200, "{kind:?} {program:?}");
            }
            let expected = if own.contains(&kind.1) { 200 } else { 415 };
            for mark in marks {
                assert_eq!(status(&[kind, mark]), expected, "{kind:?} {mark:?}");
            }
        }
        assert_eq!(status(&[]), 200);
        for mark in marks {
            assert_eq!(status(&[mark]), 415, "{mark:?}");
        }
    }

    #[test]
    fn what_is_called_something_else_or_packed_is_refused() {
        for kind in [
            "multipart/form-data; boundary=x",
            "text/html",
            "application/xml",
            "image/png",
            "application/jsonp",
        ] {
            assert_eq!(status(&[("content-type", kind)]), 415, "{kind}");
        }
        let json = ("content-type", "application/json");
        let mut twice = HeaderMap::new();
        twice.append("content-type", HeaderValue::from_static("text/plain"));
        twice.append("content-type", HeaderValue::from_static("application/json"));
        assert!(check(&twice).is_err());
        assert_eq!(status(&[json, ("content-encoding", "identity")]), 200);
        assert_eq!(status(&[json, ("content-encoding", "gzip")]), 415);
        assert_eq!(status(&[("content-encoding", "gzip")]), 415);
    }
}

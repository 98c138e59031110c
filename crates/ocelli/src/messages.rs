//! OpenAI message lists from JSON, for conversations that a command line cannot spell.

use std::path::Path;

use base64::Engine as _;
use serde_json::Value;

use crate::{Error, ImageSource, Message, Part, Role};

/// Reads `[{"role", "content"}, ...]`, or an object with such a list as `messages`.
///
/// Content is a string or a list of parts: `{"type": "text", "text"}`, `{"type": "image_url",
/// "image_url": {"url"}}` with a `data:image/...;base64,` URL, a `file://` URL or a path (relative to
/// `base`), or `{"type": "image", "image"}` likewise.
///
/// # Errors
/// Names the place of what is missing or of the wrong type.
pub fn from_openai(json: &str, base: &Path) -> Result<Vec<Message>, Error> {
    let value: Value = serde_json::from_str(json).map_err(|error| wrong("messages", error))?;
    let list = match &value {
        Value::Object(object) => object.get("messages").unwrap_or(&Value::Null),
        other => other,
    };
    let Value::Array(list) = list else {
        return Err(wrong("messages", "need a list of messages"));
    };
    if list.is_empty() {
        return Err(wrong("messages", "the list is empty, need at least one"));
    }
    list.iter()
        .enumerate()
        .map(|(i, message)| read_message(message, &format!("messages[{i}]"), base))
        .collect()
}

fn wrong(place: &str, what: impl std::fmt::Display) -> Error {
    Error::Messages {
        place: place.to_owned(),
        what: what.to_string(),
    }
}

fn read_message(message: &Value, place: &str, base: &Path) -> Result<Message, Error> {
    let name = message
        .get("role")
        .and_then(Value::as_str)
        .ok_or_else(|| wrong(&format!("{place}.role"), "missing, need a string"))?;
    let role = Role::from_name(match name {
        "developer" => "system",
        other => other,
    })
    .ok_or_else(|| {
        let name: String = name.chars().take(64).collect();
        let need = "need system, user, assistant or tool";
        wrong(
            &format!("{place}.role"),
            format!("'{name}' is unknown, {need}"),
        )
    })?;
    let place = format!("{place}.content");
    let parts = match message.get("content") {
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(parts)) => parts
            .iter()
            .enumerate()
            .map(|(i, part)| read_part(part, &format!("{place}[{i}]"), base))
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong(&place, "need a string or a list of parts")),
    };
    Ok(Message { role, parts })
}

fn read_part(part: &Value, place: &str, base: &Path) -> Result<Part, Error> {
    let text_at = |key: &str| {
        part.get(key)
            .and_then(Value::as_str)
            .ok_or_else(|| wrong(&format!("{place}.{key}"), "missing, need a string"))
    };
    match part.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") => Ok(Part::Text(text_at("text")?.to_owned())),
        Some("image_url" | "input_image") => {
            let url = match part.get("image_url") {
                Some(Value::String(url)) => url,
                Some(Value::Object(object)) => {
                    object.get("url").and_then(Value::as_str).ok_or_else(|| {
                        wrong(&format!("{place}.image_url.url"), "missing, need a string")
                    })?
                }
                _ => {
                    return Err(wrong(
                        &format!("{place}.image_url.url"),
                        "missing, need a string",
                    ));
                }
            };
            Ok(Part::Image(read_url(url, place, base)?))
        }
        Some("image") => Ok(Part::Image(read_url(text_at("image")?, place, base)?)),
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            Err(wrong(
                &format!("{place}.type"),
                format!("'{other}' is unknown, need text, image_url or image"),
            ))
        }
        None => Err(wrong(&format!("{place}.type"), "missing, need a string")),
    }
}

fn read_url(url: &str, place: &str, base: &Path) -> Result<ImageSource, Error> {
    if let Some(rest) = url.strip_prefix("data:") {
        let need = "data URI must be image/*;base64";
        let (kind, data) = rest.split_once(',').ok_or_else(|| wrong(place, need))?;
        if !kind.starts_with("image/") || !kind.ends_with(";base64") {
            return Err(wrong(place, need));
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(data.trim())
            .map_err(|_| wrong(place, need))?;
        return Ok(ImageSource::Bytes(bytes));
    }
    if url.starts_with("http://") || url.starts_with("https://") {
        return Err(wrong(
            place,
            "pictures are not fetched; give a file or a data URI",
        ));
    }
    let path = url.strip_prefix("file://").unwrap_or(url);
    Ok(ImageSource::File(base.join(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_pictures_stay_in_order() {
        let json = r#"{"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "image_url", "image_url": {"url": "x.png"}},
                {"type": "image_url", "image_url": "data:image/png;base64,QUI="},
                {"type": "text", "text": "b"}]}]}"#;
        let got = from_openai(json, Path::new("dir")).unwrap();
        assert_eq!(got[0], Message::text(Role::System, "Be brief."));
        let expected = [
            Part::Text("a".into()),
            Part::Image(ImageSource::File(Path::new("dir").join("x.png"))),
            Part::Image(ImageSource::Bytes(b"AB".to_vec())),
            Part::Text("b".into()),
        ];
        assert_eq!(got[1].parts, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (json, expected) in [
            ("{", "messages: "),
            ("[]", "at least one"),
            (r#"[{"content": "x"}]"#, "messages[0].role: missing"),
            (r#"[{"role": "king", "content": "x"}]"#, "'king' is unknown"),
            (
                r#"[{"role": "user", "content": 5}]"#,
                "messages[0].content: need",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url"}]}]"#,
                "messages[0].content[1].image_url.url: missing",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/html;base64,QUI="}}]}]"#,
                "data URI must be image/*;base64",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}]"#,
                "not fetched",
            ),
        ] {
            let error = from_openai(json, Path::new(".")).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}

//! OpenAI message lists from JSON, for conversations that a command line cannot spell.

mod address;

use std::path::Path;

use ocelli_text::ToolCall;
use serde_json::{Map, Value};

use crate::{Error, Fps, ImageSource, MOST_FRAMES, Message, Part, Role, Video, VideoSource};
use address::{read_data, read_url};

/// Reads `[{"role", "content"}, ...]`, or an object with such a list as `messages`.
///
/// Content is a string or a list of parts: `{"type": "text", "text"}`, `{"type": "image_url",
/// "image_url": {"url"}}` with a `data:image/...;base64,` URL, a `file://` URL or a path (relative
/// to `base`), or `{"type": "image", "image"}` likewise. Videos: `{"type": "video_url",
/// "video_url": {"url"}}` and `{"type": "video", "video"}` with a path, a `data:video/...` or
/// `data:image/...` URL, or a list of pictures; beside it stand `"fps"` (required for a list) and
/// `"max_frames"`.
///
/// Turns of the assistant may have `reasoning_content` and `tool_calls`, and then no content;
/// results of tools have the `tool_call_id` that they belong to.
///
/// # Errors
/// Names the place of what is missing or of the wrong type.
pub fn from_openai(json: &str, base: &Path) -> Result<Vec<Message>, Error> {
    let value: Value = serde_json::from_str(json).map_err(|error| {
        wrong(
            "messages",
            format_args!("found no JSON, need a list of messages: {error}"),
        )
    })?;
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
    let tool_calls = read_tool_calls(message, place)?;
    let text = |key: &str| match message.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(wrong(&format!("{place}.{key}"), "need a string")),
    };
    let tool_call_id = text("tool_call_id")?;
    let reasoning = text("reasoning_content")?.or(text("reasoning")?);
    let place = format!("{place}.content");
    let parts = match message.get("content") {
        None | Some(Value::Null) if !tool_calls.is_empty() => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text.clone())],
        Some(Value::Array(parts)) => parts
            .iter()
            .enumerate()
            .map(|(i, part)| read_part(part, &format!("{place}[{i}]"), base))
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong(&place, "need a string or a list of parts")),
    };
    Ok(Message {
        reasoning,
        tool_calls,
        tool_call_id,
        ..Message::new(role, parts)
    })
}

/// `[{"id", "function": {"name", "arguments"}}, ...]`; arguments are an object, as a rule in a string.
fn read_tool_calls(message: &Value, place: &str) -> Result<Vec<ToolCall>, Error> {
    let place = format!("{place}.tool_calls");
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(calls)) => calls,
        Some(_) => return Err(wrong(&place, "need a list of calls")),
    };
    let read = |(i, call): (usize, &Value)| {
        let function = call.get("function").unwrap_or(&Value::Null);
        let place = format!("{place}[{i}].function");
        let name = function.get("name").and_then(Value::as_str);
        let missing = || wrong(&format!("{place}.name"), "missing, need a string");
        let name = name.ok_or_else(missing)?;
        let arguments = match function.get("arguments") {
            None | Some(Value::Null) => Value::Object(Map::new()),
            // What a model wrote goes back to it even if it is no JSON.
            Some(Value::String(text)) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Some(other) => other.clone(),
        };
        let id = call.get("id").and_then(Value::as_str);
        Ok(ToolCall {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments,
        })
    };
    calls.iter().enumerate().map(read).collect()
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
        Some(kind @ ("video_url" | "video" | "input_video")) => {
            let key = if kind == "video" {
                "video"
            } else {
                "video_url"
            };
            let given = part.get(key).unwrap_or(&Value::Null);
            let given = given.get("url").unwrap_or(given);
            Ok(Part::Video(read_video(part, given, key, place, base)?))
        }
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            Err(wrong(
                &format!("{place}.type"),
                format!("'{other}' is unknown, need text, image_url, image, video_url or video"),
            ))
        }
        None => Err(wrong(&format!("{place}.type"), "missing, need a string")),
    }
}

/// A video, its rate and its most frames.
fn read_video(
    part: &Value,
    given: &Value,
    key: &str,
    place: &str,
    base: &Path,
) -> Result<Video, Error> {
    let fps = match part.get("fps") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let fps = Fps::new(value.as_f64().unwrap_or(f64::NAN));
            Some(fps.map_err(|_| {
                let need = "need a number above 0 and at most 1000";
                wrong(&format!("{place}.fps"), format!("found {value}, {need}"))
            })?)
        }
    };
    let most_frames = match part.get("max_frames") {
        None | Some(Value::Null) => MOST_FRAMES,
        Some(value) => {
            let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
            number
                .filter(|n| (2..=MOST_FRAMES).contains(n))
                .ok_or_else(|| {
                    let need = format!("found {value}, need a number from 2 to {MOST_FRAMES}");
                    wrong(&format!("{place}.max_frames"), need)
                })?
        }
    };
    let source = match given {
        Value::String(url) => match url.strip_prefix("data:video/") {
            Some(_) => VideoSource::Bytes(read_data(url, "video/", place)?),
            None => match read_url(url, place, base)? {
                ImageSource::File(path) => VideoSource::File(path),
                ImageSource::Bytes(bytes) => VideoSource::Bytes(bytes),
            },
        },
        Value::Array(frames) => {
            let fps = fps.ok_or_else(|| {
                let need = "missing, need the frames a second of a list of pictures";
                wrong(&format!("{place}.fps"), need)
            })?;
            let frame = |(i, frame): (usize, &Value)| {
                let place = format!("{place}.{key}[{i}]");
                let url = frame.as_str();
                read_url(
                    url.ok_or_else(|| wrong(&place, "need a string"))?,
                    &place,
                    base,
                )
            };
            let frames = frames.iter().enumerate().map(frame);
            VideoSource::Frames(frames.collect::<Result<_, _>>()?, fps)
        }
        _ => {
            let need = "missing, need a string or a list of pictures";
            return Err(wrong(&format!("{place}.{key}"), need));
        }
    };
    Ok(Video {
        source,
        sampled: fps.unwrap_or(Fps::USUAL),
        most_frames,
    })
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
    fn calls_of_tools_their_results_and_reasoning_are_kept() {
        let json = r#"[
            {"role": "user", "content": "How warm is it?"},
            {"role": "assistant", "content": null, "reasoning_content": "I ask.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "warm", "arguments": "{\"at\": \"Ulm\"}"}},
                {"function": {"name": "now"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "7"}]"#;
        let got = from_openai(json, Path::new("")).unwrap();
        let call = |id: Option<&str>, name: &str, arguments: Value| ToolCall {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            arguments,
        };
        let expected = Message {
            reasoning: Some("I ask.".to_owned()),
            tool_calls: vec![
                call(Some("c1"), "warm", serde_json::json!({"at": "Ulm"})),
                call(None, "now", serde_json::json!({})),
            ],
            ..Message::new(Role::Assistant, Vec::new())
        };
        assert_eq!(got[1], expected);
        assert_eq!(got[2].tool_call_id.as_deref(), Some("c1"));
    }

    #[test]
    fn videos_are_files_data_or_lists_of_pictures() {
        let json = r#"[{"role": "user", "content": [
            {"type": "video_url", "video_url": {"url": "a.mp4"}},
            {"type": "video", "video": ["1.png", "2.png"], "fps": 0.5},
            {"type": "video_url", "video_url": "data:video/mp4;base64,QUI=", "fps": 4, "max_frames": 8}]}]"#;
        let got = from_openai(json, Path::new("dir")).unwrap();
        let frames = ["1.png", "2.png"].map(|n| ImageSource::File(Path::new("dir").join(n)));
        let bytes = VideoSource::Bytes(b"AB".to_vec());
        let expected = [
            Video::file(Path::new("dir").join("a.mp4")),
            Video {
                sampled: Fps::new(0.5).unwrap(),
                ..Video::new(VideoSource::Frames(frames.to_vec(), Fps::new(0.5).unwrap()))
            },
            Video {
                sampled: Fps::new(4.0).unwrap(),
                most_frames: 8,
                ..Video::new(bytes)
            },
        ];
        assert_eq!(got[0].parts, expected.map(Part::Video));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (json, expected) in [
            (
                r#"[{"role": "user", "content": [{"type": "video", "video": ["a.png"]}]}]"#,
                "content[0].fps: missing",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "video", "video": "a.mp4", "fps": 0}]}]"#,
                "content[0].fps: found 0",
            ),
            (
                r#"[{"role": "user", "content": [{"type": "video_url"}]}]"#,
                "content[0].video_url: missing",
            ),
            (
                r#"[{"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}]"#,
                "tool_calls[0].function.name: missing",
            ),
            (
                r#"[{"role": "assistant", "content": null}]"#,
                "messages[0].content: need",
            ),
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

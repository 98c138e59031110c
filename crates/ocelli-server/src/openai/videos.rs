//! Videos of messages: a file as a data URI, or a list of pictures that follow each other.

use ocelli::{Fps, ImageSource, MOST_FRAMES, Video, VideoSource};
use serde_json::Value;

use crate::failure::Failure;
use crate::fields::Fields;
use crate::images::{Found, from_url, image_failure, video_from_url};

/// Reads `{"type": "video_url", "video_url": {"url"}}`, `{"type": "video", "video": ...}` or
/// `{"type": "video", "frames": [...]}`. `fps` and `max_frames` may stand in the part or beside
/// `url`.
pub(super) fn read(fields: &Fields<'_>) -> Result<Video, Failure> {
    let keys = ["video_url", "video", "frames"];
    let given = keys
        .into_iter()
        .find_map(|key| Some((key, fields.get(key)?)));
    let Some((key, value)) = given else {
        let key = fields.string("type")?.unwrap_or("video");
        let what = "missing, need a data URI or a list of pictures";
        return Err(fields.wrong(key.trim_start_matches("input_"), what));
    };
    let place = fields.place(key);
    let (mut fps, mut most) = (fps(fields)?, most_frames(fields)?);
    let value = match value {
        Value::Object(_) => {
            let inner = Fields::at(value, &place)?;
            (fps, most) = (self::fps(&inner)?.or(fps), most_frames(&inner)?.or(most));
            let found = inner.get("url").or_else(|| inner.get("frames"));
            found.ok_or_else(|| inner.wrong("url", "missing"))?
        }
        value => value,
    };
    let rate = fps.unwrap_or(Fps::USUAL);
    let source = match value {
        Value::String(url) => VideoSource::Bytes(video_from_url(url, &place)?),
        Value::Array(frames) if (2..=MOST_FRAMES).contains(&frames.len()) => {
            let frame =
                |(index, frame): (usize, &Value)| read_frame(frame, &format!("{place}[{index}]"));
            let frames: Result<_, _> = frames.iter().enumerate().map(frame).collect();
            VideoSource::Frames(frames?, rate)
        }
        Value::Array(_) => {
            return Err(Failure::field(
                place,
                format!("must have 2..{MOST_FRAMES} pictures"),
            ));
        }
        _ => {
            return Err(Failure::field(
                place,
                "must be a data URI or a list of pictures",
            ));
        }
    };
    Ok(Video {
        source,
        sampled: rate,
        most_frames: most.unwrap_or(MOST_FRAMES),
    })
}

/// A picture of a list: its address, or a part as pictures have them.
fn read_frame(value: &Value, place: &str) -> Result<ImageSource, Failure> {
    let image = value.get("image_url").unwrap_or(value);
    let url = image.get("url").unwrap_or(image).as_str();
    let url = url.ok_or_else(|| Failure::field(place, "must be a data URI"))?;
    match from_url(url, place)? {
        Found::Here(image) => Ok(image),
        Found::At(_) => {
            let what = "must be a data URI: frames are not fetched";
            Err(image_failure(place, what))
        }
    }
}

fn fps(fields: &Fields<'_>) -> Result<Option<Fps>, Failure> {
    let Some(value) = fields.get("fps") else {
        return Ok(None);
    };
    let fps = Fps::new(value.as_f64().unwrap_or(f64::NAN));
    let wrong = |_| fields.wrong("fps", "must be a number above 0 and at most 1000");
    fps.map(Some).map_err(wrong)
}

fn most_frames(fields: &Fields<'_>) -> Result<Option<usize>, Failure> {
    let most = fields.integer("max_frames", 2..=MOST_FRAMES as u64)?;
    Ok(most.map(|most| most as usize))
}

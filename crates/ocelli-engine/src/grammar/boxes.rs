//! The grammar of an answer that is boxes, as the model's family was trained to write them.

use ocelli_image::boxes::Convention;
use serde_json::{Value, json};

/// The largest coordinate along a side that is divided into a thousand parts.
const RELATIVE: u32 = 1000;

/// The largest coordinate in pixels. Where a picture is smaller, [`locate`] moves what lies outside to
/// its border.
///
/// [`locate`]: ocelli_image::boxes::locate
const PIXELS: u32 = 16_384;

/// How boxes are bound.
pub(super) enum Source {
    /// JSON by this schema.
    Schema(Value),
    /// A grammar in Lark's notation.
    Lark(String),
}

/// Any number of boxes with their names.
pub(super) fn source(convention: Convention) -> Source {
    match convention {
        Convention::Relative1000 => Source::Schema(schema(RELATIVE)),
        Convention::ResizedPixels => Source::Schema(schema(PIXELS)),
        Convention::Tagged1000 => Source::Lark(tagged()),
    }
}

/// `[{"bbox_2d": [left, top, right, bottom], "label": "..."}]`
fn schema(most: u32) -> Value {
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "bbox_2d": {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0, "maximum": most},
                    "minItems": 4,
                    "maxItems": 4,
                },
                "label": {"type": "string"},
            },
            "required": ["bbox_2d", "label"],
            "additionalProperties": false,
        },
    })
}

/// Names and corners between control tokens, a name for one box or for several.
fn tagged() -> String {
    let lines = [
        "start: place*",
        "place: (<|object_ref_start|> NAME <|object_ref_end|>)? box",
        "box: <|box_start|> \"(\" PART \",\" PART \"),(\" PART \",\" PART \")\" <|box_end|>",
        "NAME: /[^<>\\n]{1,200}/",
        "PART: /1000|[1-9][0-9]{0,2}|0/",
    ];
    lines.join("\n")
}

//! Sizes of published models, by name: what `--shape` can be.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A text model and its projector, described by their sizes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The name: `qwen3-vl-2b`.
    pub name: &'static str,
    pub(super) family: Family,
    pub(super) text: TextSizes,
    pub(super) vision: VisionSizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Qwen2Vl,
    Qwen25Vl,
    Qwen3Vl,
    Qwen3VlMoe,
    Gemma3,
    /// Mistral Small 3.1, Ministral 3: patches merged.
    Mistral3,
    /// Pixtral-12B.
    Pixtral,
    /// LLaVA-1.5.
    Llava,
    /// LLaVA-1.6: the same encoder over tiles.
    LlavaNext,
}

impl Family {
    /// `general.architecture` of the text model.
    pub(super) fn architecture(self) -> &'static str {
        match self {
            Self::Qwen2Vl | Self::Qwen25Vl => "qwen2vl",
            Self::Qwen3Vl => "qwen3vl",
            Self::Qwen3VlMoe => "qwen3vlmoe",
            Self::Gemma3 => "gemma3",
            Self::Mistral3 => "mistral3",
            Self::Pixtral | Self::Llava | Self::LlavaNext => "llama",
        }
    }

    /// `clip.projector_type`.
    pub(super) fn projector(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2vl_merger",
            Self::Qwen25Vl => "qwen2.5vl_merger",
            Self::Qwen3Vl | Self::Qwen3VlMoe => "qwen3vl_merger",
            Self::Gemma3 => "gemma3",
            Self::Mistral3 | Self::Pixtral => "pixtral",
            Self::Llava | Self::LlavaNext => "mlp",
        }
    }

    pub(super) fn is_third(self) -> bool {
        matches!(self, Self::Qwen3Vl | Self::Qwen3VlMoe)
    }

    /// Whether the encoder takes still pictures alone.
    pub(super) fn is_still(self) -> bool {
        self.has_clip() || matches!(self, Self::Gemma3 | Self::Mistral3 | Self::Pixtral)
    }

    /// Whether the encoder is CLIP's, with LLaVA's projector.
    pub(super) fn has_clip(self) -> bool {
        matches!(self, Self::Llava | Self::LlavaNext)
    }

    /// Pixels of a patch on each side.
    pub(super) fn patch(self) -> u64 {
        match self {
            Self::Qwen3Vl | Self::Qwen3VlMoe | Self::Pixtral => 16,
            _ => 14,
        }
    }
}

/// Sizes of a text decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TextSizes {
    pub(super) hidden: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) head_dim: u64,
    pub(super) middle: u64,
    pub(super) vocabulary: u64,
    /// The output is the embedding.
    pub(super) is_tied: bool,
    pub(super) context: u64,
    /// Experts, those used for a token, and the width of their middle.
    pub(super) experts: Option<(u64, u64, u64)>,
}

/// Sizes of a vision encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VisionSizes {
    pub(super) width: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) middle: u64,
    /// Layers that are tapped for the text model's first layers.
    pub(super) taps: &'static [u64],
    /// Patches on each side of the picture that the encoder was made for: its table of positions,
    /// or its largest picture.
    pub(super) position_side: u64,
}

/// `[hidden, layers, heads, key/value heads, middle, vocabulary]`.
const fn text(sizes: [u64; 6], is_tied: bool, context: u64) -> TextSizes {
    let [hidden, layers, heads, kv_heads, middle, vocabulary] = sizes;
    TextSizes {
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim: 128,
        middle,
        vocabulary,
        is_tied,
        context,
        experts: None,
    }
}

/// `[width, layers, heads, middle]`.
const fn vision(sizes: [u64; 4], taps: &'static [u64]) -> VisionSizes {
    let [width, layers, heads, middle] = sizes;
    VisionSizes {
        width,
        layers,
        heads,
        middle,
        taps,
        position_side: 48,
    }
}

const SECOND: VisionSizes = vision([1280, 32, 16, 5120], &[]);
const SECOND_AND_HALF: VisionSizes = vision([1280, 32, 16, 3420], &[]);
const THIRD_SMALL: VisionSizes = vision([1024, 24, 16, 4096], &[5, 11, 17]);
const THIRD_LARGE: VisionSizes = vision([1152, 27, 16, 4304], &[8, 16, 24]);

const SIGLIP: VisionSizes = still([1152, 27, 16, 4304], 64);
const PIXTRAL: VisionSizes = still([1024, 24, 16, 4096], 110);
/// The last but one layer of CLIP gives the rows; files end there.
const CLIP: VisionSizes = still([1024, 23, 16, 4096], 24);

const fn still(sizes: [u64; 4], position_side: u64) -> VisionSizes {
    VisionSizes {
        position_side,
        ..vision(sizes, &[])
    }
}

const fn gemma(sizes: [u64; 6], head_dim: u64) -> TextSizes {
    TextSizes {
        head_dim,
        ..text(sizes, true, 131_072)
    }
}

const fn shape(name: &'static str, family: Family, text: TextSizes, vision: VisionSizes) -> Shape {
    Shape {
        name,
        family,
        text,
        vision,
    }
}

const ALL: [Shape; 23] = [
    shape(
        "qwen3-vl-2b",
        Family::Qwen3Vl,
        text([2048, 28, 16, 8, 6144, 151_936], true, 262_144),
        THIRD_SMALL,
    ),
    shape(
        "qwen3-vl-4b",
        Family::Qwen3Vl,
        text([2560, 36, 32, 8, 9728, 151_936], true, 262_144),
        THIRD_SMALL,
    ),
    shape(
        "qwen3-vl-8b",
        Family::Qwen3Vl,
        text([4096, 36, 32, 8, 12_288, 151_936], false, 262_144),
        THIRD_LARGE,
    ),
    shape(
        "qwen3-vl-32b",
        Family::Qwen3Vl,
        text([5120, 64, 64, 8, 25_600, 151_936], false, 262_144),
        THIRD_LARGE,
    ),
    shape(
        "qwen3-vl-30b-a3b",
        Family::Qwen3VlMoe,
        TextSizes {
            experts: Some((128, 8, 768)),
            ..text([2048, 48, 32, 4, 6144, 151_936], false, 262_144)
        },
        THIRD_LARGE,
    ),
    shape(
        "qwen2.5-vl-3b",
        Family::Qwen25Vl,
        text([2048, 36, 16, 2, 11_008, 151_936], true, 128_000),
        SECOND_AND_HALF,
    ),
    shape(
        "qwen2.5-vl-7b",
        Family::Qwen25Vl,
        text([3584, 28, 28, 4, 18_944, 152_064], false, 128_000),
        SECOND_AND_HALF,
    ),
    shape(
        "qwen2-vl-2b",
        Family::Qwen2Vl,
        text([1536, 28, 12, 2, 8960, 151_936], true, 32_768),
        SECOND,
    ),
    shape(
        "qwen2-vl-7b",
        Family::Qwen2Vl,
        text([3584, 28, 28, 4, 18_944, 152_064], false, 32_768),
        SECOND,
    ),
    shape(
        "gemma-3-4b",
        Family::Gemma3,
        gemma([2560, 34, 8, 4, 10_240, 262_144], 256),
        SIGLIP,
    ),
    shape(
        "gemma-3-12b",
        Family::Gemma3,
        gemma([3840, 48, 16, 8, 15_360, 262_144], 256),
        SIGLIP,
    ),
    shape(
        "gemma-3-27b",
        Family::Gemma3,
        gemma([5376, 62, 32, 16, 21_504, 262_144], 128),
        SIGLIP,
    ),
    shape(
        "mistral-small-3.1-24b",
        Family::Mistral3,
        text([5120, 40, 32, 8, 32_768, 131_072], false, 131_072),
        PIXTRAL,
    ),
    shape(
        "ministral-3-3b",
        Family::Mistral3,
        text([3072, 26, 32, 8, 9216, 131_072], true, 262_144),
        PIXTRAL,
    ),
    shape(
        "pixtral-12b",
        Family::Pixtral,
        text([5120, 40, 32, 8, 14_336, 131_072], false, 131_072),
        still([1024, 24, 16, 4096], 64),
    ),
    shape(
        "llava-1.5-7b",
        Family::Llava,
        text([4096, 32, 32, 32, 11_008, 32_064], false, 4096),
        CLIP,
    ),
    shape(
        "llava-1.6-vicuna-7b",
        Family::LlavaNext,
        text([4096, 32, 32, 32, 11_008, 32_064], false, 4096),
        CLIP,
    ),
    shape(
        "llava-1.6-mistral-7b",
        Family::LlavaNext,
        text([4096, 32, 32, 8, 14_336, 32_064], false, 32_768),
        CLIP,
    ),
    shape(
        "tiny-gemma-3",
        Family::Gemma3,
        TextSizes {
            head_dim: 64,
            ..text([256, 6, 4, 2, 512, 1024], true, 4096)
        },
        still([128, 2, 2, 256], 8),
    ),
    shape(
        "tiny-mistral-3",
        Family::Mistral3,
        TextSizes {
            head_dim: 64,
            ..text([256, 2, 2, 1, 512, 1024], false, 4096)
        },
        still([128, 2, 2, 256], 8),
    ),
    shape(
        "tiny-llava-1.5",
        Family::Llava,
        TextSizes {
            head_dim: 64,
            ..text([256, 2, 4, 4, 512, 1024], false, 4096)
        },
        still([128, 2, 2, 256], 4),
    ),
    shape(
        "tiny-llava-1.6",
        Family::LlavaNext,
        TextSizes {
            head_dim: 64,
            ..text([256, 2, 4, 4, 512, 1024], false, 4096)
        },
        still([128, 2, 2, 256], 4),
    ),
    shape(
        "tiny",
        Family::Qwen3Vl,
        TextSizes {
            head_dim: 64,
            ..text([256, 2, 4, 2, 512, 1024], true, 4096)
        },
        VisionSizes {
            position_side: 8,
            ..vision([128, 2, 2, 256], &[0])
        },
    ),
];

impl Shape {
    /// Every shape there is. Those that begin with `tiny` are no published models: they are there
    /// to try the command.
    pub const ALL: &'static [Self] = &ALL;
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = ALL.into_iter().find(|shape| shape.name == name);
        found.ok_or_else(|| {
            let names = ALL.map(|shape| shape.name).join(", ");
            Error::Settings(format!("shape: found '{name}', need one of {names}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_found_by_its_name_and_others_are_refused_with_the_list() {
        for shape in Shape::ALL {
            assert_eq!(shape.name.parse::<Shape>().unwrap(), *shape);
        }
        let error = "gpt-9".parse::<Shape>().unwrap_err().to_string();
        assert!(
            error.contains("'gpt-9'") && error.contains("qwen2.5-vl-3b"),
            "{error}"
        );
    }
}

//! Which projector a file holds, from its keys where they are right and from its tensors where not.

use ocelli_gguf::Gguf;

use crate::Error;
use crate::error::shown;

/// A kind of vision encoder with its projector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Projector<'a> {
    Llava,
    Pixtral,
    Gemma3,
    Qwen2Vl,
    Qwen25Vl,
    Qwen3Vl,
    /// A kind that is stated but not known here.
    Other(&'a str),
}

impl<'a> Projector<'a> {
    /// The name in current files.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Llava => "mlp",
            Self::Pixtral => "pixtral",
            Self::Gemma3 => "gemma3",
            Self::Qwen2Vl => "qwen2vl_merger",
            Self::Qwen25Vl => "qwen2.5vl_merger",
            Self::Qwen3Vl => "qwen3vl_merger",
            Self::Other(name) => name,
        }
    }
}

/// The projector of a file, and what was assumed.
///
/// # Errors
/// When the file has no vision part, or nothing says which.
pub(crate) fn classify(gguf: &Gguf) -> Result<(Projector<'_>, Vec<String>), Error> {
    let metadata = gguf.metadata();
    let has_vision = metadata.bool("clip.has_vision_encoder")?.unwrap_or(true)
        && gguf.tensors().iter().any(|t| t.name().starts_with("v."));
    if !has_vision {
        return Err(Error::NoVisionEncoder {
            file: gguf.name().to_owned(),
        });
    }
    let stated = match metadata.str("clip.projector_type")? {
        Some(stated) => Some(stated),
        None => metadata.str("clip.vision.projector_type")?,
    };
    let is_qwen25 = metadata.bool("clip.is_qwen2_5")?.unwrap_or(false)
        || metadata.bool("clip.use_glu_mlp")?.unwrap_or(false);
    let is_qwen2 = metadata.bool("clip.has_qwen2vl_merger")?.unwrap_or(false);
    let by_tensors = match from_tensors(gguf) {
        // Only the mark tells that an empty or foreign file should have been one of these.
        None if is_qwen25 => Some(Projector::Qwen25Vl),
        None if is_qwen2 => Some(Projector::Qwen2Vl),
        found => found,
    };
    let projector = match (stated, by_tensors) {
        (Some("mlp"), _) => Projector::Llava,
        (Some("pixtral"), _) => Projector::Pixtral,
        (Some("gemma3"), _) => Projector::Gemma3,
        (Some("qwen3vl_merger"), _) => Projector::Qwen3Vl,
        // The same string stood for both generations for a while.
        (Some("qwen2vl_merger"), Some(Projector::Qwen25Vl)) => Projector::Qwen25Vl,
        (Some("qwen2vl_merger"), _) => Projector::Qwen2Vl,
        (Some("qwen2.5vl_merger" | "qwen2.5o"), _) => Projector::Qwen25Vl,
        (Some(other), _) => Projector::Other(other),
        (None, Some(found)) => found,
        (None, None) => {
            return Err(Error::Invalid {
                file: gguf.name().to_owned(),
                what: "clip.projector_type is missing and the tensors are of no known projector"
                    .to_owned(),
            });
        }
    };
    Ok((projector, notes(gguf, stated, projector)))
}

/// The generations by what only they have.
fn from_tensors(gguf: &Gguf) -> Option<Projector<'static>> {
    let has = |name: &str| gguf.tensor(name).is_some();
    let starts = |prefix: &str| gguf.tensors().iter().any(|t| t.name().starts_with(prefix));
    if has("mm.input_projection.weight") || has("mm.mm_input_projection.weight") {
        return Some(Projector::Gemma3);
    }
    if starts("v.deepstack.") || starts("v.deepstack_merger.") {
        return Some(Projector::Qwen3Vl);
    }
    if has("v.patch_conv.weight") || has("mm.patch_merger.weight") {
        return Some(Projector::Pixtral);
    }
    if has("v.class_embd") && has("mm.0.weight") {
        return Some(Projector::Llava);
    }
    let has_bias = has("v.patch_embd.bias") || has("v.patch_embed.bias");
    let is_temporal = has("v.patch_embd.weight.1") || has("v.patch_embd_1.weight");
    match (has_bias, is_temporal) {
        (true, _) if is_temporal || has("v.patch_embed.weight") => Some(Projector::Qwen3Vl),
        (false, true) if has("v.blk.0.ffn_gate.weight") => Some(Projector::Qwen25Vl),
        (false, true) => Some(Projector::Qwen2Vl),
        _ => None,
    }
}

fn notes(gguf: &Gguf, stated: Option<&str>, projector: Projector<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let name = projector.name();
    match stated {
        Some(stated) if stated == name => {}
        Some(stated) => notes.push(format!(
            "projector type '{}' is taken as '{name}' because of the tensors",
            shown(stated)
        )),
        None => notes.push(format!(
            "projector type is not stated; '{name}' because of the tensors"
        )),
    }
    let metadata = gguf.metadata();
    let has_windows = metadata.iter().any(|(key, _)| {
        key.ends_with("vision.n_wa_pattern") || key.ends_with("vision.fullatt_block_indexes")
    });
    if projector == Projector::Qwen25Vl && !has_windows {
        notes.push("no window metadata; every 8th vision layer sees the whole picture".to_owned());
    }
    notes
}

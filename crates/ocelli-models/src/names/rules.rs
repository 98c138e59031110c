//! The tables: foreign names and what they are here, and names that carry nothing a model needs.

/// A part of a name and what takes its place.
struct Rule {
    from: &'static str,
    to: &'static str,
}

const fn rule(from: &'static str, to: &'static str) -> Rule {
    Rule { from, to }
}

/// Names of Ollama's merged files: of `qwen25vl` and `qwen3vl`, of `mistral3`, of `gemma3`. The last is llama.cpp's for
/// what LLaVA-1.6's files call otherwise.
const VISION: [Rule; 33] = [
    rule("v.patch_embd_0.weight", "v.patch_embd.weight"),
    rule("v.patch_embd_1.weight", "v.patch_embd.weight.1"),
    rule("v.patch_embed.weight", "v.patch_embd.packed"),
    rule("v.patch_embed.bias", "v.patch_embd.bias"),
    rule("v.pos_embed.", "v.position_embd."),
    rule(".norm1.", ".ln1."),
    rule(".norm2.", ".ln2."),
    rule("v.merger.ln_q.", "v.post_ln."),
    rule("v.merger.norm.", "v.post_ln."),
    rule("v.merger.mlp.", "mm."),
    rule("v.merger.linear_fc1.", "mm.0."),
    rule("v.merger.linear_fc2.", "mm.2."),
    rule(".mlp.linear_fc1.", ".ffn_up."),
    rule(".mlp.linear_fc2.", ".ffn_down."),
    rule("v.patch_conv.", "v.patch_embd."),
    rule("v.encoder_norm.", "v.pre_ln."),
    rule(".attn_norm.", ".ln1."),
    rule(".ffn_norm.", ".ln2."),
    rule(".attn_output.", ".attn_out."),
    rule("mm.norm.", "mm.input_norm."),
    rule("mm.patch_merger.merging_layer.", "mm.patch_merger."),
    rule("mm.linear_1.", "mm.1."),
    rule("mm.linear_2.", "mm.2."),
    rule("v.patch_embedding.", "v.patch_embd."),
    rule("v.position_embedding.", "v.position_embd."),
    rule("v.post_layernorm.", "v.post_ln."),
    rule(".layer_norm1.", ".ln1."),
    rule(".layer_norm2.", ".ln2."),
    rule(".mlp.fc1.", ".ffn_up."),
    rule(".mlp.fc2.", ".ffn_down."),
    rule("mm.mm_input_projection.", "mm.input_projection."),
    rule("mm.mm_soft_emb_norm.", "mm.soft_emb_norm."),
    rule("v.image_newline", "model.image_newline"),
];

/// Deepstack mergers by their place in the list, here by the layer they tap.
const DEEPSTACK: &str = "v.deepstack_merger.";
const DEEPSTACK_PARTS: [Rule; 3] = [
    rule("norm.", "norm."),
    rule("linear_fc1.", "fc1."),
    rule("linear_fc2.", "fc2."),
];

const IGNORED_TEXT: [&str; 3] = ["cls_out.", "nextn.", ".input_scale"];
const IGNORED_VISION: [&str; 2] = ["a.", "mm.a."];

/// True for tensors of a text model that nothing here reads.
pub(super) fn is_ignored_text(name: &str) -> bool {
    IGNORED_TEXT.iter().any(|part| name.contains(part))
}

/// True for tensors of a projector that nothing here reads: sound, and scales of the input.
pub(super) fn is_ignored_vision(name: &str) -> bool {
    IGNORED_VISION.iter().any(|p| name.starts_with(p)) || name.ends_with(".input_scale")
}

/// The name that architectures know; `taps` are the layers of the deepstack mergers.
pub(super) fn rename(name: &str, taps: &[u32]) -> String {
    if let Some(renamed) = rename_deepstack(name, taps) {
        return renamed;
    }
    let found = VISION.iter().find(|r| name.contains(r.from));
    found.map_or_else(|| name.to_owned(), |r| name.replacen(r.from, r.to, 1))
}

fn rename_deepstack(name: &str, taps: &[u32]) -> Option<String> {
    let (place, rest) = name.strip_prefix(DEEPSTACK)?.split_once('.')?;
    let layer = taps.get(place.parse::<usize>().ok()?)?;
    let part = DEEPSTACK_PARTS.iter().find(|r| rest.starts_with(r.from))?;
    Some(format!(
        "v.deepstack.{layer}.{}{}",
        part.to,
        &rest[part.from.len()..]
    ))
}

/// What to say about a renamed tensor; layers share one note.
pub(super) fn note_of(name: &str, normal: &str) -> Option<String> {
    if name == normal {
        return None;
    }
    let general = |name: &str| -> String {
        let mut parts: Vec<&str> = name.split('.').collect();
        // A layer's number stands third: `v.blk.7.`, `v.deepstack.5.`.
        if let [_, "blk" | "deepstack" | "deepstack_merger", number, ..] = &mut parts[..] {
            *number = "*";
        }
        parts.join(".")
    };
    Some(format!(
        "'{}' is read as '{}'",
        general(name),
        general(normal)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_names_stay_as_they_are() {
        for name in [
            "v.patch_embd.weight.1",
            "v.blk.3.attn_q.bias",
            "v.blk.3.ffn_down.weight",
            "v.deepstack.5.norm.weight",
            "mm.2.weight",
        ] {
            assert_eq!(rename(name, &[]), name);
            assert_eq!(note_of(name, name), None);
        }
    }

    #[test]
    fn merged_names_become_current_ones() {
        for (name, normal) in [
            ("v.blk.7.norm1.weight", "v.blk.7.ln1.weight"),
            ("v.blk.7.mlp.linear_fc2.bias", "v.blk.7.ffn_down.bias"),
            ("v.merger.mlp.2.bias", "mm.2.bias"),
            ("v.blk.7.attn_norm.weight", "v.blk.7.ln1.weight"),
            (
                "mm.patch_merger.merging_layer.weight",
                "mm.patch_merger.weight",
            ),
            ("v.blk.7.layer_norm2.bias", "v.blk.7.ln2.bias"),
            ("v.blk.7.mlp.fc1.weight", "v.blk.7.ffn_up.weight"),
            ("v.position_embedding.weight", "v.position_embd.weight"),
            ("mm.mm_soft_emb_norm.weight", "mm.soft_emb_norm.weight"),
            ("v.merger.linear_fc1.weight", "mm.0.weight"),
            (
                "v.deepstack_merger.1.linear_fc2.bias",
                "v.deepstack.11.fc2.bias",
            ),
            (
                "v.deepstack_merger.2.norm.weight",
                "v.deepstack.17.norm.weight",
            ),
        ] {
            assert_eq!(rename(name, &[5, 11, 17]), normal);
        }
    }

    #[test]
    fn a_deepstack_merger_without_a_layer_keeps_its_name_and_is_found_unused() {
        let name = "v.deepstack_merger.3.norm.weight";
        assert_eq!(rename(name, &[5, 11, 17]), name);
    }

    #[test]
    fn layers_share_one_note() {
        let note = note_of("v.blk.7.norm1.weight", "v.blk.7.ln1.weight");
        assert_eq!(
            note.as_deref(),
            Some("'v.blk.*.norm1.weight' is read as 'v.blk.*.ln1.weight'")
        );
    }
}

//! Tensors of Gemma 3. Its text norms add one to their weights when they run; files hold the sum.

use std::ops::Range;

use crate::Error;
use crate::hub::{HubTensor, Shelf, TextConfig, VisionConfig};
use crate::source::{Source, Strided};
use crate::text::Tensor;

/// A norm's weights plus one.
struct PlusOne(HubTensor);

impl Source for PlusOne {
    fn granule(&self) -> usize {
        1
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let start = out.len();
        self.0.read(run, out)?;
        out[start..].iter_mut().for_each(|weight| *weight += 1.0);
        Ok(())
    }
}

/// Moves tensors from the shelf to a list.
struct Move<'a> {
    shelf: &'a mut Shelf,
    tensors: Vec<Tensor>,
}

impl Move<'_> {
    fn plain(&mut self, hub: &str, name: &str, shape: &[usize]) -> Result<(), Error> {
        let tensor = self.shelf.take(hub, shape)?;
        self.tensors
            .push(Tensor::new(name, shape, Strided::whole(tensor)));
        Ok(())
    }

    fn plus_one(&mut self, hub: &str, name: &str, width: usize) -> Result<(), Error> {
        let tensor = self.shelf.take(hub, &[width])?;
        self.tensors
            .push(Tensor::new(name, &[width], PlusOne(tensor)));
        Ok(())
    }

    /// Weight and bias.
    fn both(&mut self, hub: &str, name: &str, weight: &[usize]) -> Result<(), Error> {
        self.plain(&format!("{hub}.weight"), &format!("{name}.weight"), weight)?;
        self.plain(
            &format!("{hub}.bias"),
            &format!("{name}.bias"),
            &weight[..1],
        )
    }
}

/// The text model's tensors; `rows` are those of the checkpoint's embedding.
pub(crate) fn text(
    config: &TextConfig,
    rows: usize,
    shelf: &mut Shelf,
) -> Result<Vec<Tensor>, Error> {
    let (width, hidden) = (config.width, config.mlp_hidden);
    let embedding = shelf.take("embed_tokens.weight", &[rows, width])?;
    let kept = config.vocabulary * width;
    let table = Strided::part(embedding, 0, kept);
    let mut to = Move {
        shelf,
        tensors: vec![Tensor::new(
            "token_embd.weight",
            &[config.vocabulary, width],
            table,
        )],
    };
    if config.is_tied == Some(false) {
        let head = to.shelf.take("lm_head.weight", &[rows, width])?;
        to.tensors.push(Tensor::new(
            "output.weight",
            &[config.vocabulary, width],
            Strided::part(head, 0, kept),
        ));
    } else {
        to.shelf.discard("lm_head.weight");
    }
    to.plus_one("norm.weight", "output_norm.weight", width)?;
    let (query, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    for layer in 0..config.layers {
        let names = |hub: &str, name: &str| {
            (
                format!("layers.{layer}.{hub}.weight"),
                format!("blk.{layer}.{name}.weight"),
            )
        };
        for (hub, name, length) in [
            ("input_layernorm", "attn_norm", width),
            ("self_attn.q_norm", "attn_q_norm", config.head_dim),
            ("self_attn.k_norm", "attn_k_norm", config.head_dim),
            ("post_attention_layernorm", "post_attention_norm", width),
            ("pre_feedforward_layernorm", "ffn_norm", width),
            ("post_feedforward_layernorm", "post_ffw_norm", width),
        ] {
            let (hub, name) = names(hub, name);
            to.plus_one(&hub, &name, length)?;
        }
        for (hub, name, shape) in [
            ("self_attn.q_proj", "attn_q", [query, width]),
            ("self_attn.k_proj", "attn_k", [kv, width]),
            ("self_attn.v_proj", "attn_v", [kv, width]),
            ("self_attn.o_proj", "attn_output", [width, query]),
            ("mlp.gate_proj", "ffn_gate", [hidden, width]),
            ("mlp.up_proj", "ffn_up", [hidden, width]),
            ("mlp.down_proj", "ffn_down", [width, hidden]),
        ] {
            let (hub, name) = names(hub, name);
            to.plain(&hub, &name, &shape)?;
        }
    }
    Ok(to.tensors)
}

/// The tensors of the encoder and the projector.
pub(crate) fn vision(
    text: &TextConfig,
    config: &VisionConfig,
    shelf: &mut Shelf,
) -> Result<Vec<Tensor>, Error> {
    let (width, hidden, patch) = (config.width, config.mlp_hidden, config.patch);
    // A head of SigLIP that Gemma does not use.
    for name in shelf.names_below("vision_tower.head.") {
        shelf.discard(&name);
    }
    let mut to = Move {
        shelf,
        tensors: Vec::new(),
    };
    to.both(
        "vision_tower.embeddings.patch_embedding",
        "v.patch_embd",
        &[width, 3, patch, patch],
    )?;
    to.plain(
        "vision_tower.embeddings.position_embedding.weight",
        "v.position_embd.weight",
        &[config.positions.unwrap_or_default(), width],
    )?;
    for layer in 0..config.layers {
        for (hub, name, shape) in [
            ("layer_norm1", "ln1", &[width][..]),
            ("self_attn.q_proj", "attn_q", &[width, width]),
            ("self_attn.k_proj", "attn_k", &[width, width]),
            ("self_attn.v_proj", "attn_v", &[width, width]),
            ("self_attn.out_proj", "attn_out", &[width, width]),
            ("layer_norm2", "ln2", &[width]),
            ("mlp.fc1", "ffn_up", &[hidden, width]),
            ("mlp.fc2", "ffn_down", &[width, hidden]),
        ] {
            let hub = format!("vision_tower.encoder.layers.{layer}.{hub}");
            to.both(&hub, &format!("v.blk.{layer}.{name}"), shape)?;
        }
    }
    to.both("vision_tower.post_layernorm", "v.post_ln", &[width])?;
    let soft_norm = "multi_modal_projector.mm_soft_emb_norm.weight";
    to.plus_one(soft_norm, "mm.soft_emb_norm.weight", width)?;
    // Stored as the checkpoint has it: one row for each value of the encoder.
    to.plain(
        "multi_modal_projector.mm_input_projection_weight",
        "mm.input_projection.weight",
        &[width, text.width],
    )?;
    Ok(to.tensors)
}

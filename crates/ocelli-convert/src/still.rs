//! The projector's file for encoders of still pictures: Pixtral and CLIP under llama.cpp's names.

use ocelli_gguf::{Array, Value};

use crate::Error;
use crate::hub::{Family, Shelf, Still, TextConfig, VisionConfig};
use crate::source::{Interleaved, Strided};
use crate::text::Tensor;

/// The sizes of the encoder as metadata.
pub(crate) fn metadata(
    text: &TextConfig,
    vision: &VisionConfig,
    still: Still,
) -> Vec<(String, Value)> {
    let mut metadata: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| metadata.push((format!("clip.{key}"), value));
    let number = |n: usize| Value::U32(n as u32);
    let projector = text.family.projector_type().unwrap_or_default();
    set("has_vision_encoder", true.into());
    set("projector_type", projector.into());
    let own = still.own_projection.map(Value::U32);
    set("vision.projection_dim", own.unwrap_or(number(text.width)));
    set("vision.image_size", number(still.image_size));
    set("vision.patch_size", number(vision.patch));
    set("vision.embedding_length", number(vision.width));
    set("vision.feed_forward_length", number(vision.mlp_hidden));
    set("vision.block_count", number(vision.layers));
    set("vision.attention.head_count", number(vision.heads));
    set("vision.image_mean", vision.mean.clone().into());
    set("vision.image_std", vision.std.clone().into());
    set("vision.attention.layer_norm_epsilon", still.norm_eps.into());
    if text.family.has_clip() {
        set("has_text_encoder", false.into());
        set("has_llava_projector", true.into());
        set("use_gelu", still.is_gelu.into());
        if text.family == Family::LlavaNext {
            let sides = vision.tiles.as_flattened().iter();
            let sides = sides.map(|side| *side as i32).collect();
            set(
                "vision.image_grid_pinpoints",
                Value::Array(Array::I32(sides)),
            );
            set("vision.image_aspect_ratio", "anyres".into());
            set("vision.mm_patch_merge_type", "spatial_unpad".into());
        }
        return metadata;
    }
    let function = if still.is_gelu {
        "use_gelu"
    } else {
        "use_silu"
    };
    set(function, true.into());
    if still.merge > 1 {
        set("vision.spatial_merge_size", number(still.merge));
    }
    // Readers know the usual ones.
    if let Some(longest) = still.longest {
        set("vision.longest_edge", number(longest));
    }
    if let Some(base) = still.rope_base {
        set("rope.freq_base", base.into());
    }
    if let Some(eps) = still.projector_eps {
        set("vision.projector.layer_norm_epsilon", eps.into());
    }
    metadata
}

/// The tensors of the encoder and the projector, taken from the checkpoint.
pub(crate) fn tensors(
    text: &TextConfig,
    vision: &VisionConfig,
    still: Still,
    shelf: &mut Shelf,
) -> Result<Vec<Tensor>, Error> {
    let mut tower = Tower {
        text,
        vision,
        still,
        shelf,
        tensors: Vec::new(),
    };
    match text.family {
        family if family.has_clip() => tower.clip()?,
        _ => tower.pixtral()?,
    }
    Ok(tower.tensors)
}

/// The embedding of the token that ends a row of a picture. It stands in the text model too, but
/// llama.cpp lays pictures out with the projector's file alone.
pub(crate) fn row_end(
    text: &TextConfig,
    id: Option<usize>,
    shelf: &mut Shelf,
) -> Result<Option<Tensor>, Error> {
    let has_rows = matches!(text.family, Family::Mistral3 | Family::Pixtral);
    let Some(id) = id.filter(|id| has_rows && *id < text.vocabulary) else {
        return Ok(None);
    };
    let table = shelf.take("embed_tokens.weight", &[text.vocabulary, text.width])?;
    let row = Strided::part(table, id * text.width, text.width);
    Ok(Some(Tensor::new(
        "v.token_embd.img_break",
        &[text.width],
        row,
    )))
}

struct Tower<'a> {
    text: &'a TextConfig,
    vision: &'a VisionConfig,
    still: Still,
    shelf: &'a mut Shelf,
    tensors: Vec<Tensor>,
}

impl Tower<'_> {
    fn plain(&mut self, hub: &str, name: &str, shape: &[usize]) -> Result<(), Error> {
        let tensor = self.shelf.take(hub, shape)?;
        let tensor = Tensor::new(name, shape, Strided::whole(tensor));
        self.tensors.push(tensor);
        Ok(())
    }

    /// Weight and bias of one name.
    fn both(&mut self, hub: &str, name: &str, shape: &[usize]) -> Result<(), Error> {
        self.plain(&format!("{hub}.weight"), &format!("{name}.weight"), shape)?;
        self.plain(&format!("{hub}.bias"), &format!("{name}.bias"), &shape[..1])
    }

    /// Rows of a head from halves to neighbours that turn together.
    fn paired(&mut self, hub: &str, name: &str) -> Result<(), Error> {
        let width = self.vision.width;
        let shape = [width, width];
        let head_dim = width / self.vision.heads;
        if head_dim * self.vision.heads != width || !head_dim.is_multiple_of(4) {
            return Err(Error::Unsupported {
                what: "config.json: vision_config".to_owned(),
                found: format!("{} heads in a width of {width}", self.vision.heads),
                need: "heads whose size is a multiple of 4".to_owned(),
            });
        }
        let tensor = self.shelf.take(hub, &shape)?;
        let source = Interleaved {
            tensor,
            head_dim,
            row: width,
        };
        self.tensors.push(Tensor::new(name, &shape, source));
        Ok(())
    }

    fn pixtral(&mut self) -> Result<(), Error> {
        let (width, middle, patch) = (self.vision.width, self.vision.mlp_hidden, self.vision.patch);
        let kernel = [width, 3, patch, patch];
        self.plain(
            "vision_tower.patch_conv.weight",
            "v.patch_embd.weight",
            &kernel,
        )?;
        self.plain("vision_tower.ln_pre.weight", "v.pre_ln.weight", &[width])?;
        for layer in 0..self.vision.layers {
            let hub = format!("vision_tower.transformer.layers.{layer}.");
            let block = format!("v.blk.{layer}.");
            for (from, to) in [("q_proj", "attn_q"), ("k_proj", "attn_k")] {
                self.paired(
                    &format!("{hub}attention.{from}.weight"),
                    &format!("{block}{to}.weight"),
                )?;
            }
            let square = &[width, width][..];
            for (from, to, shape) in [
                ("attention_norm", "ln1", &[width][..]),
                ("ffn_norm", "ln2", &[width]),
                ("attention.v_proj", "attn_v", square),
                ("attention.o_proj", "attn_out", square),
                ("feed_forward.gate_proj", "ffn_gate", &[middle, width]),
                ("feed_forward.up_proj", "ffn_up", &[middle, width]),
                ("feed_forward.down_proj", "ffn_down", &[width, middle]),
            ] {
                let from = format!("{hub}{from}.weight");
                self.plain(&from, &format!("{block}{to}.weight"), shape)?;
            }
        }
        if self.text.family == Family::Mistral3 {
            let block = self.still.merge * self.still.merge * width;
            let hub = "multi_modal_projector.patch_merger.merging_layer.weight";
            self.plain(hub, "mm.patch_merger.weight", &[width, block])?;
            self.plain(
                "multi_modal_projector.norm.weight",
                "mm.input_norm.weight",
                &[width],
            )?;
        }
        self.projector(["mm.1", "mm.2"])
    }

    fn clip(&mut self) -> Result<(), Error> {
        let (width, middle, patch) = (self.vision.width, self.vision.mlp_hidden, self.vision.patch);
        let side = self.still.image_size / patch;
        let rows = 1 + side * side;
        let own = |name: &str| format!("vision_tower.{name}");
        self.plain(&own("embeddings.class_embedding"), "v.class_embd", &[width])?;
        self.plain(
            &own("embeddings.patch_embedding.weight"),
            "v.patch_embd.weight",
            &[width, 3, patch, patch],
        )?;
        self.plain(
            &own("embeddings.position_embedding.weight"),
            "v.position_embd.weight",
            &[rows, width],
        )?;
        self.both(&own("pre_layrnorm"), "v.pre_ln", &[width])?;
        // Old readers of LLaVA's files expect the two under each other's name; all others tell them
        // by shape, and take names as they are where shapes do not tell.
        let (first, second) = match width == middle {
            true => ("ffn_up", "ffn_down"),
            false => ("ffn_down", "ffn_up"),
        };
        for layer in 0..self.vision.layers {
            let square = &[width, width][..];
            for (from, to, shape) in [
                ("layer_norm1", "ln1", &[width][..]),
                ("layer_norm2", "ln2", &[width]),
                ("self_attn.q_proj", "attn_q", square),
                ("self_attn.k_proj", "attn_k", square),
                ("self_attn.v_proj", "attn_v", square),
                ("self_attn.out_proj", "attn_out", square),
                ("mlp.fc1", first, &[middle, width]),
                ("mlp.fc2", second, &[width, middle]),
            ] {
                let hub = own(&format!("encoder.layers.{layer}.{from}"));
                self.both(&hub, &format!("v.blk.{layer}.{to}"), shape)?;
            }
        }
        self.shelf.discard_all(&own("post_layernorm."));
        self.shelf.discard(&own("embeddings.position_ids"));
        let mut layer = self.vision.layers;
        while self
            .shelf
            .discard_all(&own(&format!("encoder.layers.{layer}.")))
        {
            layer += 1;
        }
        if self.text.family == Family::LlavaNext {
            self.plain("image_newline", "model.image_newline", &[self.text.width])?;
        }
        self.projector(["mm.0", "mm.2"])
    }

    fn projector(&mut self, names: [&str; 2]) -> Result<(), Error> {
        let output = self.text.width;
        let parts = [
            "multi_modal_projector.linear_1",
            "multi_modal_projector.linear_2",
        ];
        for ((hub, name), inputs) in parts
            .into_iter()
            .zip(names)
            .zip([self.vision.width, output])
        {
            match self.still.has_projector_biases {
                true => self.both(hub, name, &[output, inputs])?,
                false => {
                    let (from, to) = (format!("{hub}.weight"), format!("{name}.weight"));
                    self.plain(&from, &to, &[output, inputs])?;
                }
            }
        }
        Ok(())
    }
}

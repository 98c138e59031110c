//! The projector's file: metadata and tensors of the vision encoder under llama.cpp's names.

use ocelli_gguf::Value;

use crate::hub::{
    Family, FullLayers, Shelf, TextConfig, USUAL_POSITIONS, USUAL_SIDE, VisionConfig, Windows,
};
use crate::source::Strided;
use crate::still;
use crate::text::Tensor;
use crate::{Error, gemma3};

/// Patches that become one token.
const MERGED_PATCHES: usize = 4;
/// A constant of the encoders, whatever the text model's epsilon is.
const NORM_EPS: f32 = 1e-6;
/// Patches on a side where no table of positions limits the size: 560 pixels in the released models.
pub(crate) const IMAGE_PATCHES: usize = 40;

/// The sizes of the vision encoder as metadata.
pub(crate) fn metadata(text: &TextConfig, vision: &VisionConfig) -> Vec<(String, Value)> {
    if let Some(still) = vision.still {
        return still::metadata(text, vision, still);
    }
    let mut metadata: Vec<(String, Value)> = Vec::new();
    let mut set = |key: &str, value: Value| metadata.push((format!("clip.{key}"), value));
    let number = |n: usize| Value::U32(n as u32);
    let image_size = image_size(vision.positions, vision.patch);
    set("has_vision_encoder", true.into());
    set(
        "projector_type",
        text.family.projector_type().unwrap_or_default().into(),
    );
    set("vision.projection_dim", number(text.width));
    set("vision.image_size", number(image_size));
    set("vision.patch_size", number(vision.patch));
    set("vision.embedding_length", number(vision.width));
    set("vision.feed_forward_length", number(vision.mlp_hidden));
    set("vision.block_count", number(vision.layers));
    set("vision.attention.head_count", number(vision.heads));
    set("vision.image_mean", vision.mean.clone().into());
    set("vision.image_std", vision.std.clone().into());
    let eps = vision.norm_eps.unwrap_or(NORM_EPS);
    set("vision.attention.layer_norm_epsilon", eps.into());
    if let Some(windows) = &vision.windows {
        set("use_silu", true.into());
        set_windows(&mut set, windows);
    }
    if let Some([least, most]) = vision.pixels {
        set("vision.image_min_pixels", least.into());
        set("vision.image_max_pixels", most.into());
    }
    if let Some(pool) = vision.pool {
        set("use_gelu", true.into());
        // Readers know the usual one.
        if pool != 4 {
            set("vision.projector.scale_factor", pool.into());
        }
    }
    if text.family.is_qwen3_vl() {
        set("use_gelu", true.into());
        set("vision.spatial_merge_size", 2u32.into());
        let is_tap: Vec<bool> = (0..vision.layers)
            .map(|i| vision.taps.contains(&i))
            .collect();
        set("vision.is_deepstack_layers", is_tap.into());
    }
    metadata
}

/// Pixels on a side of the picture that a file states: whole patches, as readers expect.
fn image_size(positions: Option<usize>, patch: usize) -> usize {
    positions.map_or(IMAGE_PATCHES, usize::isqrt) * patch
}

/// Which layers keep to windows, and what is not as readers expect it.
fn set_windows(set: &mut impl FnMut(&str, Value), windows: &Windows) {
    match &windows.full {
        FullLayers::Every(layers) => set("vision.n_wa_pattern", (*layers).into()),
        FullLayers::Listed(layers) => set("vision.fullatt_block_indexes", layers.clone().into()),
    }
    if windows.side != USUAL_SIDE {
        set("vision.window_size", windows.side.into());
    }
    if windows.positions_per_second != USUAL_POSITIONS {
        let positions = windows.positions_per_second;
        set("vision.tokens_per_second", positions.into());
    }
}

/// The tensors of the encoder and the projector, taken from the checkpoint.
pub(crate) fn tensors(
    text: &TextConfig,
    vision: &VisionConfig,
    shelf: &mut Shelf,
) -> Result<Vec<Tensor>, Error> {
    if let Some(still) = vision.still {
        return still::tensors(text, vision, still, shelf);
    }
    if vision.pool.is_some() {
        return gemma3::vision(text, vision, shelf);
    }
    let mut tower = Tower {
        text,
        vision,
        shelf,
        tensors: Vec::new(),
    };
    tower.patches()?;
    for layer in 0..vision.layers {
        tower.layer(layer)?;
    }
    tower.mergers()?;
    Ok(tower.tensors)
}

struct Tower<'a> {
    text: &'a TextConfig,
    vision: &'a VisionConfig,
    shelf: &'a mut Shelf,
    tensors: Vec<Tensor>,
}

impl Tower<'_> {
    /// Moves a tensor under its new name.
    fn plain(&mut self, hub: &str, name: &str, shape: &[usize]) -> Result<(), Error> {
        let tensor = self.shelf.take(&format!("visual.{hub}"), shape)?;
        self.tensors
            .push(Tensor::new(name, shape, Strided::whole(tensor)));
        Ok(())
    }

    /// Moves weight `[outputs, inputs]` and bias.
    fn linear(
        &mut self,
        hub: &str,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<(), Error> {
        let names = |end: &str| (format!("{hub}.{end}"), format!("{name}.{end}"));
        let (from, to) = names("weight");
        self.plain(&from, &to, &[outputs, inputs])?;
        let (from, to) = names("bias");
        self.plain(&from, &to, &[outputs])
    }

    /// Moves a norm; that of Qwen2.5-VL has no bias.
    fn norm(&mut self, hub: &str, name: &str, width: usize) -> Result<(), Error> {
        self.plain(
            &format!("{hub}.weight"),
            &format!("{name}.weight"),
            &[width],
        )?;
        if self.text.family == Family::Qwen25Vl {
            return Ok(());
        }
        self.plain(&format!("{hub}.bias"), &format!("{name}.bias"), &[width])
    }

    /// The kernel for each of two frames as a tensor of its own; the bias and the table of positions.
    fn patches(&mut self) -> Result<(), Error> {
        let (width, patch) = (self.vision.width, self.vision.patch);
        let area = patch * patch;
        for (frame, name) in ["v.patch_embd.weight", "v.patch_embd.weight.1"]
            .into_iter()
            .enumerate()
        {
            let shape = [width, 3, 2, patch, patch];
            let tensor = self.shelf.take("visual.patch_embed.proj.weight", &shape)?;
            let kernel = Strided {
                tensor,
                start: frame * area,
                length: area,
                stride: 2 * area,
                row: patch,
            };
            self.tensors
                .push(Tensor::new(name, &[width, 3, patch, patch], kernel));
        }
        if let Some(positions) = self.vision.positions {
            self.plain("patch_embed.proj.bias", "v.patch_embd.bias", &[width])?;
            self.plain(
                "pos_embed.weight",
                "v.position_embd.weight",
                &[positions, width],
            )?;
        }
        Ok(())
    }

    fn layer(&mut self, layer: usize) -> Result<(), Error> {
        let (width, hidden) = (self.vision.width, self.vision.mlp_hidden);
        let (hub, block) = (format!("blocks.{layer}"), format!("v.blk.{layer}"));
        self.norm(&format!("{hub}.norm1"), &format!("{block}.ln1"), width)?;
        self.norm(&format!("{hub}.norm2"), &format!("{block}.ln2"), width)?;
        let (qkv, fused) = (format!("{hub}.attn.qkv"), format!("{block}.attn_qkv"));
        match self.text.family.is_qwen3_vl() {
            true => self.linear(&qkv, &fused, [3 * width, width])?,
            false => self.thirds(&qkv, &block)?,
        }
        self.linear(
            &format!("{hub}.attn.proj"),
            &format!("{block}.attn_out"),
            [width, width],
        )?;
        let (up, gate, down) = match self.text.family {
            Family::Qwen2Vl => ("fc1", None, "fc2"),
            Family::Qwen25Vl => ("up_proj", Some("gate_proj"), "down_proj"),
            _ => ("linear_fc1", None, "linear_fc2"),
        };
        self.linear(
            &format!("{hub}.mlp.{up}"),
            &format!("{block}.ffn_up"),
            [hidden, width],
        )?;
        if let Some(gate) = gate {
            let name = format!("{block}.ffn_gate");
            self.linear(&format!("{hub}.mlp.{gate}"), &name, [hidden, width])?;
        }
        self.linear(
            &format!("{hub}.mlp.{down}"),
            &format!("{block}.ffn_down"),
            [width, hidden],
        )
    }

    /// Query, key and value out of one tensor: readers of the first two generations want them apart.
    fn thirds(&mut self, hub: &str, block: &str) -> Result<(), Error> {
        let width = self.vision.width;
        for (end, whole, third) in [
            ("weight", &[3 * width, width][..], &[width, width][..]),
            ("bias", &[3 * width], &[width]),
        ] {
            for (index, letter) in ["q", "k", "v"].into_iter().enumerate() {
                let tensor = self.shelf.take(&format!("visual.{hub}.{end}"), whole)?;
                let length = third.iter().product();
                let mut part = Strided::part(tensor, index * length, length);
                part.row = width;
                let name = format!("{block}.attn_{letter}.{end}");
                self.tensors.push(Tensor::new(name, third, part));
            }
        }
        Ok(())
    }

    /// The projections into the text model.
    fn mergers(&mut self) -> Result<(), Error> {
        let (width, output) = (self.vision.width, self.text.width);
        let block = MERGED_PATCHES * width;
        let is_qwen3 = self.text.family.is_qwen3_vl();
        let (norm, first, second) = match is_qwen3 {
            true => ("merger.norm", "merger.linear_fc1", "merger.linear_fc2"),
            false => ("merger.ln_q", "merger.mlp.0", "merger.mlp.2"),
        };
        self.norm(norm, "v.post_ln", width)?;
        self.linear(first, "mm.0", [block, block])?;
        self.linear(second, "mm.2", [output, block])?;
        for (place, layer) in self.vision.taps.iter().enumerate() {
            let (hub, name) = (
                format!("deepstack_merger_list.{place}"),
                format!("v.deepstack.{layer}"),
            );
            self.norm(&format!("{hub}.norm"), &format!("{name}.norm"), block)?;
            self.linear(
                &format!("{hub}.linear_fc1"),
                &format!("{name}.fc1"),
                [block, block],
            )?;
            self.linear(
                &format!("{hub}.linear_fc2"),
                &format!("{name}.fc2"),
                [output, block],
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::image_size;

    #[test]
    fn the_stated_size_is_whole_patches_whatever_their_side() {
        assert_eq!(image_size(None, 14), 560);
        for patch in 2..=64 {
            assert_eq!(image_size(None, patch) % patch, 0, "patches of {patch}");
            assert_eq!(image_size(Some(36), patch), 6 * patch);
        }
    }
}

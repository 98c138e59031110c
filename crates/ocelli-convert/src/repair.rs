//! Old and foreign layouts under current names and keys: what the normaliser of names knows, plus the tensors that are
//! packed or cut in another way and the metadata that belongs to them. Families: the Qwen-VL generations, Gemma 3; Pixtral
//! and LLaVA-1.5 through [`still_repair`].

use std::collections::HashMap;

use ocelli_gguf::{Array, Gguf, Metadata, TensorInfo, Value};
use ocelli_models::{NameTable, normalise};
use ocelli_quant::TensorType;

use crate::Error;
use crate::encode::Output;
use crate::merge::{copy, is_mark, is_vision};
use crate::source::{Joined, Source, Stored};
use crate::still_repair;

/// Metadata in file order.
type Entries = Vec<(String, Value)>;

/// The content of a file to be written.
pub(crate) struct Part<'a> {
    pub(crate) metadata: Entries,
    pub(crate) tensors: Vec<Output<'a>>,
    pub(crate) notes: Vec<String>,
}

/// Tensors that a normaliser's table stands for, in file order with their normal names.
fn in_file_order<'a>(file: &'a Gguf, table: &NameTable) -> Vec<(String, &'a TensorInfo)> {
    let normal: HashMap<&str, &str> = table.iter().map(|(normal, own)| (own, normal)).collect();
    let named = |tensor: &'a TensorInfo| {
        let normal = normal.get(tensor.name())?;
        Some(((*normal).to_owned(), tensor))
    };
    file.tensors().iter().filter_map(named).collect()
}

/// The text model of a file, alone or merged.
pub(crate) fn text(file: &Gguf) -> Result<Part<'_>, Error> {
    let table = normalise(file, ocelli_models::Part::Text)?;
    let tensors: Vec<Output<'_>> = in_file_order(file, &table)
        .into_iter()
        .filter(|(_, tensor)| !is_vision(tensor.name()))
        .map(|(name, tensor)| Output {
            name,
            ..copy(file, tensor)
        })
        .collect();
    let (metadata, mut notes) = text_metadata(file)?;
    notes.extend_from_slice(table.notes());
    Ok(Part {
        metadata,
        tensors,
        notes,
    })
}

fn text_metadata(file: &Gguf) -> Result<(Entries, Vec<String>), Error> {
    let old = file.metadata();
    let old_arch = old.required_str("general.architecture")?;
    let arch = match old_arch {
        "qwen25vl" => "qwen2vl",
        same => same,
    };
    let vision = format!("{old_arch}.vision.");
    let mut metadata: Entries = Vec::new();
    for (key, value) in old.iter() {
        let is_other = key.starts_with("split.")
            || key.starts_with("clip.")
            || key.starts_with(&vision)
            || is_mark(key)
            || key.ends_with(".rope.mrope_section")
            || key.ends_with(".rope.dimension_sections");
        match key
            .strip_prefix(old_arch)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            _ if is_other => {}
            Some(rest) if arch == "mistral3" => {
                let current = still_repair::text_key(rest);
                metadata.extend(current.map(|key| (format!("{arch}.{key}"), value.clone())));
            }
            None if arch == "mistral3" && key == "tokenizer.ggml.pre" => {
                metadata.push((key.to_owned(), "tekken".into()));
            }
            Some(rest) => metadata.push((format!("{arch}.{rest}"), value.clone())),
            None if key == "general.architecture" => metadata.push((key.to_owned(), arch.into())),
            None => metadata.push((key.to_owned(), value.clone())),
        }
    }
    let mut set = |key: &str, value: Value| {
        let key = format!("{arch}.{key}");
        if !metadata.iter().any(|(known, _)| *known == key) {
            metadata.push((key, value));
        }
    };
    if let Some(sections) = sections(old, old_arch)? {
        set("rope.dimension_sections", sections.into());
    }
    if arch == "gemma3" {
        for (key, value) in gemma3_defaults(old)? {
            set(key, value);
        }
    }
    let taps = old.u32_array(&format!("{vision}deepstack_visual_indexes"))?;
    if let Some(taps) = taps {
        set("n_deepstack_layers", Value::U32(taps.len() as u32));
    }
    if let Some(experts) = file.tensor("blk.0.ffn_gate_exps.weight")
        && let &[_, hidden, _] = experts.shape()
    {
        set("expert_feed_forward_length", Value::U32(hidden as u32));
    }
    let mut notes = Vec::new();
    if arch != old_arch {
        notes.push(format!("architecture '{old_arch}' is written as '{arch}'"));
    }
    Ok((metadata, notes))
}

/// What merged Gemma 3 files state under other names, or leave out.
fn gemma3_defaults(old: &Metadata) -> Result<Vec<(&'static str, Value)>, Error> {
    let mut defaults = vec![("attention.layer_norm_rms_epsilon", Value::F32(1e-6))];
    for (own, name) in [
        ("gemma3.rope.global.freq_base", "rope.freq_base"),
        ("gemma3.rope.local.freq_base", "rope.freq_base_swa"),
    ] {
        defaults.extend(old.f32(own)?.map(|base| (name, Value::F32(base))));
    }
    let has_scaling = old.get("gemma3.rope.scaling.factor").is_some();
    let is_long = old.u64("gemma3.context_length")?.unwrap_or(0) >= 131_072;
    let is_large = old.u64("gemma3.block_count")?.unwrap_or(0) >= 34;
    if !has_scaling && is_long && is_large {
        defaults.push(("rope.scaling.type", "linear".into()));
        defaults.push(("rope.scaling.factor", Value::F32(8.0)));
    }
    Ok(defaults)
}

/// Rope sections padded to four, under either name; the usual ones where a family needs them and a file has none.
fn sections(metadata: &Metadata, arch: &str) -> Result<Option<Vec<i32>>, Error> {
    let key = |name: &str| format!("{arch}.rope.{name}");
    let found = match metadata.i32_array(&key("dimension_sections"))? {
        Some(found) => Some(found),
        None => metadata.i32_array(&key("mrope_section"))?,
    };
    let usual = match arch {
        "qwen2vl" | "qwen25vl" => Some(vec![16, 24, 24]),
        "qwen3vl" | "qwen3vlmoe" => Some(vec![24, 20, 20]),
        _ => None,
    };
    Ok(found.or(usual).map(|mut sections| {
        sections.resize(sections.len().max(4), 0);
        sections
    }))
}

/// What tells the generations apart when keys are wrong: their tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    Qwen2,
    Qwen25,
    Qwen3,
    Gemma3,
}

impl Generation {
    fn of(file: &Gguf, table: &NameTable) -> Result<Self, Error> {
        let has = |name: &str| table.in_file(name).is_some();
        if has("mm.input_projection.weight") {
            return Ok(Self::Gemma3);
        }
        let is_two_frames = has("v.patch_embd.weight.1") || has("v.patch_embd.packed");
        match (
            is_two_frames,
            has("v.patch_embd.bias"),
            has("v.blk.0.ffn_gate.weight"),
        ) {
            (true, true, _) => Ok(Self::Qwen3),
            (true, false, true) => Ok(Self::Qwen25),
            (true, false, false) => Ok(Self::Qwen2),
            (false, ..) => Err(Error::WrongKind {
                action: "repair",
                file: file.name().to_owned(),
                found: "vision tensors of another family".to_owned(),
                need: "those of Qwen-VL, Gemma 3, Pixtral or LLaVA-1.5",
            }),
        }
    }

    fn projector_type(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2vl_merger",
            Self::Qwen25 => "qwen2.5vl_merger",
            Self::Qwen3 => "qwen3vl_merger",
            Self::Gemma3 => "gemma3",
        }
    }
}

/// The projector of a file, alone or merged.
pub(crate) fn projector(file: &Gguf) -> Result<Part<'_>, Error> {
    let table = normalise(file, ocelli_models::Part::Vision)?;
    if let Some(kind) = still_repair::Kind::of(file, &table)? {
        let named = in_file_order(file, &table);
        let tensors = still_repair::tensors(file, &table, named)?;
        let mut metadata = general(file)?;
        metadata.extend(still_repair::metadata(file, &table, kind, &tensors)?);
        let mut notes = table.notes().to_vec();
        notes.push(written_as(kind.projector_type()));
        return Ok(Part {
            metadata,
            tensors,
            notes,
        });
    }
    let generation = Generation::of(file, &table)?;
    let mut tensors = Vec::new();
    for (name, tensor) in in_file_order(file, &table) {
        vision_tensor(file, &table, generation, (name, tensor), &mut tensors)?;
    }
    let metadata = projector_metadata(file, &table, generation, &tensors)?;
    let mut notes = table.notes().to_vec();
    notes.push(written_as(generation.projector_type()));
    Ok(Part {
        metadata,
        tensors,
        notes,
    })
}

fn written_as(projector_type: &str) -> String {
    format!("the projector is written as '{projector_type}'")
}

/// Adds the tensor, or what takes its place.
fn vision_tensor<'a>(
    file: &'a Gguf,
    table: &NameTable,
    generation: Generation,
    (name, tensor): (String, &'a TensorInfo),
    out: &mut Vec<Output<'a>>,
) -> Result<(), Error> {
    let parts = name.rsplit_once('.').and_then(|(stem, end)| {
        let (block, part) = stem.rsplit_once('.')?;
        Some((block.to_owned(), part.to_owned(), end.to_owned()))
    });
    match parts {
        _ if name == "v.patch_embd.packed" => return unpack(file, tensor, out),
        Some((block, part, end)) if generation == Generation::Qwen3 && part == "attn_q" => {
            return fuse(file, table, [&block, &end], out);
        }
        Some((_, part, _))
            if generation == Generation::Qwen3 && matches!(part.as_str(), "attn_k" | "attn_v") => {}
        Some((block, part, end)) if generation != Generation::Qwen3 && part == "attn_qkv" => {
            let mut shape = tensor.shape().to_vec();
            if let Some(last) = shape.last_mut() {
                *last /= 3;
            }
            let length = tensor.elements() / 3;
            for (index, letter) in ["q", "k", "v"].into_iter().enumerate() {
                let source = Stored::part(file, tensor, index * length, length);
                out.push(Output {
                    name: format!("{block}.attn_{letter}.{end}"),
                    shape: shape.clone(),
                    ty: tensor.ty(),
                    source: Box::new(source),
                });
            }
        }
        _ => out.push(Output {
            name,
            ..copy(file, tensor)
        }),
    }
    Ok(())
}

/// One tensor with both frames' kernels for each output and colour becomes two.
fn unpack<'a>(
    file: &'a Gguf,
    tensor: &'a TensorInfo,
    out: &mut Vec<Output<'a>>,
) -> Result<(), Error> {
    let (wide, high, outputs) = match *tensor.shape() {
        [wide, high, 2, packed] if packed.is_multiple_of(3) => (wide, high, packed / 3),
        _ => {
            return Err(Error::BadMerged {
                file: file.name().to_owned(),
                problem: format!(
                    "tensor '{}' has shape {:?}, need [P, P, 2, 3 * width]",
                    tensor.name(),
                    tensor.shape()
                ),
            });
        }
    };
    let area = (wide * high) as usize;
    for (frame, name) in ["v.patch_embd.weight", "v.patch_embd.weight.1"]
        .into_iter()
        .enumerate()
    {
        out.push(Output {
            name: name.to_owned(),
            shape: vec![wide, high, 3, outputs],
            ty: tensor.ty(),
            source: Box::new(Stored::strided(
                file,
                tensor,
                frame * area,
                [area, 2 * area],
            )),
        });
    }
    Ok(())
}

/// Query, key and value become one tensor; where their types differ, halves for matrices.
fn fuse<'a>(
    file: &'a Gguf,
    table: &NameTable,
    [block, end]: [&str; 2],
    out: &mut Vec<Output<'a>>,
) -> Result<(), Error> {
    let mut parts = Vec::with_capacity(3);
    let mut shape: Vec<u64> = Vec::new();
    for letter in ["q", "k", "v"] {
        let name = format!("{block}.attn_{letter}.{end}");
        let tensor = table.in_file(&name).and_then(|own| file.tensor(own));
        let tensor = tensor.ok_or(Error::MissingTensor {
            name,
            hint: String::new(),
        })?;
        match shape.last_mut() {
            Some(last) => *last += tensor.shape().last().copied().unwrap_or(0),
            None => shape = tensor.shape().to_vec(),
        }
        parts.push(Stored::whole(file, tensor));
    }
    let source = Joined(parts);
    let mixed = match shape.len() {
        1 => TensorType::F32,
        _ => TensorType::F16,
    };
    out.push(Output {
        name: format!("{block}.attn_qkv.{end}"),
        shape,
        ty: source.stored_type().unwrap_or(mixed),
        source: Box::new(source),
    });
    Ok(())
}

/// Keys of old converters that say nothing, or nothing that the written ones do not.
const DROPPED: [&str; 12] = [
    "clip.has_text_encoder",
    "clip.has_qwen2vl_merger",
    "clip.has_llava_projector",
    "clip.is_qwen2_5",
    "clip.use_glu_mlp",
    "clip.use_rms_norm",
    "clip.use_gelu",
    "clip.use_silu",
    "clip.vision.fullatt_block_indexes",
    "clip.vision.feature_layer",
    "clip.vision.image_grid_pinpoints",
    "clip.vision.mm_patch_merge_type",
];

fn projector_metadata(
    file: &Gguf,
    table: &NameTable,
    generation: Generation,
    tensors: &[Output<'_>],
) -> Result<Entries, Error> {
    let old = file.metadata();
    let mut metadata: Entries = general(file)?;
    let sizes = Sizes::of(file, tensors)?;
    let key = |name: &str| format!("{}.{name}", table.prefix());
    let heads = old.required_u32(&key("attention.head_count"))?;
    let eps = old
        .f32(&key("attention.layer_norm_epsilon"))?
        .unwrap_or(1e-6);
    let [mean, std] = normalization(old, table.prefix(), generation)?;
    let image_size = match sizes.positions {
        Some(positions) => positions.isqrt() * sizes.patch,
        None => old.u64(&key("image_size"))?.unwrap_or(560),
    };
    let mut set = |key: &str, value: Value| metadata.push((format!("clip.{key}"), value));
    let number = |n: u64| Value::U32(n as u32);
    set("has_vision_encoder", true.into());
    set("projector_type", generation.projector_type().into());
    set("vision.projection_dim", number(sizes.output));
    set("vision.image_size", number(image_size));
    set("vision.patch_size", number(sizes.patch));
    set("vision.embedding_length", number(sizes.width));
    set("vision.feed_forward_length", number(sizes.mlp_hidden));
    set("vision.block_count", number(sizes.layers));
    set("vision.attention.head_count", heads.into());
    set("vision.image_mean", mean.into());
    set("vision.image_std", std.into());
    set("vision.attention.layer_norm_epsilon", eps.into());
    let image = (&sizes, image_size);
    for (key, value) in own_keys(generation, (old, table.prefix()), image, tensors)? {
        set(key, value);
    }
    // What else a projector's own file says is kept.
    for (key, value) in old.iter() {
        let is_known = metadata.iter().any(|(known, _)| known == key);
        if key.starts_with("clip.") && !is_known && !DROPPED.contains(&key) {
            metadata.push((key.to_owned(), value.clone()));
        }
    }
    Ok(metadata)
}

/// Keys that only one generation has.
fn own_keys(
    generation: Generation,
    (old, prefix): (&Metadata, &str),
    (sizes, image_size): (&Sizes, u64),
    tensors: &[Output<'_>],
) -> Result<Vec<(&'static str, Value)>, Error> {
    let mut keys = Vec::new();
    let mut set = |key: &'static str, value: Value| keys.push((key, value));
    match generation {
        Generation::Qwen2 => {}
        Generation::Gemma3 => {
            set("use_gelu", true.into());
            if let Some(pool) = pool(old, image_size / sizes.patch)? {
                set("vision.projector.scale_factor", Value::U32(pool as u32));
            }
        }
        Generation::Qwen25 => {
            set("use_silu", true.into());
            set("vision.n_wa_pattern", window_pattern(old, prefix)?.into());
        }
        Generation::Qwen3 => {
            set("use_gelu", true.into());
            set("vision.spatial_merge_size", 2u32.into());
            let is_tap = |layer: u64| {
                let name = format!("v.deepstack.{layer}.fc1.weight");
                tensors.iter().any(|tensor| tensor.name == name)
            };
            let taps: Vec<bool> = (0..sizes.layers).map(is_tap).collect();
            set(
                "vision.is_deepstack_layers",
                Value::Array(Array::Bool(taps)),
            );
        }
    }
    Ok(keys)
}

/// `general.*` of the projector: its own, those kept in a merged file, or the name of the text model.
fn general(file: &Gguf) -> Result<Entries, Error> {
    const MOVED: &str = "ocelli.merged.projector.";
    let old = file.metadata();
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::from("clip")),
        ("general.type".to_owned(), Value::from("mmproj")),
    ];
    let is_own = old.required_str("general.architecture")? == "clip";
    for (key, value) in old.iter() {
        let moved = key.strip_prefix(MOVED);
        let own = match (is_own, moved) {
            (_, Some(moved)) => moved,
            (true, None) if !key.starts_with("clip.") && !key.starts_with("split.") => key,
            (false, None) if key == "general.name" => key,
            _ => continue,
        };
        if !metadata.iter().any(|(known, _)| known == own) {
            metadata.push((own.to_owned(), value.clone()));
        }
    }
    Ok(metadata)
}

/// Sizes by the tensors' shapes: old converters wrote wrong ones into the metadata.
struct Sizes {
    patch: u64,
    width: u64,
    mlp_hidden: u64,
    output: u64,
    layers: u64,
    positions: Option<u64>,
}

impl Sizes {
    fn of(file: &Gguf, tensors: &[Output<'_>]) -> Result<Self, Error> {
        let shape = |name: &str| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name);
            tensor.map(|tensor| tensor.shape.as_slice())
        };
        let missing = |name: &str| Error::BadMerged {
            file: file.name().to_owned(),
            problem: format!("tensor '{name}' not found, or of another rank"),
        };
        let matrix = |name: &str| match shape(name) {
            Some(&[inputs, outputs]) => Ok((inputs, outputs)),
            _ => Err(missing(name)),
        };
        let (patch, width) = match shape("v.patch_embd.weight") {
            Some(&[patch, _, _, width]) => (patch, width),
            _ => return Err(missing("v.patch_embd.weight")),
        };
        let layer = |name: &str| {
            name.strip_prefix("v.blk.")?
                .split('.')
                .next()?
                .parse::<u64>()
                .ok()
        };
        let highest = tensors
            .iter()
            .filter_map(|tensor| layer(&tensor.name))
            .max();
        Ok(Self {
            patch,
            width,
            mlp_hidden: matrix("v.blk.0.ffn_up.weight")?.1,
            output: match matrix("mm.input_projection.weight") {
                // Stored with one row for each value of the encoder.
                Ok((outputs, _)) => outputs,
                Err(_) => matrix("mm.2.weight")?.1,
            },
            layers: highest.map_or(0, |highest| highest.saturating_add(1)),
            positions: matrix("v.position_embd.weight").ok().map(|(_, rows)| rows),
        })
    }
}

/// Mean and standard deviation: the file's, else the family's.
fn normalization(
    metadata: &Metadata,
    prefix: &str,
    generation: Generation,
) -> Result<[Vec<f32>; 2], Error> {
    let read = |name: &str| metadata.f32_array(&format!("{prefix}.{name}"));
    if let (Some(mean), Some(std)) = (read("image_mean")?, read("image_std")?) {
        return Ok([mean, std]);
    }
    Ok(match generation {
        Generation::Qwen3 | Generation::Gemma3 => [vec![0.5; 3], vec![0.5; 3]],
        Generation::Qwen2 | Generation::Qwen25 => [
            vec![0.481_454_66, 0.457_827_5, 0.408_210_73],
            vec![0.268_629_54, 0.261_302_6, 0.275_777_1],
        ],
    })
}

/// Patches on each side of a cell of Gemma 3, where it is not the usual 4; merged files state tokens.
fn pool(metadata: &Metadata, side: u64) -> Result<Option<u64>, Error> {
    let stated = metadata.u64("clip.vision.projector.scale_factor")?;
    let mut tokens = metadata.u64("gemma3.mm.tokens_per_image")?;
    if tokens.is_none() {
        tokens = metadata.u64("gemma3.mm_tokens_per_image")?;
    }
    let by_tokens = tokens.map(|tokens| side / tokens.isqrt().max(1));
    Ok(stated.or(by_tokens).filter(|pool| *pool != 4))
}

/// Every how many layers one sees the whole picture.
fn window_pattern(metadata: &Metadata, prefix: &str) -> Result<u32, Error> {
    if let Some(pattern) = metadata.u32(&format!("{prefix}.n_wa_pattern"))? {
        return Ok(pattern);
    }
    let indexes = metadata.u32_array(&format!("{prefix}.fullatt_block_indexes"))?;
    let first = indexes.and_then(|indexes| indexes.first().copied());
    Ok(first.map_or(8, |first| first.saturating_add(1)))
}

//! Old and foreign layouts under current names and keys: what the normaliser of names knows, plus
//! the tensors that are packed or cut in another way and the metadata that belongs to them.
//! Families: the Qwen-VL generations, Gemma 3; Pixtral and LLaVA through [`still_repair`].

use std::collections::HashMap;

use ocelli_gguf::{Gguf, TensorInfo, Value};
use ocelli_models::{NameTable, normalise};
use ocelli_quant::TensorType;

use crate::Error;
use crate::encode::Output;
use crate::merge::copy;
use crate::source::{Joined, Source, Stored};
use crate::still_repair;
use keys::{general, projector_metadata};

pub(crate) use text::text;

mod keys;
mod text;

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
                need: "those of Qwen-VL, Gemma 3, Pixtral or LLaVA",
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
    if let Some(kind) = still_repair::Kind::of(&table) {
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
        vision_tensor(file, &table, generation, name, tensor, &mut tensors)?;
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
    name: String,
    tensor: &'a TensorInfo,
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

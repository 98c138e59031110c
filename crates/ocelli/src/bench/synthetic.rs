//! A pair of models made of nothing: real names, shapes and types, random weights. In memory its
//! tensors share their bytes, so that it takes the room of its largest tensors only; on disk it is
//! as large as the real one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ocelli_convert::Mix;
use ocelli_gguf::{Gguf, SharedTensor, Value, Writer};
use ocelli_quant::TensorType;

use super::random::{Purpose, fill};
use super::shape::Shape;
use super::{tensors, vocabulary};
use crate::Error;
use crate::convert::FileType;

/// Blocks by which the places of tensors in the shared bytes differ, so that no two matrices are alike.
const PLACES: usize = 8192;

/// The text model and the projector of a shape.
///
/// # Errors
/// When the type does not fit the shape.
pub(super) fn pair(
    shape: &Shape,
    file_type: FileType,
    projector_type: FileType,
) -> Result<(Gguf, Gguf), Error> {
    let text = &shape.text;
    let mut mix = Mix::text(
        file_type,
        shape.family.architecture(),
        text.layers as usize,
        (text.heads / text.kv_heads) as u32,
        !text.is_tied,
    );
    if let Some((experts, ..)) = text.experts {
        mix = mix.with_experts(experts as u32);
    }
    let mut metadata = tensors::text_metadata(shape);
    metadata.push(("general.file_type".to_owned(), Value::U32(file_type.id())));
    metadata.extend(vocabulary::metadata(text.vocabulary as usize, shape.family));
    let name = format!("{}-{}.gguf", shape.name, file_type.name());
    let text = model(name, metadata, tensors::text(shape), &mix)?;
    let mut metadata = tensors::projector_metadata(shape);
    let id = Value::U32(projector_type.id());
    metadata.push(("general.file_type".to_owned(), id));
    let name = format!("mmproj-{}-{}.gguf", shape.name, projector_type.name());
    let mix = Mix::projector(projector_type);
    Ok((
        text,
        model(name, metadata, tensors::projector(shape), &mix)?,
    ))
}

fn model(
    name: String,
    metadata: Vec<(String, Value)>,
    tensors: tensors::Tensors,
    mix: &Mix,
) -> Result<Gguf, Error> {
    let mut sources: BTreeMap<(TensorType, Purpose), (usize, usize)> = BTreeMap::new();
    let mut shared = Vec::with_capacity(tensors.len());
    for (index, (name, shape)) in tensors.into_iter().enumerate() {
        let ty = mix.type_of(&name, &shape);
        let key = (ty, purpose(&name, &shape));
        let next = sources.len();
        let (source, room) = sources.entry(key).or_insert((next, 0));
        let tensor = SharedTensor {
            name,
            shape,
            ty,
            source: *source,
            offset: index * 37 % PLACES * block_bytes(ty),
        };
        *room = (*room).max(tensor.bytes()?);
        shared.push(tensor);
    }
    let mut bytes = vec![Vec::new(); sources.len()];
    for ((ty, purpose), (source, room)) in sources {
        bytes[source] = vec![0; room + PLACES * block_bytes(ty)];
        fill(ty, purpose, &mut bytes[source]);
    }
    Ok(Gguf::from_shared(name, metadata, &shared, bytes)?)
}

fn block_bytes(ty: TensorType) -> usize {
    ty.row_bytes(ty.block_elements()).unwrap_or(1)
}

fn purpose(name: &str, shape: &[u64]) -> Purpose {
    let is_norm = [
        "norm.weight",
        "ln1.weight",
        "ln2.weight",
        "post_ln.weight",
        "pre_ln.weight",
    ];
    match shape.len() == 1 && is_norm.iter().any(|end| name.ends_with(end)) {
        true => Purpose::Gain,
        false => Purpose::Weight,
    }
}

/// Writes both files of a pair into a folder and gives their paths, unless it was stopped: then
/// nothing of them is left.
///
/// # Errors
/// When the folder or a file cannot be written.
pub(super) fn write(
    folder: &Path,
    pair: &(Gguf, Gguf),
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<[PathBuf; 2]>, Error> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Path {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    let Some(text) = write_one(folder, &pair.0, is_stopped)? else {
        return Ok(None);
    };
    let Some(projector) = write_one(folder, &pair.1, is_stopped)? else {
        std::fs::remove_file(&text).map_err(|source| Error::Path {
            action: "remove",
            path: text.clone(),
            source,
        })?;
        return Ok(None);
    };
    Ok(Some([text, projector]))
}

fn write_one(
    folder: &Path,
    model: &Gguf,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<PathBuf>, Error> {
    let path = folder.join(model.name());
    let mut writer = Writer::new();
    for (key, value) in model.metadata().iter() {
        writer.set(key, value.clone());
    }
    for tensor in model.tensors() {
        writer.declare_tensor(tensor.name(), tensor.shape(), tensor.ty());
    }
    let mut stream = writer.start(&path)?;
    for tensor in model.tensors() {
        if is_stopped() {
            // Dropping the stream takes away what was written.
            return Ok(None);
        }
        stream.write(tensor.name(), model.data(tensor))?;
    }
    stream.finish()?;
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use ocelli_models::{load_text, load_vision};
    use ocelli_tensor::Measure;

    use super::*;
    use crate::bench::shape::TextSizes;

    #[test]
    fn writing_that_is_stopped_in_either_file_leaves_nothing() {
        let shape: Shape = "tiny".parse().unwrap();
        let pair = pair(&shape, FileType::Q8_0, FileType::F16).unwrap();
        let folder = std::env::temp_dir().join(format!("ocelli-stopped-{}", std::process::id()));
        for tensors in [0, 3, pair.0.tensors().len() + 3] {
            let asked = std::cell::Cell::new(0);
            let is_stopped = || asked.replace(asked.get() + 1) >= tensors;
            assert!(write(&folder, &pair, &is_stopped).unwrap().is_none());
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "{tensors}");
        }
        let files = write(&folder, &pair, &|| false).unwrap().unwrap();
        assert!(files.iter().all(|file| file.is_file()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn every_shape_is_a_sound_model_for_its_loader() {
        // The largest ones take minutes to fill; they differ from smaller ones in numbers only.
        let small = |shape: &Shape| Shape {
            text: TextSizes {
                vocabulary: 1024,
                layers: shape.text.layers.min(2),
                hidden: shape.text.hidden.min(768),
                middle: shape.text.middle.min(256),
                ..shape.text
            },
            ..*shape
        };
        let still = Shape::ALL.iter().filter(|shape| shape.family.is_still());
        let whole = ["tiny", "qwen2-vl-2b", "qwen2.5-vl-3b", "qwen3-vl-2b"];
        let whole = whole.iter().map(|name| name.parse::<Shape>().unwrap());
        for shape in whole.chain(still.map(small)) {
            let name = shape.name;
            let (text, projector) = pair(&shape, FileType::Q4_0, FileType::F16).unwrap();
            let text = load_text(&text, &Measure, &|_| {}).unwrap();
            let vision = load_vision(&projector, &Measure, &|_| {}).unwrap();
            assert_eq!(vision.output_width(), text.hidden(), "{name}");
            assert_eq!(vision.deepstack(), shape.vision.taps.len(), "{name}");
        }
    }

    #[test]
    fn sizes_are_those_of_published_files() {
        let shape: Shape = "qwen3-vl-2b".parse().unwrap();
        let (text, projector) = pair(&shape, FileType::Q4_K_M, FileType::F16).unwrap();
        let bytes = |model: &Gguf| model.tensors().iter().map(|t| t.bytes()).sum::<usize>();
        assert_eq!(bytes(&text) / 10_000_000, 110, "1.1 GB");
        assert_eq!(bytes(&projector) / 10_000_000, 81, "0.8 GB");
        assert_eq!(projector.tensors().len(), 316);
    }
}

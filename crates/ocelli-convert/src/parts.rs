//! Numbered parts of a file, and names of files without what tells parts and merged files apart.

use std::ops::Range;
use std::path::Path;

use ocelli_gguf::Parts;

use crate::Error;
use crate::encode::{Output, OutputFile};

const MOST_PARTS: usize = 256;

/// The input's name without extension, part number and "-merged".
pub(crate) fn base_name(path: &Path) -> String {
    let stem = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let without_part = match stem.rsplit_once("-of-") {
        Some((rest, count)) if count.len() == 5 && count.bytes().all(|b| b.is_ascii_digit()) => {
            rest.rsplit_once('-').map(|(prefix, _)| prefix.to_owned())
        }
        _ => None,
    };
    let name = without_part.unwrap_or(stem);
    name.strip_suffix("-merged").unwrap_or(&name).to_owned()
}

/// Cuts a file into numbered parts with at most `most` bytes of tensors each, or one tensor; the
/// first has the metadata.
pub(crate) fn numbered_parts(
    file: OutputFile<'_>,
    most: u64,
) -> Result<Vec<OutputFile<'_>>, Error> {
    let parts = Parts::cut(file.tensors.iter().map(Output::bytes), most);
    let count = parts.runs().len();
    if count > MOST_PARTS {
        return Err(Error::TooManyParts {
            part_bytes: most,
            parts: count,
            most: MOST_PARTS,
        });
    }
    let stem = file
        .path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let alignment = file
        .metadata
        .iter()
        .find(|(key, _)| key == "general.alignment")
        .cloned();
    let mut all_metadata = Some(file.metadata);
    let mut tensors = file.tensors.into_iter();
    let part = |(number, run): (usize, &Range<usize>)| {
        // Every part has its own data section, so each needs the alignment.
        let mut metadata = all_metadata
            .take()
            .unwrap_or_else(|| alignment.iter().cloned().collect());
        let name = if count == 1 {
            format!("{stem}.gguf")
        } else {
            metadata.extend(parts.keys(number));
            parts.file_name(&stem, number)
        };
        OutputFile {
            path: file.path.with_file_name(name),
            metadata,
            tensors: tensors.by_ref().take(run.len()).collect(),
        }
    };
    Ok(parts.runs().iter().enumerate().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_numbers_and_the_mark_of_merging_are_no_part_of_a_name() {
        for (path, name) in [
            ("a/b-Q4_K_M.gguf", "b-Q4_K_M"),
            ("b-merged.gguf", "b"),
            ("b-00001-of-00004.gguf", "b"),
            ("b-1-of-4.gguf", "b-1-of-4"),
        ] {
            assert_eq!(base_name(Path::new(path)), name);
        }
    }
}

//! Which files of a repository are downloaded besides the text model: its other parts and its
//! projector, by names alone.

use std::cmp::Reverse;

use crate::choose::{is_projector, quant_label};
use crate::search::part_of;

/// Types of projectors, best first: F16 is what most were published and tried in.
const PROJECTOR_QUANTS: [&str; 4] = ["F16", "BF16", "F32", "Q8_0"];

/// The projector for a text model by names alone: of the deepest folder that holds or is above the
/// model, the best type.
pub(super) fn projector<'a>(files: &'a [String], text: &str) -> Option<&'a str> {
    let folder = folder_of(text);
    files
        .iter()
        .map(String::as_str)
        .filter(|path| is_projector(path) && is_at_or_above(folder_of(path), folder))
        .min_by_key(|path| {
            let label = quant_label(path).unwrap_or_default();
            let rank = PROJECTOR_QUANTS.iter().position(|quant| *quant == label);
            let depth = folder_of(path).len();
            (
                Reverse(depth),
                rank.unwrap_or(PROJECTOR_QUANTS.len()),
                *path,
            )
        })
}

/// All parts of a split model in order, or the one file; an error is the name of a part that is not
/// among `files`.
pub(super) fn parts(files: &[String], text: &str) -> Result<Vec<String>, String> {
    let Some((prefix, _, count)) = part_of(text) else {
        return Ok(vec![text.to_owned()]);
    };
    let ending = &text[text.len() - ".gguf".len()..];
    (1..=count)
        .map(|number| {
            let name = format!("{prefix}-{number:05}-of-{count:05}{ending}");
            match files.contains(&name) {
                true => Ok(name),
                false => Err(name),
            }
        })
        .collect()
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_at_or_above(folder: &str, other: &str) -> bool {
    let below = || other.strip_prefix(folder);
    folder.is_empty() || below().is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_projector_of_the_deepest_folder_comes_first_then_f16() {
        let all = files(&[
            "Q4/a-Q4_K_M.gguf",
            "mmproj-BF16.gguf",
            "mmproj-F16.gguf",
            "Q8/mmproj-F16.gguf",
        ]);
        assert_eq!(projector(&all, "Q4/a-Q4_K_M.gguf"), Some("mmproj-F16.gguf"));
        let deeper = files(&["mmproj-F16.gguf", "Q4/mmproj-Q8_0.gguf"]);
        assert_eq!(
            projector(&deeper, "Q4/a-Q4_K_M.gguf"),
            Some("Q4/mmproj-Q8_0.gguf")
        );
        assert_eq!(projector(&deeper[1..], "Q4x/a.gguf"), None);
    }

    #[test]
    fn all_parts_of_a_split_model_are_named_or_the_missing_one() {
        let mut all = files(&["a-00001-of-00003.gguf", "a-00002-of-00003.gguf"]);
        let missing = "a-00003-of-00003.gguf".to_owned();
        assert_eq!(parts(&all, &all[0]), Err(missing.clone()));
        all.push(missing);
        assert_eq!(parts(&all, &all[0]), Ok(all.clone()));
        assert_eq!(parts(&all, "b.gguf"), Ok(files(&["b.gguf"])));
    }
}

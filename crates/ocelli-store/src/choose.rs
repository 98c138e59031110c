//! Which files of a repository are meant: pure decisions on lists of paths, for caches on disk and
//! for the hub alike.

use crate::search::part_of;

/// What is taken when no quantisation is named, best first.
const DEFAULT_QUANTS: [&str; 2] = ["Q4_K_M", "Q8_0"];
/// Marks in the names of files that are no models by themselves: projectors, statistics, drafts for
/// speculation.
const NO_MODEL: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// Paths of text models, best first: those of `quant`, or, without one, all by preference. Of split
/// models the first part.
///
/// Paths are relative, with `/`.
pub(crate) fn texts<'a>(files: &'a [String], quant: Option<&str>) -> Vec<&'a str> {
    let mut models: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|path| is_text(path) && quant.is_none_or(|quant| has_quant(path, quant)))
        .collect();
    models.sort_by_cached_key(|path| {
        let preferred = DEFAULT_QUANTS
            .iter()
            .position(|quant| has_quant(path, quant));
        // `UD-Q4_K_M` is another mix than `Q4_K_M`; who wants it names it.
        let is_other_mix = quant_label(path).is_some_and(|label| label.starts_with("UD-"));
        let rank = preferred.unwrap_or(DEFAULT_QUANTS.len());
        (rank, is_other_mix, path.to_string())
    });
    models
}

/// True for GGUF files whose name says nothing against a text model; of split ones for the first part.
pub(crate) fn is_text(path: &str) -> bool {
    let name = file_of(path).to_ascii_lowercase();
    let is_later_part = part_of(path).is_some_and(|(_, number, _)| number != 1);
    is_gguf(path) && !is_later_part && !NO_MODEL.iter().any(|mark| name.contains(mark))
}

/// True for GGUF files that are projectors by their name.
pub(crate) fn is_projector(path: &str) -> bool {
    is_gguf(path) && file_of(path).to_ascii_lowercase().contains("mmproj")
}

/// The quantisation that a file's name ends with, in upper case: `Q4_K_M`, `UD-Q4_K_XL`, `BF16`.
pub(crate) fn quant_label(path: &str) -> Option<String> {
    let stem = match part_of(path) {
        Some((prefix, _, _)) => prefix,
        None => path.get(..path.len().checked_sub(".gguf".len())?)?,
    };
    let stem = file_of(stem).to_ascii_uppercase();
    let words: Vec<&str> = stem.split(['-', '.']).collect();
    for (at, word) in words.iter().enumerate().rev() {
        // `model_Q4_K_M`: the label may begin after any underscore.
        let starts = std::iter::once(0).chain(word.match_indices('_').map(|(at, _)| at + 1));
        for label in starts.map(|start| &word[start..]) {
            if is_quant(label) {
                let is_dynamic = at > 0 && words[at - 1] == "UD";
                let prefix = if is_dynamic { "UD-" } else { "" };
                return Some(format!("{prefix}{label}"));
            }
        }
    }
    None
}

/// True when a path names the quantisation, as a whole word, in upper or lower case.
fn has_quant(path: &str, quant: &str) -> bool {
    let (path, quant) = (path.to_ascii_lowercase(), quant.to_ascii_lowercase());
    path.match_indices(&quant).any(|(at, _)| {
        let before = path[..at].chars().next_back();
        let after = path[at + quant.len()..].chars().next();
        // `F16` is not in `BF16`.
        !before.is_some_and(char::is_alphanumeric) && matches!(after, Some('.' | '-' | '/'))
    })
}

/// `Q4_K_M`, `IQ4_XS`, `F16`, ...; the text is in upper case.
fn is_quant(label: &str) -> bool {
    if matches!(label, "BF16" | "F16" | "F32" | "FP16") || label.starts_with("MXFP") {
        return true;
    }
    let rest = ["IQ", "TQ", "Q"]
        .iter()
        .find_map(|kind| label.strip_prefix(kind));
    rest.is_some_and(|rest| {
        let bits = rest.split('_').next().unwrap_or_default();
        matches!(bits.as_bytes(), [b'1'..=b'8'])
    })
}

fn is_gguf(path: &str) -> bool {
    path.len() > ".gguf".len() && path.to_ascii_lowercase().ends_with(".gguf")
}

fn file_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, file)| file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn without_a_quantisation_q4_k_m_then_q8_0_then_the_first_is_taken() {
        let mut all = files(&[
            "a-BF16.gguf",
            "a-Q8_0.gguf",
            "UD-Q4_K_M/a-UD-Q4_K_M.gguf",
            "a-Q4_K_M.gguf",
            "mmproj-Q4_K_M.gguf",
            "a.imatrix.gguf",
            "README.md",
        ]);
        let mut taken = Vec::new();
        while let Some(first) = texts(&all, None).first().map(|path| path.to_string()) {
            all.retain(|path| *path != first);
            taken.push(first);
        }
        assert_eq!(
            taken,
            [
                "a-Q4_K_M.gguf",
                "UD-Q4_K_M/a-UD-Q4_K_M.gguf",
                "a-Q8_0.gguf",
                "a-BF16.gguf"
            ]
        );
    }

    #[test]
    fn a_quantisation_is_a_whole_word_in_any_case() {
        let all = files(&[
            "a-BF16.gguf",
            "a-f16.gguf",
            "b_q4_0.gguf",
            "Q6_K/a-00002-of-00002.gguf",
            "Q6_K/a-00001-of-00002.gguf",
        ]);
        assert_eq!(texts(&all, Some("F16")), ["a-f16.gguf"]);
        assert_eq!(texts(&all, Some("Q4_0")), ["b_q4_0.gguf"]);
        assert_eq!(texts(&all, Some("q6_k")), ["Q6_K/a-00001-of-00002.gguf"]);
        assert_eq!(texts(&all, Some("Q4")), [""; 0]);
    }

    #[test]
    fn labels_are_read_from_the_names_people_give() {
        for (name, label) in [
            ("Qwen3-VL-8B-Instruct-Q4_K_M.gguf", Some("Q4_K_M")),
            ("x-UD-Q4_K_XL-00001-of-00002.gguf", Some("UD-Q4_K_XL")),
            ("gemma-3-4b-it.IQ4_XS.gguf", Some("IQ4_XS")),
            ("model_q8_0.gguf", Some("Q8_0")),
            ("mmproj-model-f16.gguf", Some("F16")),
            ("gpt-oss-mxfp4.gguf", Some("MXFP4")),
            ("Qwen2.5-VL.gguf", None),
            (".gguf", None),
        ] {
            assert_eq!(quant_label(name).as_deref(), label, "{name}");
        }
    }
}

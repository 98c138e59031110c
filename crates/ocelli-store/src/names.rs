//! How alike the names of two files are. Names never decide whether files fit, only which of
//! several is taken.

use std::collections::BTreeSet;
use std::path::Path;

/// Words that say what kind of file it is, not which model.
const KIND_WORDS: [&str; 18] = [
    "mmproj",
    "projector",
    "clip",
    "vision",
    "encoder",
    "model",
    "ggml",
    "gguf",
    "text",
    "f16",
    "bf16",
    "f32",
    "fp16",
    "xs",
    "xxs",
    "nl",
    "xl",
    "ud",
];

/// Share of words that two models' names have in common, 0 to 100: the better of their stated
/// names and of their file names.
pub(crate) fn likeness(a: (&Path, Option<&str>), b: (&Path, Option<&str>)) -> u32 {
    let files = overlap(&words(&stem(a.0)), &words(&stem(b.0)));
    let stated = match (a.1, b.1) {
        (Some(a), Some(b)) => overlap(&words(a), &words(b)),
        _ => 0,
    };
    files.max(stated)
}

/// The file name of a path, for messages.
pub(crate) fn file_name(path: &Path) -> String {
    match path.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => path.display().to_string(),
    }
}

/// The first few of a list, so that a large folder still gives one readable line.
pub(crate) fn some_of(mut items: Vec<String>) -> String {
    const SHOWN: usize = 8;
    let more = items.len().saturating_sub(SHOWN);
    items.truncate(SHOWN);
    if more > 0 {
        items.push(format!("and {more} more"));
    }
    items.join(", ")
}

/// True when a file's name claims to be a projector's.
pub(crate) fn sounds_like_projector(path: &Path) -> bool {
    let name = file_name(path).to_lowercase();
    ["mmproj", "projector", "vision", "clip"]
        .iter()
        .any(|word| name.contains(word))
}

/// Position among the types of projector weights, best first: F16 is what most were published and tried in.
pub(crate) fn type_rank(element_type: &str) -> usize {
    const ORDER: [&str; 4] = ["F16", "BF16", "F32", "Q8_0"];
    ORDER
        .iter()
        .position(|ty| *ty == element_type)
        .unwrap_or(ORDER.len())
}

/// Position of a text model among its quantisations by its file name, best first.
pub(crate) fn quantisation_rank(path: &Path) -> usize {
    const ORDER: [&str; 8] = [
        "Q4_K_M", "Q8_0", "Q4_K_S", "Q5_K_M", "Q6_K", "Q4_0", "F16", "BF16",
    ];
    let name = file_name(path).to_uppercase().replace('-', ".");
    let has_type = |ty: &&str| name.ends_with(&format!(".{ty}.GGUF"));
    ORDER.iter().position(has_type).unwrap_or(ORDER.len())
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn words(name: &str) -> BTreeSet<String> {
    name.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| {
            !word.is_empty() && !KIND_WORDS.contains(word) && !is_quantisation_part(word)
        })
        .map(str::to_owned)
        .collect()
}

/// `Q4_K_M` falls apart into `q4`, `k`, `m`.
fn is_quantisation_part(word: &str) -> bool {
    let digits = word.strip_prefix("iq").or_else(|| word.strip_prefix('q'));
    let quant =
        digits.is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()));
    quant || word.chars().count() == 1
}

/// Words in common in percent of all words of both.
fn overlap(a: &BTreeSet<String>, b: &BTreeSet<String>) -> u32 {
    let common = a.intersection(b).count();
    let all = a.union(b).count();
    // At most 100, so that it fits.
    (common * 100).checked_div(all).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_files(a: &str, b: &str) -> u32 {
        likeness((Path::new(a), None), (Path::new(b), None))
    }

    #[test]
    fn the_same_model_in_other_types_is_alike() {
        assert_eq!(
            of_files(
                "Qwen3-VL-8B-Instruct-Q4_K_M.gguf",
                "mmproj-Qwen3-VL-8B-Instruct-F16.gguf"
            ),
            100
        );
        assert_eq!(
            of_files("gemma-3-4b-it-IQ4_XS.gguf", "gemma-3-4b-it.mmproj-f16.gguf"),
            100
        );
    }

    #[test]
    fn a_sibling_is_less_alike_than_the_model_itself() {
        let model = "Qwen3-VL-8B-Thinking-Q8_0.gguf";
        let own = of_files(model, "mmproj-Qwen3-VL-8B-Thinking-F16.gguf");
        let sibling = of_files(model, "mmproj-Qwen3-VL-8B-Instruct-F16.gguf");
        assert!(own > sibling && sibling > 0, "{own} {sibling}");
    }

    #[test]
    fn stated_names_help_files_without_telling_names() {
        let a = (Path::new("model.gguf"), Some("Qwen2.5 VL 7B Instruct"));
        let b = (Path::new("mmproj-F16.gguf"), Some("Qwen2.5 VL 7B Instruct"));
        assert_eq!(likeness(a, b), 100);
        assert_eq!(of_files("model.gguf", "mmproj-F16.gguf"), 0);
    }

    #[test]
    fn types_are_compared_as_whole_words() {
        assert!(type_rank("F16") < type_rank("BF16"));
        assert!(type_rank("Q8_0") < type_rank("Q4_0"));
        let rank = |name: &str| quantisation_rank(Path::new(name));
        assert!(rank("a-Q4_K_M.gguf") < rank("a-Q8_0.gguf"));
        assert!(rank("a-F16.gguf") < rank("a-BF16.gguf"));
        assert!(rank("a.gguf") > rank("a.bf16.gguf"));
    }
}

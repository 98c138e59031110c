//! The rule that cuts text before merging: its name in GGUF, by all steps of tokenizer.json.

use serde_json::Value;

use super::MAIN;
use crate::Error;

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// What `ByteLevel` does with `use_regex`.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// What `Digits` does with `individual_digits`, and without.
const DIGIT: &str = r"\p{N}";
const NUMBER: &str = r"\p{N}+";

const RULES: [(&str, &[&str]); 9] = [
    ("qwen2", &[QWEN2]),
    ("llama-bpe", &[LLAMA3]),
    ("tekken", &[TEKKEN]),
    ("qwen35", &[QWEN35]),
    ("gpt-2", &[GPT2]),
    ("smollm", &[DIGIT, GPT2]),
    ("seed-coder", &[SEED_CODER]),
    (
        "deepseek-coder",
        &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-\u{d7ff}]+",
            DIGIT,
        ],
    ),
    (
        "deepseek-v3",
        &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK],
    ),
];

/// The name of the rule with exactly these steps: one that is left out would cut text in other places.
pub(super) fn pre_name(pre_tokenizer: &Value) -> Result<&'static str, Error> {
    let steps = match pre_tokenizer.get("pretokenizers") {
        Some(Value::Array(steps)) => steps.as_slice(),
        _ => std::slice::from_ref(pre_tokenizer),
    };
    let mut found = Vec::new();
    for step in steps {
        found.extend(expression(step)?);
    }
    let is_found = |(_, rule): &&(&str, &[&str])| rule.iter().eq(found.iter());
    match RULES.iter().find(is_found) {
        Some((name, _)) => Ok(name),
        None => Err(unsupported(format!(
            "the cutting rule {}",
            found.join(", then ")
        ))),
    }
}

/// The expression whose matches a step cuts out; none for the step that only writes bytes as text.
fn expression(step: &Value) -> Result<Option<String>, Error> {
    let says = |key: &str| step.get(key).and_then(Value::as_bool);
    let unknown = || {
        let step: String = step.to_string().chars().take(300).collect();
        unsupported(format!("the cutting step {step}"))
    };
    let expression = match step.get("type").and_then(Value::as_str) {
        Some("Split") => {
            let isolates = step.get("behavior").is_some_and(|how| how == "Isolated");
            let regex = step.pointer("/pattern/Regex").and_then(Value::as_str);
            let regex = regex.filter(|_| isolates && says("invert") != Some(true));
            // Some files have the characters themselves.
            let regex = regex.ok_or_else(unknown)?.replace('\r', r"\r");
            regex.replace('\n', r"\n")
        }
        Some("Digits") if says("individual_digits") == Some(true) => DIGIT.to_owned(),
        Some("Digits") => NUMBER.to_owned(),
        Some("ByteLevel") if says("add_prefix_space") == Some(true) => return Err(unknown()),
        Some("ByteLevel") if says("use_regex") == Some(false) => return Ok(None),
        Some("ByteLevel") => GPT2.to_owned(),
        _ => return Err(unknown()),
    };
    Ok(Some(expression))
}

fn unsupported(found: String) -> Error {
    let known: Vec<&str> = RULES.iter().map(|(name, _)| *name).collect();
    Error::Unsupported {
        what: MAIN.to_owned(),
        found,
        need: format!("that of one of {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(regex: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn sequence(steps: Vec<Value>) -> Value {
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    fn byte_level(use_regex: bool) -> Value {
        json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": use_regex})
    }

    #[test]
    fn a_rule_is_known_by_all_of_its_steps() {
        let digits = || json!({"type": "Digits", "individual_digits": true});
        for (steps, name) in [
            (vec![split(QWEN2), byte_level(false)], "qwen2"),
            (vec![byte_level(true)], "gpt-2"),
            (vec![digits(), byte_level(true)], "smollm"),
            (
                vec![
                    split("[\r\n]"),
                    split(r"\s?\p{L}+"),
                    split(r"\s?\p{P}+"),
                    split("[一-龥ࠀ-一가-\u{d7ff}]+"),
                    digits(),
                    byte_level(false),
                ],
                "deepseek-coder",
            ),
            (
                vec![
                    split(r"\p{N}{1,3}"),
                    split("[一-龥\u{3040}-ゟ゠-ヿ]+"),
                    split(&DEEPSEEK.replace(r"\r", "\r").replace(r"\n", "\n")),
                    byte_level(false),
                ],
                "deepseek-v3",
            ),
        ] {
            assert_eq!(pre_name(&sequence(steps)).unwrap(), name);
        }
        assert_eq!(pre_name(&split(LLAMA3)).unwrap(), "llama-bpe");
    }

    #[test]
    fn a_rule_with_a_step_more_or_another_way_to_cut_is_refused() {
        let mut merged = split(QWEN2);
        merged["behavior"] = json!("MergedWithPrevious");
        let mut inverted = split(QWEN2);
        inverted["invert"] = json!(true);
        let prefixed = json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true});
        for (steps, expected) in [
            (vec![split(QWEN2), byte_level(true)], "then 's|'t"),
            (vec![json!({"type": "Digits"}), split(QWEN2)], "then (?i"),
            (vec![merged], "MergedWithPrevious"),
            (vec![inverted], "\"invert\":true"),
            (vec![prefixed], "add_prefix_space"),
            (vec![json!({"type": "Whitespace"})], "Whitespace"),
            (vec![], "the cutting rule"),
        ] {
            let error = pre_name(&sequence(steps)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_name_is_known_to_the_tokenizer_that_reads_the_file() {
        for (name, _) in RULES {
            assert!(ocelli_text::PreTokenizer::named(name).is_ok(), "{name}");
        }
    }
}

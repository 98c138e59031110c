//! A byte-level vocabulary of a real one's size, so that loading costs what it costs: every pair
//! and then triples of bytes, with a merge for each, and the special tokens of the Qwen vocabulary
//! in their places.

use ocelli_gguf::{Array, Value};
use ocelli_text::char_of_byte;

use super::shape::Family;

/// Special tokens in their order, after the ordinary ones.
const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// Ordinary tokens of the real vocabularies.
const ORDINARY: usize = 151_643;

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// Tokens around a picture, and what a template writes for one.
fn picture(family: Family) -> (&'static [&'static str], &'static str) {
    match family {
        Family::Gemma3 => (&["<start_of_image>", "<end_of_image>"], "<start_of_image>"),
        Family::Mistral3 | Family::Pixtral => (&["[IMG]", "[IMG_BREAK]", "[IMG_END]"], "[IMG]"),
        Family::Llava | Family::LlavaNext => (&[], "<image>"),
        _ => (&[], "<|vision_start|><|image_pad|><|vision_end|>"),
    }
}

fn template(picture: &str) -> String {
    [
        "{% for message in messages %}<|im_start|>{{ message.role }}\n",
        "{% if message.content is string %}{{ message.content }}{% else %}",
        "{% for part in message.content %}{% if part.type == 'image' %}",
        picture,
        "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}",
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ]
    .concat()
}

/// The `tokenizer.*` entries for an embedding of `rows` rows, at least 512. Every family gets this
/// kind of vocabulary.
pub(super) fn metadata(rows: usize, family: Family) -> Vec<(String, Value)> {
    let (marks, picture) = picture(family);
    let free = rows - 2 * SPECIAL.len() - marks.len();
    let ordinary = match family.is_still() {
        true => free,
        false => ORDINARY.min(free),
    };
    let bytes: Vec<String> = (0..=255).map(|b| char_of_byte(b).to_string()).collect();
    let mut tokens = bytes.clone();
    let mut merges = Vec::with_capacity(ordinary - tokens.len());
    // Pairs of bytes first, then each pair with a byte behind it: a token's first part is always an
    // earlier token.
    for index in 0..ordinary - bytes.len() {
        let (left, right) = (tokens[index / 256].clone(), &bytes[index % 256]);
        merges.push(format!("{left} {right}"));
        tokens.push(left + right);
    }
    let mut kinds = vec![NORMAL; ordinary];
    for token in SPECIAL.iter().chain(marks) {
        tokens.push((*token).to_owned());
        kinds.push(CONTROL);
    }
    for id in tokens.len()..rows {
        tokens.push(format!("[PAD{id}]"));
        kinds.push(UNUSED);
    }
    let id = |token: usize| Value::U32((ordinary + token) as u32);
    let strings = |list: &[String]| Value::Array(Array::String(list.iter().collect()));
    [
        ("model", Value::from("gpt2")),
        ("pre", "qwen2".into()),
        ("tokens", strings(&tokens)),
        ("token_type", Value::Array(Array::I32(kinds))),
        ("merges", strings(&merges)),
        ("eos_token_id", id(2)),
        ("padding_token_id", id(0)),
        ("bos_token_id", id(0)),
        ("add_bos_token", Value::Bool(false)),
    ]
    .into_iter()
    .map(|(key, value)| (format!("tokenizer.ggml.{key}"), value))
    .chain([(
        "tokenizer.chat_template".to_owned(),
        template(picture).into(),
    )])
    .collect()
}

//! What is asked: pictures of one colour each with a question each, so that an answer that belongs
//! to somebody else shows.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::client::{Patience, ask};

/// Pictures and questions.
const PICTURES: u32 = 16;
const QUESTIONS: [&str; 4] = [
    "What is in this picture?",
    "What colour is it?",
    "How many things are there?",
    "Describe the picture.",
];

/// A request and the answer that it gets alone.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) body: Value,
    pub(super) alone: String,
}

/// All cases, each asked alone.
pub(super) fn all(address: SocketAddr) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for number in 0..PICTURES {
        for question in QUESTIONS {
            let body = body(question, &picture(number));
            let answer = ask(address, &body, Patience::Whole);
            let Ok(answer) = answer else {
                anyhow::bail!("a request alone had no answer: {answer:?}");
            };
            ensure!(
                answer.status == 200,
                "a request alone had status {}",
                answer.status
            );
            cases.push(Case {
                body,
                alone: answer.text,
            });
        }
    }
    Ok(cases)
}

fn body(question: &str, picture: &[u8]) -> Value {
    let url = format!("data:image/bmp;base64,{}", base64(picture));
    json!({"model": "ocelli-demo", "stream": true, "max_tokens": 32, "temperature": 0, "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": question},
            {"type": "image_url", "image_url": {"url": url}},
        ]},
    ]})
}

/// A BMP file: a square of one colour on another.
pub(super) fn picture(number: u32) -> Vec<u8> {
    const SIDE: u32 = 96;
    let mut file = b"BM".to_vec();
    let bytes = SIDE * SIDE * 3;
    for value in [54 + bytes, 0, 54, 40, SIDE, SIDE] {
        file.extend(value.to_le_bytes());
    }
    file.extend(1_u16.to_le_bytes());
    file.extend(24_u16.to_le_bytes());
    for value in [0, bytes, 2835, 2835, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    let colour = number.wrapping_mul(0x9e_37_79_b1).to_le_bytes();
    let size = 16 + number * 4;
    for y in 0..SIDE {
        for x in 0..SIDE {
            let is_inside = x.max(y) < size;
            file.extend(if is_inside {
                [colour[0], colour[1], colour[2]]
            } else {
                [230; 3]
            });
        }
    }
    file
}

/// Base64 with padding (RFC 4648).
pub(super) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * place)) as usize & 63];
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded_as_the_standard_says() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn pictures_differ_and_are_as_long_as_they_say() {
        assert_ne!(picture(1), picture(2));
        assert_eq!(picture(0).len(), 54 + 96 * 96 * 3);
    }
}

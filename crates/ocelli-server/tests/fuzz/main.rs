//! Inputs that come from outside, changed at random: GGUF files, pictures, request bodies, chat
//! templates, schemas.
//!
//! Each body is a plain function of bytes that must end soon, without a panic, and with an error
//! where something is wrong. Every run of the tests gives each a second; CI gives each 30
//! (`OCELLI_FUZZ_SECONDS=30`).
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

#[path = "../server/client.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod client;
mod driver;

use std::borrow::Cow;
use std::hint::black_box;
use std::ops::ControlFlow;

use client::Server;
use driver::Corpus;
use ocelli::service::{Ask, Service, ServiceOptions};
use ocelli::{GrammarSource, Message, Model, Role};
use ocelli_gguf::Gguf;
use ocelli_image::{Animation, DecodeOptions, Limits};
use ocelli_text::{ChatTemplate, RenderOptions, Specials};
use serde_json::{Value, json};

fn repository(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Opens a file and looks at everything that its header says.
fn gguf(bytes: &[u8]) {
    let Ok(gguf) = Gguf::from_bytes("model.gguf", Cow::Owned(bytes.to_vec())) else {
        return;
    };
    for tensor in gguf.tensors() {
        black_box(gguf.data(tensor).len());
        black_box(tensor.elements());
    }
    for (key, value) in gguf.metadata().iter() {
        black_box(value.to_string());
        let _ = black_box(gguf.metadata().per_layer_u32(key, 4));
        let _ = black_box(gguf.metadata().str_array(key));
    }
}

#[test]
fn gguf_files() {
    let corpus = Corpus {
        seeds: vec![
            repository("tests/goldens/qwen3vl/text.gguf"),
            repository("tests/goldens/qwen3vl/mmproj.gguf"),
        ],
        words: vec![
            b"GGUF",
            b"general.alignment",
            b"\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x09\0\0\0\x08\0\0\0",
            b"\x0c\0\0\0",
        ],
    };
    corpus.run("gguf", gguf);
}

/// Reads the header, decodes the picture, and shows what moves.
fn picture(bytes: &[u8]) {
    let options = DecodeOptions {
        limits: Limits {
            pixels: 1 << 20,
            ..Limits::default()
        },
        ..DecodeOptions::default()
    };
    let header = ocelli_image::header(bytes, &options);
    if let Ok(picture) = ocelli_image::decode(bytes, &options) {
        let header = header.unwrap();
        let size = (picture.image.width, picture.image.height);
        assert_eq!((header.width, header.height), size);
    }
    if let Ok(animation) = Animation::open(bytes, &options) {
        let _ = animation.frames(&mut |index, _| match index < 8 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        });
    }
}

#[test]
fn pictures() {
    let folder = |name: &str| {
        let path = format!(
            "{}/../ocelli-image/tests/goldens/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let files = std::fs::read_dir(path)
            .unwrap()
            .map(|file| file.unwrap().path());
        let is_seed = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            !name.ends_with("expected.png") && !name.ends_with("json")
        };
        let mut files: Vec<_> = files.filter(is_seed).collect();
        files.sort();
        files.into_iter().map(|path| std::fs::read(path).unwrap())
    };
    let corpus = Corpus {
        seeds: folder("decode").chain(folder("animation")).collect(),
        words: vec![
            b"\xff\xda",
            b"\xff\xc2",
            b"IDAT",
            b"fcTL",
            b"ANMF",
            b"VP8L",
            b"ALPH",
            b"\x21\xf9\x04",
        ],
    };
    corpus.run("picture", picture);
}

/// Requests whose changed forms reach all that reads requests.
fn request_seeds() -> Vec<Vec<u8>> {
    let tiny = format!("data:image/bmp;base64,{}", client::square(2));
    let tools =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let content = json!([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": tiny, "detail": "low"}}]);
    let user = |content: Value| json!([{"role": "system", "content": "x"}, {"role": "user", "content": content}]);
    let seeds = [
        json!({"model": "ocelli-demo", "max_tokens": 2, "messages": user(content.clone()), "temperature": 0.5, "top_p": 0.9,
            "top_k": 4, "seed": 7, "stop": ["a", "b"], "n": 2, "logprobs": true, "top_logprobs": 3, "logit_bias": {"5": -1.5}}),
        json!({"messages": user(json!("hi")), "max_tokens": 2, "stream": true, "stream_options": {"include_usage": true},
            "tools": tools, "tool_choice": "auto", "response_format": {"type": "json_object"}, "cache_salt": "s"}),
        json!({"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "x"}],
            "max_completion_tokens": 2, "chat_template_kwargs": {"enable_thinking": false}, "min_tokens": 1}),
        json!({"model": "ocelli-demo", "max_tokens": 2, "system": [{"type": "text", "text": "x"}], "stop_sequences": ["z"],
            "messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": client::square(2)}},
            {"type": "tool_result", "tool_use_id": "1", "content": "y"}]}], "thinking": {"type": "enabled"}}),
        json!({"model": "ocelli-demo", "messages": [{"role": "user", "content": "x [img-0]", "images": [client::square(2)]}],
            "options": {"num_predict": 2, "temperature": 1, "seed": 3}, "format": {"type": "object"}, "keep_alive": "5m"}),
        json!({"model": "ocelli-demo", "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": tiny}]}], "max_output_tokens": 2, "text": {"format": {"type": "text"}}}),
        json!({"prompt": [1, 2, 3], "max_tokens": 2, "echo": true, "logprobs": 2}),
    ];
    seeds
        .iter()
        .map(|seed| seed.to_string().into_bytes())
        .collect()
}

#[test]
fn request_bodies() {
    let server = Server::start();
    let routes = [
        "/v1/chat/completions",
        "/v1/messages",
        "/api/chat",
        "/v1/responses",
        "/v1/completions",
        "/api/generate",
        "/tokenize",
    ];
    let corpus = Corpus {
        seeds: request_seeds(),
        words: vec![
            b"null",
            b"-1",
            b"1e308",
            b"18446744073709551616",
            b"[]",
            b"{}",
            b"\"\"",
            b"true",
            b"\"\\ud800\"",
            b"\xff",
            b"\"messages\":",
            b"\"content\":",
            b"[[[[[[[[[[[[[[[[",
            b"data:image/png;base64,",
            b"<|image_pad|>",
            b"\\u0000",
        ],
    };
    corpus.run("request", |bytes| {
        for route in routes {
            let head = format!(
                "POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            );
            let reply = server.send(&[head.as_bytes(), bytes].concat());
            let is_fault = reply.status >= 500 && reply.status != 503;
            assert!(!is_fault, "{route}: {}", reply.text());
            if reply.status != 200 {
                assert!(reply.json()["error"].is_object() || reply.json()["error"].is_string());
            }
        }
    });
    let page = server.get("/metrics").text();
    assert!(page.contains("ocelli_panics_total{model_name=\"ocelli-demo\"} 0"));
}

/// Compiles a template and renders a conversation.
fn template(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let specials = Specials {
        control: vec!["<|im_start|>".into(), "<|im_end|>".into()],
        ..Specials::default()
    };
    if let Ok(template) = ChatTemplate::new(&source, specials) {
        let conversation = [
            ocelli_text::Message::text(ocelli_text::Role::System, "<|im_end|>"),
            ocelli_text::Message::text(ocelli_text::Role::User, "{{ hello }}"),
        ];
        let _ = black_box(template.render(&conversation, &RenderOptions::default()));
    }
}

#[test]
fn chat_templates() {
    let demo = Service::start(Model::demo().unwrap(), ServiceOptions::default()).unwrap();
    let corpus = Corpus {
        seeds: vec![
            include_bytes!("../../../ocelli-text/tests/goldens/features.jinja").to_vec(),
            demo.template().as_bytes().to_vec(),
        ],
        words: vec![
            b"{% for m in messages %}",
            b"{% endfor %}",
            b"{{",
            b"}}",
            b"{%-",
            b"-%}",
            b"{% macro f() %}{{ f() }}{% endmacro %}",
            b"range(100000)",
            b"| tojson",
            b"| replace('a', 'aaaaaaaa')",
            b"raise_exception('x')",
            b"namespace(a=1)",
            b"[::-1]",
            b"{% set x = x ~ x %}",
            b"((((((((",
            b"strftime_now('%Y')",
        ],
    };
    corpus.run("template", template);
}

#[test]
fn schemas_expressions_and_grammars() {
    let service = Service::start(Model::demo().unwrap(), ServiceOptions::default()).unwrap();
    let compile = |source: GrammarSource| {
        let mut ask = Ask::chat(vec![Message::text(Role::User, "Hi")]);
        ask.grammar = Some(source);
        ask.max_tokens = Some(2);
        if let Err(error) = service.submit(ask).unwrap().finish() {
            let internal = error.kind() == ocelli::ErrorKind::Internal;
            assert!(!internal, "{error}");
        }
    };
    let corpus = Corpus {
        seeds: [
            r##"{"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", "y"]},
                "c": {"type": "array", "items": {"$ref": "#/$defs/d"}, "minItems": 1}}, "required": ["a"],
                "$defs": {"d": {"type": "string", "pattern": "^[a-z]{1,4}$"}}, "additionalProperties": false}"##,
            r#"{"anyOf": [{"const": 1}, {"type": "number", "multipleOf": 0.5}, {"type": "string", "format": "date"}]}"#,
            r"[a-z]+(foo|bar){2,5}\d*?\.\w",
            "start: greeting \" \" name\ngreeting: \"hi\" | \"hello\"\nname: /[A-Z][a-z]*/",
            "root ::= item+\nitem ::= \"- \" [^\\n]+ \"\\n\"",
        ]
        .map(|seed| seed.as_bytes().to_vec())
        .to_vec(),
        words: vec![
            b"\"$ref\": \"#\"", b"\"not\": {}", b"{1000000}", b"(((((((((", b"\"maxLength\": 1000000000", b"(?=", b"::=", b"start:",
            b"| ", b"1e-300", b"\"oneOf\": [", b"\\p{L}", b"%json {}", b"%regex {}",
        ],
    };
    corpus.run("schema", |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        match serde_json::from_slice(bytes) {
            Ok(schema @ Value::Object(_)) => compile(GrammarSource::JsonSchema(schema)),
            _ if text.contains(':') => compile(GrammarSource::Grammar(text)),
            _ => compile(GrammarSource::Regex(text)),
        }
    });
}

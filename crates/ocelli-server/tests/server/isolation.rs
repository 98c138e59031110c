//! Faults over HTTP: a step, a template or a tokenizer that panics, numbers that are not finite, an
//! engine that stands still. Each costs the request that has it and no other.

use std::sync::Arc;
use std::time::Duration;

use ocelli::{OwnBackend, Part, Witness, Work};
use ocelli_cpu::{CpuBackend, CpuOptions};
use serde_json::{Value, json};

use crate::client::{CHAT, Server, picture_chat, text_chat};
use crate::faulty::{Fault, Faulty, Harm};

/// A sign that no other request of these tests has.
const SIGN: &str = "^";

/// A server whose backend can be made to fail.
fn faulty(lost_time: Duration) -> (Server, Arc<Faulty>) {
    let options = CpuOptions {
        threads: Some(2),
        ..CpuOptions::default()
    };
    let backend = Arc::new(Faulty::new(CpuBackend::new(&options).unwrap()));
    let own = OwnBackend(backend.clone());
    let server = Server::with(|setup| {
        setup.backend = Some(own);
        setup.settings.limits.stuck_time = lost_time / 2;
        setup.settings.limits.lost_time = lost_time;
    });
    (server, backend)
}

/// The token of [`SIGN`].
fn token(server: &Server) -> u32 {
    let answer = server.post("/tokenize", &json!({"content": SIGN})).ok();
    let tokens = answer["tokens"].as_array().unwrap().clone();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    u32::try_from(tokens[0].as_u64().unwrap()).unwrap()
}

fn bad() -> Value {
    text_chat(&format!("Where is the {SIGN} sign?"))
}

/// Sends a request that fails among eight good ones, and gives its answer.
fn among_others(server: &Server, bad: &Value, expected: &Value) -> crate::client::Reply {
    std::thread::scope(|scope| {
        let good = || server.post(CHAT, &picture_chat("What is it?")).ok();
        let others: Vec<_> = (0..8).map(|_| scope.spawn(good)).collect();
        let reply = server.post(CHAT, bad);
        for other in others {
            assert_eq!(other.join().unwrap()["choices"], expected["choices"]);
        }
        reply
    })
}

#[test]
fn a_step_that_fails_ends_one_request_with_500_and_the_next_is_answered() {
    let (server, backend) = faulty(Duration::from_secs(60));
    let token = token(&server);
    let expected = server.post(CHAT, &picture_chat("What is it?")).ok();
    let alone = server.post(CHAT, &bad()).ok();
    for (harm, code) in [
        (Harm::Panic, "internal_error"),
        (Harm::NotFinite, "numerical_error"),
    ] {
        backend.set(Some(Fault::Token(token, harm)));
        // Another prompt: the first one's pages are kept.
        let mut other = bad();
        other["cache_salt"] = json!(code);
        let reply = among_others(&server, &other, &expected);
        assert_eq!(reply.status, 500, "{}", reply.text());
        assert_eq!(reply.json()["error"]["code"], code);
        let mut streamed = other.clone();
        streamed["stream"] = json!(true);
        let reply = among_others(&server, &streamed, &expected);
        assert!(reply.text().contains(code), "{}", reply.text());
        backend.set(None);
        let again = server.post(CHAT, &other).ok();
        assert_eq!(again["choices"], alone["choices"]);
    }
    backend.set(Some(Fault::RoundedToken(token)));
    let mut other = bad();
    other["cache_salt"] = json!("rounded");
    let reply = among_others(&server, &other, &expected);
    assert_eq!(reply.status, 200, "{}", reply.text());
    // Those that failed by their numbers were repeated too.
    server.wait_for("ocelli_requests_repeated_total{", 3.0);
    server.wait_for("ocelli_panics_total{", 2.0);
    server.wait_for("ocelli_requests_running{", 0.0);
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn a_picture_whose_encoding_panics_costs_its_own_request() {
    let (server, backend) = faulty(Duration::from_secs(60));
    let expected = server.post(CHAT, &picture_chat("What is it?")).ok();
    let seen = &expected["usage"]["images"][0];
    // Each side is a multiple of a patch.
    let bad = picture_of(&server, 40);
    assert_ne!(seen["resized_width"], bad.1["resized_width"]);
    let patches = bad.1["tokens"].as_u64().unwrap() as usize * 4;
    backend.set(Some(Fault::Patches(patches, Harm::Panic)));
    let mut other = bad.0;
    other["cache_salt"] = json!("other");
    let reply = among_others(&server, &other, &expected);
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "internal_error");
    // What only rounding spoils is encoded once more without.
    backend.set(Some(Fault::Rounding(patches)));
    let reply = among_others(&server, &other, &expected);
    assert_eq!(reply.status, 200, "{}", reply.text());
    server.wait_for("ocelli_image_encodings_repeated_total{", 1.0);
}

/// A chat about a grey square, and what the model sees of it.
fn picture_of(server: &Server, side: u32) -> (Value, Value) {
    let mut chat = picture_chat("What is it?");
    let url = format!("data:image/bmp;base64,{}", crate::client::square(side));
    chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
    let answer = server.post(CHAT, &chat).ok();
    let seen = answer["usage"]["images"][0].clone();
    (chat, seen)
}

#[test]
fn an_engine_that_stands_still_is_not_ready_and_whoever_waits_is_told() {
    let (server, backend) = faulty(Duration::from_secs(2));
    let token = token(&server);
    assert_eq!(server.get("/livez").status, 200);
    backend.set(Some(Fault::Stuck(token)));
    let mut streamed = bad();
    streamed["stream"] = json!(true);
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| server.post(CHAT, &bad()));
        let reply = server.post(CHAT, &streamed);
        assert!(reply.text().contains("internal_error"), "{}", reply.text());
        let reply = stuck.join().unwrap();
        assert_eq!(reply.status, 500, "{}", reply.text());
    });
    for path in ["/readyz", "/health", "/livez"] {
        assert_eq!(server.get(path).status, 503, "{path}");
    }
    backend.set(None);
    server.wait_for("ocelli_requests_running{", 0.0);
    server.post(CHAT, &bad()).ok();
    for path in ["/readyz", "/health", "/livez"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

/// A server whose template or tokenizer panics at texts with [`SIGN`].
fn clumsy(fails: fn(Work<'_>) -> bool) -> Server {
    Server::with(|setup| {
        let watch = move |work: Work<'_>| assert!(!fails(work), "a fault, for tests");
        setup.witness = Some(Witness(Arc::new(watch)));
    })
}

fn renders_sign(work: Work<'_>) -> bool {
    let Work::Render(messages) = work else {
        return false;
    };
    let mut parts = messages.iter().flat_map(|message| &message.parts);
    parts.any(|part| matches!(part, Part::Text(text) if text.contains(SIGN)))
}

fn tokenizes_sign(work: Work<'_>) -> bool {
    matches!(work, Work::Tokenize(text) if text.contains(SIGN))
}

#[test]
fn a_template_or_tokenizer_that_panics_costs_its_own_request_in_every_api() {
    for fails in [renders_sign, tokenizes_sign] {
        let server = clumsy(fails);
        let expected = server.post(CHAT, &picture_chat("What is it?")).ok();
        let mut streamed = bad();
        streamed["stream"] = json!(true);
        let messages = bad()["messages"].clone();
        let ollama = json!({"model": "ocelli-demo", "messages": messages});
        let claude = json!({"model": "ocelli-demo", "max_tokens": 8, "messages": messages});
        let response = json!({"input": messages});
        let asked = [
            (CHAT, bad()),
            (CHAT, streamed),
            ("/v1/responses", response),
            ("/api/chat", ollama),
            ("/v1/messages", claude.clone()),
            ("/v1/messages/count_tokens", claude),
        ];
        for (path, body) in &asked {
            let reply = std::thread::scope(|scope| {
                let good = || server.post(CHAT, &picture_chat("What is it?")).ok();
                let others: Vec<_> = (0..3).map(|_| scope.spawn(good)).collect();
                let reply = server.post(path, body);
                for other in others {
                    assert_eq!(other.join().unwrap()["choices"], expected["choices"]);
                }
                reply
            });
            assert_eq!(reply.status, 500, "{path}: {}", reply.text());
            let text = reply.text();
            assert!(text.contains("internal error"), "{path}: {text}");
            assert!(
                !text.contains("for tests") && !text.contains(SIGN),
                "{path}: {text}"
            );
        }
        server.wait_for("ocelli_panics_total{", asked.len() as f64);
        server.wait_for("ocelli_requests_running{", 0.0);
        server.wait_for("ocelli_requests_waiting{", 0.0);
        assert_eq!(server.get("/readyz").status, 200);
        let again = server.post(CHAT, &picture_chat("What is it?")).ok();
        assert_eq!(again["choices"], expected["choices"]);
    }
}

#[test]
fn a_tokenizer_that_panics_fails_completions_and_the_routes_that_only_look() {
    let server = clumsy(tokenizes_sign);
    let text = format!("Where is the {SIGN} sign?");
    let bodies = [
        ("/v1/completions", json!({"prompt": text})),
        (
            "/v1/completions",
            json!({"prompt": ["A red", text, "A blue"]}),
        ),
        ("/tokenize", json!({"content": text})),
    ];
    for (path, body) in &bodies {
        let reply = server.post(path, body);
        assert_eq!(reply.status, 500, "{path}: {}", reply.text());
    }
    server.wait_for("ocelli_panics_total{", bodies.len() as f64);
    server.wait_for("ocelli_requests_running{", 0.0);
    server
        .post("/v1/completions", &json!({"prompt": "A red"}))
        .ok();
    server.post("/tokenize", &json!({"content": "A red"})).ok();
    drop(server);
    let server = clumsy(renders_sign);
    let reply = server.post("/apply-template", &bad());
    assert_eq!(reply.status, 500, "{}", reply.text());
    server.wait_for("ocelli_panics_total{", 1.0);
    server.post("/apply-template", &text_chat("Hello")).ok();
}

//! Clients of Ollama's API.

use serde_json::{Value, json};

use crate::client::{Reply, Server, capabilities, scene};

fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn chat() -> Value {
    json!({"model": "ocelli-demo", "options": {"num_predict": 12, "temperature": 0}, "messages": [
        {"role": "user", "content": "What is in this picture?", "images": [scene()]},
    ]})
}

#[test]
fn a_chat_streams_lines_by_default_and_ends_with_numbers() {
    let server = Server::start();
    let reply = server.post("/api/chat", &chat());
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    let lines = lines(&reply);
    let (last, before) = lines.split_last().unwrap();
    let text: String = before
        .iter()
        .filter_map(|l| l["message"]["content"].as_str())
        .collect();
    assert!(before.iter().all(|line| line["done"] == false));
    assert_eq!(last["done"], true);
    assert!(
        matches!(last["done_reason"].as_str(), Some("stop" | "length")),
        "{last}"
    );
    for name in [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ] {
        assert!(last[name].is_u64(), "{name}: {last}");
    }
    let mut whole = chat();
    whole["stream"] = json!(false);
    let whole = server.post("/api/chat", &whole).ok();
    assert_eq!(whole["message"]["content"], text);
    assert!(whole["images"][0]["tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_prompt_is_answered_with_and_without_the_template() {
    let server = Server::start();
    let mut body = json!({"model": "ocelli-demo:latest", "prompt": "What is [img-0]?", "images": [scene()],
        "stream": false, "options": {"num_predict": 8, "temperature": 0}});
    let answer = server.post("/api/generate", &body).ok();
    assert!(
        answer["response"].is_string() && answer["done"] == true,
        "{answer}"
    );
    body = json!({"model": "ocelli-demo", "prompt": "A red", "raw": true, "stream": false,
        "options": {"num_predict": 4}});
    assert!(server.post("/api/generate", &body).ok()["response"].is_string());
}

#[test]
fn clients_see_that_the_model_has_eyes() {
    let server = Server::start();
    let tags = server.get("/api/tags").ok();
    assert_eq!(tags["models"][0]["name"], "ocelli-demo");
    let details = &tags["models"][0]["details"];
    assert_eq!(details["family"], "qwen3vl", "{details}");
    assert_eq!(details["quantization_level"], "Q8_0", "{details}");
    assert_ne!(details["parameter_size"], "0.0M", "{details}");
    let modified = tags["models"][0]["modified_at"].as_str().unwrap();
    assert!(!modified.starts_with("1970"), "{modified}");
    let able = capabilities(&server);
    assert!(able.contains(&json!("vision")), "{able:?}");
    let shows_tools = able.contains(&json!("tools"));
    assert!(!shows_tools, "its template shows none: {able:?}");
    let running = server.get("/api/ps").ok();
    assert_eq!(running["models"][0]["context_length"], 2048);
    assert_eq!(server.get("/").text(), "Ollama is running");
    assert!(server.get("/api/version").ok()["version"].is_string());
}

#[test]
fn errors_have_the_shape_that_clients_know() {
    let server = Server::start();
    let missing = server.post(
        "/api/chat",
        &json!({"model": "nosuch", "messages": [{"role": "user", "content": "x"}]}),
    );
    assert_eq!(missing.status, 404);
    assert!(
        missing.json()["error"]
            .as_str()
            .unwrap()
            .contains("not found")
    );
    let mut bad = chat();
    bad["messages"][0]["images"] = json!(["not base64!"]);
    let reply = server.post("/api/chat", &bad);
    assert_eq!(reply.status, 400);
    assert!(reply.json()["error"].as_str().unwrap().contains("base64"));
    for (method, path) in [
        ("POST", "/api/embed"),
        ("POST", "/api/embeddings"),
        ("POST", "/api/pull"),
        ("POST", "/api/create"),
        ("POST", "/api/push"),
        ("DELETE", "/api/delete"),
    ] {
        let reply = server.request(method, path, "Content-Type: application/json\r\n", "{}");
        assert_eq!(reply.status, 501, "{path}");
    }
}

#[test]
fn an_empty_request_loads_a_model_and_no_time_to_live_unloads_it() {
    let server = Server::start();
    let unload = json!({"model": "ocelli-demo", "keep_alive": 0});
    assert_eq!(
        server.post("/api/generate", &unload).ok()["done_reason"],
        "unload"
    );
    assert_eq!(server.get("/api/ps").ok()["models"], json!([]));
    let load = json!({"model": "ocelli-demo"});
    assert_eq!(
        server.post("/api/generate", &load).ok()["done_reason"],
        "load"
    );
    assert_eq!(
        server.get("/api/ps").ok()["models"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn probabilities_come_with_each_text_where_they_are_asked_for() {
    let server = Server::start();
    let mut chat = json!({"model": "ocelli-demo", "messages": [{"role": "user", "content": "Hello"}],
        "options": {"num_predict": 6, "temperature": 0}, "logprobs": true, "top_logprobs": 2});
    let text = server.post("/api/chat", &chat).text();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let streamed: Vec<&Value> = lines
        .iter()
        .filter_map(|line| line["logprobs"].as_array())
        .flatten()
        .collect();
    chat["stream"] = json!(false);
    let whole = server.post("/api/chat", &chat).ok();
    let tokens: Vec<&Value> = whole["logprobs"].as_array().unwrap().iter().collect();
    assert_eq!(streamed, tokens);
    assert_eq!(tokens.len() as u64, whole["eval_count"].as_u64().unwrap());
    assert_eq!(tokens[0]["top_logprobs"].as_array().unwrap().len(), 2);
    for (field, value) in [
        ("logprobs", json!("yes")),
        ("top_logprobs", json!(21)),
        ("think", json!(5)),
        ("tools", json!([{}])),
    ] {
        let mut wrong = chat.clone();
        wrong[field] = value;
        assert_eq!(server.post("/api/chat", &wrong).status, 400, "{field}");
    }
}

#[test]
fn a_bound_of_tokens_below_one_or_above_the_context_lets_an_answer_fill_it() {
    let server = Server::start();
    let ask = |bound: Value| {
        let mut body = chat();
        body["stream"] = json!(false);
        body["options"]["num_predict"] = bound;
        server.post("/api/chat", &body)
    };
    let full = server.post("/api/chat", &{
        let mut body = chat();
        body["stream"] = json!(false);
        body["options"]
            .as_object_mut()
            .unwrap()
            .remove("num_predict");
        body
    });
    let full = full.ok();
    assert_eq!(full["done_reason"], "stop", "{full}");
    // Ollama knows a bound only above 0, and cuts one above the context.
    for bound in [0, -1, -2, -3, 1 << 20] {
        let answer = ask(json!(bound)).ok();
        assert_eq!(answer["message"], full["message"], "{bound}");
    }
    assert_eq!(ask(json!(1)).ok()["eval_count"], 1);
    for bound in [json!(1.5), json!("many")] {
        assert_eq!(ask(bound).status, 400);
    }
}

#[test]
fn all_words_for_thinking_and_old_options_are_understood() {
    let server = Server::start();
    for think in [json!(true), json!(false), json!("low"), json!("max")] {
        let mut body = chat();
        body["stream"] = json!(false);
        body["think"] = think;
        body["options"]["f16_kv"] = json!(true);
        body["options"]["logits_all"] = json!(false);
        let answer = server.post("/api/chat", &body).ok();
        assert!(answer["warnings"].is_null(), "{answer}");
    }
    let mut body = chat();
    body["think"] = json!("a lot");
    let reply = server.post("/api/chat", &body);
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("high or max"), "{}", reply.text());
}

//! Clients of OpenAI's API: chats, completions, and what they ask about the server.

use serde_json::{Value, json};

use crate::client::{CHAT, Server, content, picture_chat, square, text_chat};

#[test]
fn a_chat_about_a_picture_is_answered_with_what_the_model_saw_of_it() {
    let server = Server::start();
    let answer = server
        .post(CHAT, &picture_chat("What is in this picture?"))
        .ok();
    assert!(content(&answer).len() > 5, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "ocelli-demo");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let usage = &answer["usage"];
    let image = &usage["images"][0];
    assert!(image["width"].as_u64().unwrap() > 0, "{usage}");
    let tokens = image["tokens"].as_u64().unwrap();
    assert!(tokens > 0 && tokens < usage["prompt_tokens"].as_u64().unwrap());
    assert_eq!(usage["prompt_tokens_details"]["image_tokens"], tokens);
    let again = server
        .post(CHAT, &picture_chat("What is in this picture?"))
        .ok();
    assert_eq!(content(&again), content(&answer));
    assert!(
        again["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[test]
fn a_stream_brings_the_same_answer_with_usage_and_an_end() {
    let server = Server::start();
    let mut chat = picture_chat("What is in this picture?");
    let whole = server.post(CHAT, &chat).ok();
    chat["stream"] = json!(true);
    chat["stream_options"] = json!({"include_usage": true});
    chat["progress"] = json!(true);
    let reply = server.post(CHAT, &chat);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events = reply.events();
    let chunks: Vec<&Value> = events
        .iter()
        .filter(|(name, _)| name.is_empty())
        .map(|(_, data)| data)
        .collect();
    let first = chunks[0];
    assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
    assert_ne!(
        first["choices"][0]["delta"]["content"], "",
        "the role comes with the first token"
    );
    let text: String = chunks
        .iter()
        .filter_map(|c| c["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, content(&whole));
    let [.., ending, usage, done] = chunks.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        ending["choices"][0]["finish_reason"],
        whole["choices"][0]["finish_reason"]
    );
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"]["completion_tokens"],
        whole["usage"]["completion_tokens"]
    );
    assert_eq!(**done, json!("[DONE]"));
    assert!(
        events
            .iter()
            .any(|(name, data)| name == "progress" && data["stage"] == "prefill")
    );
}

#[test]
fn many_at_once_get_the_answers_they_would_get_alone() {
    let server = Server::start();
    let chats: Vec<Value> = (0..4)
        .flat_map(|i| {
            [
                picture_chat(&format!("Question {i}?")),
                text_chat(&format!("Say {i}.")),
            ]
        })
        .collect();
    let alone: Vec<Value> = chats
        .iter()
        .map(|chat| server.post(CHAT, chat).ok())
        .collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let server = &server;
        let ask = |chat| scope.spawn(move || server.post(CHAT, chat).ok());
        let asked: Vec<_> = chats.iter().map(ask).collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(content(alone), content(together));
    }
}

#[test]
fn several_answers_come_with_seeds_of_their_own() {
    let server = Server::start();
    let mut chat = text_chat("Tell me something.");
    chat["n"] = json!(2);
    let answer = server.post(CHAT, &chat).ok();
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 2);
    assert_eq!(choices[1]["index"], 1);
    assert_eq!(
        choices[0]["message"], choices[1]["message"],
        "greedy answers are equal"
    );
    chat["temperature"] = json!(1.5);
    chat["seed"] = json!(7);
    let first = server.post(CHAT, &chat).ok();
    let second = server.post(CHAT, &chat).ok();
    assert_eq!(first["choices"], second["choices"], "a seed repeats");
}

#[test]
fn a_dry_run_counts_tokens_without_answering() {
    let server = Server::start();
    let chat = picture_chat("What is in this picture?");
    let counted = server.post("/v1/chat/completions/input_tokens", &chat).ok();
    let answer = server.post(CHAT, &chat).ok();
    assert_eq!(counted["input_tokens"], answer["usage"]["prompt_tokens"]);
    assert_eq!(counted["images"], answer["usage"]["images"]);
    assert_eq!(counted["fits"], true);
}

#[test]
fn a_request_can_make_its_pictures_smaller() {
    let server = Server::start();
    let tokens = |chat: &Value| {
        let counted = server.post("/v1/chat/completions/input_tokens", chat).ok();
        counted["images"][0]["tokens"].as_u64().unwrap()
    };
    let mut chat = picture_chat("?");
    let url = format!("data:image/bmp;base64,{}", square(400));
    chat["messages"][0]["content"][1]["image_url"]["url"] = json!(url);
    let all = tokens(&chat);
    let mut small = chat.clone();
    small["messages"][0]["content"][1]["image_url"]["max_image_tokens"] = json!(all - 8);
    assert!(tokens(&small) <= all - 8);
    let mut contradiction = chat;
    contradiction["min_pixels"] = json!(1_000_000_000);
    contradiction["max_pixels"] = json!(100_000);
    let reply = server.post(CHAT, &contradiction);
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[test]
fn completions_go_on_with_text_or_with_tokens() {
    let server = Server::start();
    let body =
        json!({"model": "ocelli-demo", "prompt": "A red", "max_tokens": 6, "temperature": 0});
    let by_text = server.post("/v1/completions", &body).ok();
    assert_eq!(by_text["object"], "text_completion");
    let tokens = server.post("/tokenize", &json!({"content": "A red"})).ok()["tokens"].clone();
    let body = json!({"model": "ocelli-demo", "prompt": tokens, "max_tokens": 6, "temperature": 0});
    let by_tokens = server.post("/v1/completions", &body).ok();
    assert_eq!(
        by_text["choices"][0]["text"],
        by_tokens["choices"][0]["text"]
    );
    let text = server.post("/detokenize", &json!({"tokens": tokens})).ok();
    assert_eq!(text["content"], "A red");
    let body = json!({"model": "ocelli-demo", "prompt": [4_000_000], "max_tokens": 6});
    assert_eq!(server.post("/v1/completions", &body).status, 400);
}

#[test]
fn models_and_properties_say_what_can_be_asked_for() {
    let server = Server::start();
    let models = server.get("/v1/models").ok();
    assert_eq!(models["data"][0]["id"], "ocelli-demo");
    assert_eq!(models["data"][0]["max_model_len"], 2048);
    assert_eq!(
        models["data"][0]["architecture"]["input_modalities"][1],
        "image"
    );
    assert_eq!(server.get("/v1/models/ocelli-demo").ok()["object"], "model");
    assert_eq!(server.get("/v1/models/nosuch").status, 404);
    let props = server.get("/props").ok();
    assert_eq!(props["modalities"]["vision"], true);
    assert!(props["chat_template"].as_str().unwrap().contains("message"));
    let applied = server.post("/apply-template", &text_chat("Hello")).ok();
    assert!(applied["prompt"].as_str().unwrap().contains("Hello"));
}

#[test]
fn an_answer_has_the_form_that_was_asked_for_or_there_is_none() {
    let server = Server::start();
    let mut chat = picture_chat("What is in this picture?");
    chat["max_tokens"] = json!(200);
    let schema = json!({"type": "object", "properties": {"red": {"type": "boolean"}, "count": {"enum": [1, 2, 3]}},
        "required": ["red", "count"], "additionalProperties": false});
    chat["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let answer = server.post(CHAT, &chat).ok();
    let value: Value = serde_json::from_str(content(&answer)).unwrap();
    assert!(
        value["red"].is_boolean() && value["count"].is_u64(),
        "{value}"
    );
    for (format, message) in [
        (
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": 5}}),
            "schema must be an object",
        ),
        (
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"anyOf": []}}}),
            "invalid_schema",
        ),
        (json!({"type": "regex", "pattern": "("}), "invalid_schema"),
        (
            json!({"type": "poem"}),
            "response_format.type 'poem' is unknown",
        ),
    ] {
        chat["response_format"] = format;
        let reply = server.post(CHAT, &chat);
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(
            reply.text().contains(message),
            "{message}: {}",
            reply.text()
        );
    }
}

#[test]
fn an_answer_is_one_of_the_texts_that_it_may_be() {
    let server = Server::start();
    let mut chat = text_chat("Which one?");
    for form in [
        json!({"guided_choice": ["a \"red\" one", "two\n"]}),
        json!({"structured_outputs": {"choice": ["a \"red\" one", "two\n"]}}),
    ] {
        let mut asked = chat.clone();
        for (key, value) in form.as_object().unwrap() {
            asked[key] = value.clone();
        }
        asked["max_tokens"] = json!(40);
        let answer = server.post(CHAT, &asked).ok();
        let said = &answer["choices"][0]["message"]["content"];
        assert!(said == "a \"red\" one" || said == "two\n", "{said}");
    }
    for wrong in [json!([]), json!([5]), json!([""]), json!("a")] {
        chat["guided_choice"] = wrong.clone();
        assert_eq!(server.post(CHAT, &chat).status, 400, "{wrong}");
    }
    chat["guided_choice"] = Value::Null;
    chat["structured_outputs"] = json!({"structural_tag": "x"});
    let reply = server.post(CHAT, &chat);
    assert_eq!(
        reply.status, 400,
        "a form that is not known is not left out"
    );
}

#[test]
fn probabilities_bias_and_ends_are_as_asked() {
    let server = Server::start();
    let mut chat = text_chat("What can you see?");
    chat["logprobs"] = json!(true);
    chat["top_logprobs"] = json!(2);
    let answer = server.post(CHAT, &chat).ok();
    let tokens = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    let text: String = tokens
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert_eq!(text, content(&answer));
    let first = &tokens[0];
    assert_eq!(
        first["top_logprobs"][0]["logprob"], first["logprob"],
        "greedy takes the most likely"
    );
    let id = server
        .post("/tokenize", &json!({"content": first["token"]}))
        .ok()["tokens"][0]
        .as_u64()
        .unwrap();
    let mut biased = text_chat("What can you see?");
    biased["logit_bias"] = json!({id.to_string(): -100});
    let other = server.post(CHAT, &biased).ok();
    assert!(
        !content(&other).starts_with(first["token"].as_str().unwrap()),
        "{other}"
    );
    let mut endless = text_chat("Hello");
    endless["ignore_eos"] = json!(true);
    endless["max_tokens"] = json!(100);
    let long = server.post(CHAT, &endless).ok();
    assert_eq!(long["usage"]["completion_tokens"], 100);
    assert_eq!(long["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_conversation_that_does_not_fit_is_an_error_or_loses_its_oldest_turns_and_says_so() {
    let turn = |role: &str, text: String| json!({"role": role, "content": text});
    let old = "an old question about many things ".repeat(120);
    let mut chat = text_chat("What did I ask?");
    let newest = chat["messages"][0].clone();
    chat["messages"] = json!([
        turn("system", "Be brief.".to_owned()),
        turn("user", old.clone()),
        turn("assistant", "Yes.".to_owned()),
        turn("user", old),
        turn("assistant", "No.".to_owned()),
        newest
    ]);
    let strict = Server::start();
    let reply = strict.post(CHAT, &chat);
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(reply.json()["error"]["code"], "context_length_exceeded");
    let policy = ocelli::ContextPolicy::DropOldest;
    let lenient = Server::with(|setup| setup.service.context_policy = policy);
    let answer = lenient.post(CHAT, &chat).ok();
    assert_eq!(
        answer["warnings"][0],
        "dropped to fit the context: message 2, message 3"
    );
}

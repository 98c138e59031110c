//! `POST /v1/completions`: lists of prompts, and what evaluation programs ask: how likely the
//! tokens of a prompt are.

use serde_json::{Value, json};

use crate::client::Server;

const PATH: &str = "/v1/completions";

fn tokens(server: &Server, text: &str) -> Value {
    server.post("/tokenize", &json!({"content": text})).ok()["tokens"].clone()
}

fn body(prompt: Value) -> Value {
    json!({"model": "ocelli-demo", "prompt": prompt, "max_tokens": 6, "temperature": 0})
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap().iter().enumerate();
    let text = |(index, choice): (usize, &Value)| {
        assert_eq!(choice["index"], index, "{answer}");
        choice["text"].as_str().unwrap().to_owned()
    };
    choices.map(text).collect()
}

#[test]
fn a_list_of_prompts_is_answered_prompt_by_prompt() {
    let server = Server::start();
    let prompts = [
        "A red",
        "There is a",
        "What is",
        "The word",
        "Two",
        "A small",
        "On the left",
        "One",
        "Is it",
        "Blue",
    ];
    let alone: Vec<Value> = prompts
        .iter()
        .map(|p| server.post(PATH, &body(json!(p))).ok())
        .collect();
    let expected: Vec<String> = alone.iter().flat_map(texts).collect();
    let answer = server.post(PATH, &body(json!(prompts))).ok();
    assert_eq!(texts(&answer), expected);
    let sum = |key: &str| {
        alone
            .iter()
            .map(|a| a["usage"][key].as_u64().unwrap())
            .sum::<u64>()
    };
    for key in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(answer["usage"][key], sum(key), "{key}");
    }
    let ids: Vec<Value> = prompts.iter().map(|p| tokens(&server, p)).collect();
    assert_eq!(texts(&server.post(PATH, &body(json!(ids))).ok()), expected);
    assert_eq!(
        texts(&server.post(PATH, &body(json!([prompts[0]]))).ok()),
        expected[..1]
    );
    server.wait_for("ocelli_requests_running{", 0.0);
}

#[test]
fn several_answers_to_each_of_a_list_come_side_by_side() {
    let server = Server::start();
    let mut body = body(json!(["A red", "There is a", "Two"]));
    body["n"] = json!(3);
    body["temperature"] = json!(1.5);
    body["seed"] = json!(7);
    let answer = server.post(PATH, &body).ok();
    let all = texts(&answer);
    assert_eq!(all.len(), 9);
    for (number, prompt) in ["A red", "There is a", "Two"].iter().enumerate() {
        let mut one = body.clone();
        one["prompt"] = json!(prompt);
        assert_eq!(
            texts(&server.post(PATH, &one).ok()),
            all[3 * number..][..3],
            "{prompt}"
        );
    }
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let events = server.post(PATH, &body).events();
    let mut streamed = vec![String::new(); 9];
    for (_, chunk) in &events {
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap() as usize;
            streamed[index].push_str(choice["text"].as_str().unwrap());
        }
    }
    assert_eq!(streamed, all);
    let usage = &events[events.len() - 2].1["usage"];
    assert_eq!(usage["total_tokens"], answer["usage"]["total_tokens"]);
    assert_eq!(events.last().unwrap().1, "[DONE]");
}

#[test]
fn what_is_wrong_in_a_list_is_named_by_its_place() {
    let server = Server::start();
    for (prompt, place) in [
        (json!(["A red", "A red ".repeat(4000)]), "prompt[1]"),
        (json!([[1, 2], [3], [4_000_000]]), "prompt[2]"),
        (json!([[1, 2], []]), "prompt[1]"),
        (json!([[4_000_000], [1]]), "prompt[0]"),
    ] {
        let reply = server.post(PATH, &body(prompt));
        assert_eq!(reply.status, 400, "{}", reply.text());
        let error = reply.json()["error"].clone();
        assert_eq!(error["param"], place, "{error}");
        assert!(
            error["message"].as_str().unwrap().starts_with(place),
            "{error}"
        );
    }
    for prompt in [
        json!([]),
        json!(["A", [1]]),
        json!([[1], "A"]),
        json!([1, "A"]),
        json!([["A"]]),
        json!([1.5]),
        json!([null]),
        json!({"text": "A"}),
        json!(vec!["A"; 257]),
    ] {
        let reply = server.post(PATH, &body(prompt.clone()));
        assert_eq!(reply.status, 400, "{prompt}");
        assert_eq!(reply.json()["error"]["param"], "prompt", "{prompt}");
    }
    server.wait_for("ocelli_requests_running{", 0.0);
}

#[test]
fn a_list_takes_no_more_places_than_its_client_may_have() {
    let server = Server::with(|setup| {
        setup.settings.api_keys = vec!["secret-key".to_owned()];
        setup.settings.answers_per_client = Some(2);
        setup.service.most_requests = 3;
    });
    let key = "Content-Type: application/json\r\nAuthorization: Bearer secret-key\r\n";
    let post = |body: &Value| server.request("POST", PATH, key, &body.to_string());
    let list = body(json!([
        "A red",
        "There is a",
        "What is",
        "The word",
        "Two",
        "A small"
    ]));
    assert_eq!(texts(&post(&list).ok()).len(), 6);
    let mut many = list.clone();
    many["n"] = json!(2);
    assert_eq!(texts(&post(&many).ok()).len(), 12);
    many["n"] = json!(3);
    assert_eq!(post(&many).status, 429);
}

#[test]
fn a_client_that_leaves_takes_the_rest_of_its_list_with_it() {
    let server = Server::start();
    let mut list = body(json!(vec!["A red"; 200]));
    list["max_tokens"] = json!(1000);
    list["ignore_eos"] = json!(true);
    list["stream"] = json!(true);
    let connection = server.begin(PATH, &list);
    server.wait_for("ocelli_requests_running{", 8.0);
    drop(connection);
    server.wait_for("ocelli_requests_running{", 0.0);
    server.wait_for("ocelli_requests_waiting{", 0.0);
}

/// The probabilities that an answer tells.
fn told(answer: &Value) -> &Value {
    &answer["choices"][0]["logprobs"]
}

#[test]
fn a_prompt_is_repeated_with_the_probabilities_of_its_tokens() {
    let server = Server::start();
    let text = "There is a small red circle in the top left.";
    let ids = tokens(&server, text);
    let count = ids.as_array().unwrap().len();
    let mut asked = body(json!(text));
    (asked["echo"], asked["logprobs"], asked["max_tokens"]) = (json!(true), json!(1), json!(0));
    let answer = server.post(PATH, &asked).ok();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!(text), &json!("length"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    assert_eq!(answer["usage"]["prompt_tokens"], count);
    let lists = told(&answer);
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        assert_eq!(lists[key].as_array().unwrap().len(), count, "{key}");
    }
    let joined: String = lists["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(joined, text);
    assert!(lists["token_logprobs"][0].is_null() && lists["top_logprobs"][0].is_null());
    assert!(lists["token_logprobs"][1].as_f64().unwrap() < 0.0);
    // The same by ids, as evaluation programs send it, alone and in a list, whole and as a stream,
    // with one more token.
    asked["max_tokens"] = json!(1);
    asked["prompt"] = json!([ids, ids]);
    let more = server.post(PATH, &asked).ok();
    for choice in more["choices"].as_array().unwrap() {
        let longer = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        assert_eq!(longer.len(), count + 1);
        assert_eq!(json!(longer[..count]), lists["token_logprobs"]);
        assert!(choice["text"].as_str().unwrap().starts_with(text));
    }
    asked["prompt"] = ids.clone();
    asked["stream"] = json!(true);
    let events = server.post(PATH, &asked).events();
    let streamed: Vec<Value> = events
        .iter()
        .filter_map(|(_, chunk)| chunk["choices"][0]["logprobs"]["token_logprobs"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(
        json!(streamed),
        more["choices"][0]["logprobs"]["token_logprobs"]
    );
}

#[test]
fn what_a_prompt_is_told_of_is_what_an_answer_would_be_told_of() {
    let server = Server::start();
    let mut asked = body(json!("There is"));
    (asked["logprobs"], asked["echo"], asked["ignore_eos"]) = (json!(2), json!(true), json!(true));
    let written = server.post(PATH, &asked).ok();
    let text = written["choices"][0]["text"].as_str().unwrap();
    let ids = tokens(&server, text);
    let lists = told(&written);
    // Only where the text is cut into the same tokens again.
    if ids.as_array().unwrap().len() == lists["tokens"].as_array().unwrap().len() {
        let mut again = asked.clone();
        (again["prompt"], again["max_tokens"]) = (json!(ids), json!(0));
        let read = server.post(PATH, &again).ok();
        let of = |value: &Value| -> Vec<f64> {
            let list = value["token_logprobs"].as_array().unwrap();
            list.iter().filter_map(Value::as_f64).collect()
        };
        for (read, written) in of(told(&read)).iter().zip(of(lists)) {
            // Prompts and answers may be computed with another rounding.
            assert!(
                (read - written).abs() < 0.05 * written.abs().max(1.0),
                "{read} {written}"
            );
        }
    }
}

#[test]
fn nothing_may_be_wanted_of_a_completion_and_something_of_a_chat() {
    let server = Server::start();
    let mut asked = body(json!("A red"));
    asked["max_tokens"] = json!(0);
    let answer = server.post(PATH, &asked).ok();
    assert_eq!(texts(&answer), [""]);
    assert!(told(&answer).is_null());
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    asked["echo"] = json!(true);
    assert_eq!(texts(&server.post(PATH, &asked).ok()), ["A red"]);
    asked["stream"] = json!(true);
    let events = server.post(PATH, &asked).events();
    assert_eq!(events[0].1["choices"][0]["text"], "A red");
    asked["max_tokens"] = json!(-1);
    let reply = server.post(PATH, &asked);
    assert!(
        reply
            .text()
            .contains("max_tokens must be an integer in 0..context"),
        "{}",
        reply.text()
    );
    let mut chat = crate::client::text_chat("Hello");
    chat["max_tokens"] = json!(0);
    assert_eq!(server.post(crate::client::CHAT, &chat).status, 400);
}

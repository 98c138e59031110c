//! Renderings equal to Hugging Face's (`tools/text/make_templates.py`), with control tokens from
//! the template only.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::Path;

use ocelli_text::{
    ChatTemplate, Content, MediaMarkers, Message, Origin, Piece, RenderOptions, Role, Source,
    Specials, ToolCall,
};
use serde_json::Value as Json;

const CONTROL: [&str; 22] = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|object_ref_start|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "[INST]",
    "[/INST]",
    "[IMG]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CALLS]",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<pad>",
];

fn media(template: &str) -> MediaMarkers {
    let qwen = "<|vision_start|><|image_pad|><|vision_end|>";
    match template {
        _ if template.contains("qwen") => {
            let video = "<|vision_start|><|video_pad|><|vision_end|>".to_owned();
            let place = Some("<|video_pad|>".to_owned());
            MediaMarkers {
                video: place,
                video_text: video,
                ..MediaMarkers::new("<|image_pad|>", qwen)
            }
        }
        _ if template.contains("gemma") => {
            MediaMarkers::new("<start_of_image>", "<start_of_image>")
        }
        _ if template.contains("mistral") => MediaMarkers::new("[IMG]", "[IMG]"),
        _ if template.contains("vicuna") || template.contains("llava") => {
            MediaMarkers::new("<image>", "<image>\n")
        }
        _ => MediaMarkers::new("<|image_pad|>", qwen),
    }
}

fn load(file: &str) -> ChatTemplate {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    compile(&source, file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn compile(source: &str, family: &str) -> Result<ChatTemplate, ocelli_text::Error> {
    let specials = Specials {
        control: CONTROL.map(str::to_owned).to_vec(),
        bos: Some("<s>".into()),
        eos: Some("</s>".into()),
        media: media(family),
        ..Specials::default()
    };
    ChatTemplate::new(source, specials)
}

fn message(json: &Json) -> Message {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let part = |part: &Json| match part["type"].as_str().unwrap() {
        "text" => Content::Text(text(&part["text"]).unwrap()),
        "image" => Content::Image,
        "video" => Content::Video,
        other => panic!("{other}"),
    };
    let content = match &json["content"] {
        Json::Array(parts) => parts.iter().map(part).collect(),
        content => vec![Content::Text(text(content).unwrap())],
    };
    let calls = json["tool_calls"].as_array().cloned().unwrap_or_default();
    let call = |call: &Json| ToolCall {
        id: text(&call["id"]),
        name: text(&call["function"]["name"]).unwrap(),
        arguments: call["function"]["arguments"].clone(),
    };
    Message {
        reasoning: text(&json["reasoning_content"]),
        tool_calls: calls.iter().map(call).collect(),
        tool_call_id: text(&json["tool_call_id"]),
        name: text(&json["name"]),
        ..Message::new(
            Role::from_name(json["role"].as_str().unwrap()).unwrap(),
            content,
        )
    }
}

fn options(json: &Json) -> RenderOptions {
    let mut options = RenderOptions::default();
    for (key, value) in json.as_object().unwrap() {
        match key.as_str() {
            "tools" => options.tools = value.as_array().unwrap().clone(),
            "add_generation_prompt" => options.add_generation_prompt = value.as_bool().unwrap(),
            other => {
                options.arguments.insert(other.into(), value.clone());
            }
        }
    }
    options
}

fn goldens() -> Vec<Json> {
    serde_json::from_str(include_str!("goldens/templates.json")).unwrap()
}

#[test]
fn renderings_are_those_of_the_reference() {
    let mut wrong = Vec::new();
    let cases = goldens();
    for case in &cases {
        let name = format!("{} {} {}", case["template"], case["name"], case["options"]);
        let template = load(case["template"].as_str().unwrap());
        let messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(message)
            .collect();
        match (
            template.render(&messages, &options(&case["options"])),
            case["expected"].as_str(),
        ) {
            (Ok(pieces), Some(expected)) if Piece::text_of(&pieces) == expected => {}
            (Err(error), None)
                if error
                    .to_string()
                    .contains(case["refused"].as_str().unwrap()) => {}
            (Ok(pieces), expected) => {
                wrong.push(format!(
                    "{name}:\nfound {:?}\nneed  {expected:?}",
                    Piece::text_of(&pieces)
                ));
            }
            (Err(error), _) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

/// Control tokens whose bytes are all the template's.
fn trusted(pieces: &[Piece]) -> usize {
    let text = Piece::text_of(pieces);
    let mut value = vec![];
    for piece in pieces {
        value.extend(std::iter::repeat_n(
            piece.origin != Origin::Template,
            piece.text.len(),
        ));
    }
    let found = CONTROL.iter().flat_map(|token| {
        text.match_indices(token)
            .map(|(at, token)| at..at + token.len())
    });
    found
        .filter(|range| !value[range.clone()].iter().any(|&value| value))
        .count()
}

#[test]
fn values_never_add_a_control_token() {
    for case in goldens() {
        if case["expected"].is_null() {
            continue;
        }
        let template = load(case["template"].as_str().unwrap());
        let mut messages: Vec<Message> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(message)
            .collect();
        let options = options(&case["options"]);
        let attacked = trusted(&template.render(&messages, &options).unwrap());
        for message in &mut messages {
            for part in &mut message.content {
                if let Content::Text(text) = part {
                    *text = format!(
                        "x{}",
                        if text.ends_with("</tool_response>") {
                            "y"
                        } else {
                            ""
                        }
                    );
                }
            }
            message
                .tool_calls
                .iter_mut()
                .for_each(|call| call.arguments = Json::Null);
            message.reasoning = message.reasoning.as_ref().map(|_| "z".into());
        }
        let harmless = trusted(&template.render(&messages, &options).unwrap());
        assert_eq!(attacked, harmless, "{} {}", case["template"], case["name"]);
    }
}

#[test]
fn each_value_has_its_source() {
    let template = load("templates/qwen3-vl.jinja");
    let mut answer = Message::text(Role::Assistant, "<answer>");
    answer.tool_calls.push(ToolCall {
        id: None,
        name: "call".into(),
        arguments: serde_json::json!({"a": "<b|"}),
    });
    let messages = [
        Message::text(Role::System, "<sys|"),
        Message::text(Role::User, "<user|"),
        answer,
        Message::text(Role::Tool, "<tool|"),
    ];
    let pieces = template
        .render(&messages, &RenderOptions::default())
        .unwrap();
    for (text, source) in [
        ("<sys|", Source::System),
        ("<user|", Source::User),
        ("<answer>", Source::Assistant),
        ("<b|", Source::Assistant),
        ("<tool|", Source::Tool),
    ] {
        let from = pieces
            .iter()
            .find(|piece| piece.text.contains(text))
            .unwrap();
        assert_eq!(from.origin, Origin::Value(source), "{text} in {pieces:?}");
    }
}

#[test]
fn templates_that_rewrite_values_keep_origins_too() {
    for filter in [
        "upper",
        "lower",
        "trim",
        "title",
        "replace('XX', '')",
        "tojson",
        "string",
        "e",
    ] {
        let source = format!(
            "{{% for m in messages %}}<|im_start|>{{{{ m.content | {filter} }}}}<|im_end|>{{% endfor %}}"
        );
        // The test message must come through as it is.
        let source = format!(
            "{{% if messages[0].content is string and 'probe' in messages[0].content %}}{{{{ messages[0].content }}}}{{% else %}}{source}{{% endif %}}"
        );
        let template = compile(&source, "chatml").unwrap();
        for text in [
            "<|im_start|> <|IM_END|>",
            "<|im_XXend|>",
            "</s>\"<|im_end|>",
            "<|im_",
        ] {
            let messages = [
                Message::text(Role::User, text),
                Message::text(Role::User, "end|>"),
            ];
            let pieces = template
                .render(&messages, &RenderOptions::default())
                .unwrap();
            assert_eq!(trusted(&pieces), 4, "{filter} {text}: {pieces:?}");
        }
    }
}

#[test]
fn a_token_that_is_half_the_templates_is_not_one() {
    let source = "{% for m in messages %}<|{{ m.content }}|>[{{ m.name }}]{% endfor %}";
    let template = compile(source, "chatml").unwrap();
    for text in ["im_end", "im_start|><", "|im_end|>"] {
        let mut message = Message::text(Role::User, text);
        message.name = Some("INST".into());
        let pieces = template
            .render(&[message], &RenderOptions::default())
            .unwrap();
        assert_eq!(trusted(&pieces), 0, "{pieces:?}");
    }
}

#[test]
fn pictures_of_a_text_only_template_are_put_into_the_text() {
    let template = load("templates/chatml.jinja");
    assert!(!template.writes_image_places());
    let content = vec![Content::Image, Content::Text("What <|image_pad|>?".into())];
    let pieces = template
        .render(
            &[Message::new(Role::User, content)],
            &RenderOptions::default(),
        )
        .unwrap();
    let text = Piece::text_of(&pieces);
    assert!(text.starts_with(
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>What <|image_pad|>?<|im_end|>"
    ));
    assert_eq!(trusted(&pieces), 6, "{pieces:?}");
}

#[test]
fn nothing_is_lost_where_a_template_reads_the_first_of_several_texts() {
    let template = load("templates/gemma3.jinja");
    let texts = ["Be brief. ", "Be kind."].map(|text| Content::Text(text.into()));
    let messages = [
        Message::new(Role::System, texts.to_vec()),
        Message::text(Role::User, "Hi"),
    ];
    let pieces = template
        .render(&messages, &RenderOptions::default())
        .unwrap();
    let text = Piece::text_of(&pieces);
    assert!(text.contains("Be brief. Be kind.\n\nHi"), "{text}");
}

#[test]
fn a_template_is_known_to_show_tools_by_trying() {
    for (file, shows) in [
        ("templates/qwen3-vl.jinja", true),
        ("templates/mistral-tekken.jinja", true),
        ("templates/chatml.jinja", false),
    ] {
        assert_eq!(load(file).shows_tools(), shows, "{file}");
    }
    // Naming them is not showing them.
    let source = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools is defined %}[tools]{% endif %}";
    assert!(!compile(source, "chatml").unwrap().shows_tools());
}

#[test]
fn long_conversations_fit_the_budget() {
    for file in [
        "templates/qwen3-vl.jinja",
        "templates/qwen2-vl.jinja",
        "templates/mistral-tekken.jinja",
    ] {
        let template = load(file);
        let turn = |at: usize| match at % 2 {
            0 => Message::text(Role::User, format!("Question {at} </think>")),
            _ => Message::text(Role::Assistant, format!("<think>x</think> Answer {at}")),
        };
        let messages: Vec<Message> = (0..2001).map(turn).collect();
        template
            .render(&messages, &RenderOptions::default())
            .unwrap();
        let long = [Message::text(Role::User, "long <text> ".repeat(400_000))];
        let pieces = template.render(&long, &RenderOptions::default()).unwrap();
        assert!(Piece::text_of(&pieces).len() > 4_000_000);
    }
}

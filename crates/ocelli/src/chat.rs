//! From messages to token ids.

use ocelli_text::{ChatTemplate, Content, RenderOptions, encode_chat};

use crate::{Error, Message, Part, Role};

/// Renders and tokenizes a conversation: ids, and which of them are places of pictures.
pub(crate) fn tokenize(
    model: &ocelli_engine::Model,
    template: &ChatTemplate,
    messages: &[Message],
) -> Result<(Vec<u32>, Vec<usize>), Error> {
    let messages: Vec<ocelli_text::Message> = messages.iter().map(to_template).collect();
    let options = RenderOptions::default();
    let chat = encode_chat(&model.tokenizer, template, &messages, &options)
        .map_err(ocelli_engine::Error::Text)?;
    Ok(chat.ids_with(model.image_token().unwrap_or_default()))
}

fn to_template(message: &Message) -> ocelli_text::Message {
    let role = match message.role {
        Role::System => ocelli_text::Role::System,
        Role::User => ocelli_text::Role::User,
        Role::Assistant => ocelli_text::Role::Assistant,
        Role::Tool => ocelli_text::Role::Tool,
    };
    let content = message.parts.iter().map(|part| match part {
        Part::Text(text) => Content::Text(text.clone()),
        Part::Image(_) => Content::Image,
    });
    ocelli_text::Message::new(role, content.collect())
}

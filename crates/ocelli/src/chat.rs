//! From messages to token ids.

use ocelli_text::{Content, Media, Piece, RenderOptions, encode_pieces, render_chat};

use crate::prepare::Preparer;
use crate::{Error, Message, Part, Role, Work};

/// Which ids are places of pictures and videos.
pub(crate) type Places = Vec<(usize, Media)>;

/// Renders and tokenizes a conversation: ids, and which of them are places of pictures and videos. `times`
/// has the texts before the temporal patches of each video. Text of more bytes than can fit the
/// context is not even looked at.
pub(crate) fn tokenize(
    preparer: &Preparer,
    messages: &[Message],
    options: &RenderOptions,
    times: &[Vec<String>],
) -> Result<(Vec<u32>, Places), Error> {
    let (model, template) = (&preparer.model, &preparer.template);
    let most_bytes = preparer.most_bytes();
    let bytes = messages
        .iter()
        .flat_map(|m| &m.parts)
        .map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Image(_) | Part::Video(_) => 0,
        });
    let bytes = bytes.sum();
    if bytes > most_bytes {
        return Err(Error::PromptTooLong { bytes, most_bytes });
    }
    preparer.begin(Work::Render(messages));
    let messages: Vec<ocelli_text::Message> = messages.iter().map(to_template).collect();
    let pieces = render_chat(template, &messages, options, times);
    let pieces = pieces.map_err(ocelli_engine::Error::Text)?;
    if preparer.witness.is_some() {
        preparer.begin(Work::Tokenize(&Piece::text_of(&pieces)));
    }
    let chat = encode_pieces(&model.tokenizer, &pieces, template.media(), &options.crops);
    let image = model.image_token().unwrap_or_default();
    Ok(chat.ids_with_media(image, model.video_token().unwrap_or_default()))
}

pub(crate) fn to_template(message: &Message) -> ocelli_text::Message {
    let role = match message.role {
        Role::System => ocelli_text::Role::System,
        Role::User => ocelli_text::Role::User,
        Role::Assistant => ocelli_text::Role::Assistant,
        Role::Tool => ocelli_text::Role::Tool,
    };
    let content = message.parts.iter().map(|part| match part {
        Part::Text(text) => Content::Text(text.clone()),
        Part::Image(_) => Content::Image,
        Part::Video(_) => Content::Video,
    });
    ocelli_text::Message {
        reasoning: message.reasoning.clone(),
        tool_calls: message.tool_calls.clone(),
        tool_call_id: message.tool_call_id.clone(),
        ..ocelli_text::Message::new(role, content.collect())
    }
}

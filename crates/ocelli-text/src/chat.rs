//! From a conversation to token ids with the places of its media.

use std::ops::Range;

use crate::message::{Content, Message};
use crate::pieces::{Origin, Piece};
use crate::template::{ChatTemplate, MediaMarkers, RenderOptions, trusted_ranges};
use crate::{Error, Tokenizer};

/// What stands at a place of a prompt that is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Media {
    /// A picture.
    Image,
    /// A video.
    Video,
}

/// A stretch of a tokenized conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatPart {
    /// Text, and control tokens of the template.
    Tokens(Vec<u32>),
    /// The place of the next picture or video.
    Place(Media),
}

/// A tokenized conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EncodedChat {
    /// Text and places in order; never two stretches of text side by side.
    pub parts: Vec<ChatPart>,
}

impl EncodedChat {
    /// Number of places for this kind of media.
    pub fn places(&self, media: Media) -> usize {
        self.parts
            .iter()
            .filter(|part| **part == ChatPart::Place(media))
            .count()
    }

    /// All ids in one list with `id` at each place, and where those are.
    pub fn ids_with(&self, id: u32) -> (Vec<u32>, Vec<usize>) {
        let mut ids = Vec::new();
        let mut places = Vec::new();
        for part in &self.parts {
            match part {
                ChatPart::Tokens(tokens) => ids.extend_from_slice(tokens),
                ChatPart::Place(_) => {
                    places.push(ids.len());
                    ids.push(id);
                }
            }
        }
        (ids, places)
    }
}

/// Renders and tokenizes a conversation. A place of a picture is where the template wrote its text; the same text in a
/// message is only text.
///
/// # Errors
/// The template fails or refuses, or its places are not one for each picture and video.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<EncodedChat, Error> {
    let pieces = template.render(messages, options)?;
    let encoded = encode_pieces(tokenizer, &pieces, template.media());
    for (media, content, name) in [
        (Media::Image, Content::Image, "images"),
        (Media::Video, Content::Video, "videos"),
    ] {
        let given = messages.iter().map(|message| message.count(&content)).sum();
        let places = encoded.places(media);
        if places != given {
            return Err(Error::Places {
                name,
                given,
                places,
            });
        }
    }
    Ok(encoded)
}

/// Tokenizes a rendered prompt, cut at the places of media, with a begin token where the model wants one.
pub fn encode_pieces(tokenizer: &Tokenizer, pieces: &[Piece], media: &MediaMarkers) -> EncodedChat {
    let mut parts = Vec::new();
    let mut rest = pieces.to_vec();
    let mut places = places(pieces, media);
    // From the back, so that positions in what is left stay valid.
    while let Some((range, found)) = places.pop() {
        let tail = split_at(&mut rest, range.end);
        push_tokens(&mut parts, tokenizer.encode(&tail));
        split_at(&mut rest, range.start);
        parts.push(ChatPart::Place(found));
    }
    push_tokens(&mut parts, tokenizer.encode(&rest));
    parts.reverse();
    add_begin(tokenizer, &mut parts);
    EncodedChat { parts }
}

fn push_tokens(parts: &mut Vec<ChatPart>, tokens: Vec<u32>) {
    if !tokens.is_empty() {
        parts.push(ChatPart::Tokens(tokens));
    }
}

fn add_begin(tokenizer: &Tokenizer, parts: &mut Vec<ChatPart>) {
    let Some(bos) = tokenizer.bos_to_add() else {
        return;
    };
    match parts.first_mut() {
        Some(ChatPart::Tokens(tokens)) if tokens.first() == Some(&bos) => {}
        Some(ChatPart::Tokens(tokens)) => tokens.insert(0, bos),
        _ => parts.insert(0, ChatPart::Tokens(vec![bos])),
    }
}

/// Where the template wrote places, in order, as bytes of the text of all pieces.
fn places(pieces: &[Piece], media: &MediaMarkers) -> Vec<(Range<usize>, Media)> {
    let text = Piece::text_of(pieces);
    let mut places = Vec::new();
    for range in trusted_ranges(pieces) {
        for (marker, kind) in [(&media.image, Media::Image), (&media.video, Media::Video)] {
            let Some(marker) = marker.as_deref().filter(|marker| !marker.is_empty()) else {
                continue;
            };
            let found = text[range.clone()].match_indices(marker);
            places.extend(
                found.map(|(at, _)| (range.start + at..range.start + at + marker.len(), kind)),
            );
        }
    }
    places.sort_by_key(|(range, _)| range.start);
    places
}

/// Cuts pieces at a byte of the text of all of them and gives the second part.
fn split_at(pieces: &mut Vec<Piece>, at: usize) -> Vec<Piece> {
    let mut start = 0;
    for index in 0..pieces.len() {
        let end = start + pieces[index].text.len();
        if at < end {
            let origin: Origin = pieces[index].origin;
            let text = pieces[index].text.split_off(at - start);
            let after = pieces.split_off(index + 1);
            return std::iter::once(Piece { text, origin })
                .chain(after)
                .collect();
        }
        start = end;
    }
    Vec::new()
}

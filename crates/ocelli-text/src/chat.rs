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
        let (ids, places) = self.ids_with_media(id, id);
        (ids, places.into_iter().map(|(place, _)| place).collect())
    }

    /// All ids in one list with `image` at each place of a picture and `video` at each of a video, and where
    /// those are.
    pub fn ids_with_media(&self, image: u32, video: u32) -> (Vec<u32>, Vec<(usize, Media)>) {
        let mut ids = Vec::new();
        let mut places = Vec::new();
        for part in &self.parts {
            match part {
                ChatPart::Tokens(tokens) => ids.extend_from_slice(tokens),
                ChatPart::Place(media) => {
                    places.push((ids.len(), *media));
                    ids.push(match media {
                        Media::Image => image,
                        Media::Video => video,
                    });
                }
            }
        }
        (ids, places)
    }
}

/// What stands around a picture and its crops: Gemma 3's own words.
const BEFORE_PICTURE: &str = "Here is the original image ";
const BEFORE_CROPS: &str = " and here are some crops to help you see better ";

/// Renders and tokenizes a conversation. A place of a picture is where the template wrote its text;
/// the same text in a message is only text.
///
/// # Errors
/// The template fails or refuses, or its places are not one for each picture and video.
pub fn encode_chat(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
) -> Result<EncodedChat, Error> {
    encode_chat_with_times(tokenizer, template, messages, options, &[])
}

/// As [`encode_chat`], with the place of each video split into as many as it has texts in `times`, each text
/// before its own. A video without texts keeps its one place. The texts count as the template's: they are
/// the program's, never a user's.
///
/// # Errors
/// As [`encode_chat`].
pub fn encode_chat_with_times(
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
    times: &[Vec<String>],
) -> Result<EncodedChat, Error> {
    let pieces = render_chat(template, messages, options, times)?;
    let media = template.media();
    Ok(encode_pieces(tokenizer, &pieces, media, &options.crops))
}

/// The first half of [`encode_chat_with_times`]: the text with origins that [`encode_pieces`] tokenizes.
///
/// # Errors
/// As [`encode_chat`].
pub fn render_chat(
    template: &ChatTemplate,
    messages: &[Message],
    options: &RenderOptions,
    times: &[Vec<String>],
) -> Result<Vec<Piece>, Error> {
    let pieces = template.render(messages, options)?;
    let found = places(&pieces, template.media());
    for (media, content, name) in [
        (Media::Image, Content::Image, "images"),
        (Media::Video, Content::Video, "videos"),
    ] {
        let given: usize = messages.iter().map(|message| message.count(&content)).sum();
        let places = found.iter().filter(|(_, kind)| *kind == media).count();
        if places != given {
            return Err(Error::Places {
                name,
                given,
                places,
            });
        }
    }
    Ok(with_times(pieces, template.media(), times))
}

/// Writes each video with times as one place a time: the time, then what stands for a video with what goes
/// around it. What the template wrote around its one place is replaced with it.
fn with_times(mut pieces: Vec<Piece>, media: &MediaMarkers, times: &[Vec<String>]) -> Vec<Piece> {
    let Some(marker) = &media.video else {
        return pieces;
    };
    let (before, after) = media.video_text.split_once(marker).unwrap_or_default();
    let (text, trusted) = (Piece::text_of(&pieces), trusted_ranges(&pieces));
    let videos = places(&pieces, media)
        .into_iter()
        .filter(|(_, kind)| *kind == Media::Video);
    let videos: Vec<_> = videos.map(|(range, _)| range).zip(times).collect();
    // From the back, so that positions in what is left stay valid.
    for (range, times) in videos.into_iter().rev().filter(|(_, t)| !t.is_empty()) {
        let own = trusted
            .iter()
            .find(|own| own.start <= range.start && range.end <= own.end);
        let Range { start, end } = own.cloned().unwrap_or(range.clone());
        let (mut from, mut to) = (range.start, range.end);
        if text[start..from].ends_with(before) && text[to..end].starts_with(after) {
            (from, to) = (from - before.len(), to + after.len());
        }
        let tail = split_at(&mut pieces, to);
        split_at(&mut pieces, from);
        let write = |time: &String| format!("{time}{before}{marker}{after}");
        pieces.push(Piece::template(times.iter().map(write).collect::<String>()));
        pieces.extend(tail);
    }
    pieces
}

/// Tokenizes a rendered prompt, cut at the places of media, with a begin token where the model
/// wants one. `crops` are those of [`RenderOptions`].
pub fn encode_pieces(
    tokenizer: &Tokenizer,
    pieces: &[Piece],
    media: &MediaMarkers,
    crops: &[usize],
) -> EncodedChat {
    let mut parts = Vec::new();
    let mut rest = pieces.to_vec();
    let mut places = places(pieces, media);
    let is_image = |place: &(Range<usize>, Media)| place.1 == Media::Image;
    let mut image = places.iter().filter(|place| is_image(place)).count();
    // From the back, so that positions in what is left stay valid.
    while let Some((range, found)) = places.pop() {
        let mut tail = split_at(&mut rest, range.end);
        split_at(&mut rest, range.start);
        let mut texts = match found {
            Media::Video => Vec::new(),
            Media::Image => {
                image -= 1;
                around(media, crops.get(image).copied().unwrap_or(0))
            }
        };
        while texts.len() > 1 {
            tail.splice(0..0, texts.pop().map(Piece::template));
            push_tokens(&mut parts, tokenizer.encode(&tail));
            parts.push(ChatPart::Place(found));
            tail.clear();
        }
        if found == Media::Video {
            push_tokens(&mut parts, tokenizer.encode(&tail));
            parts.push(ChatPart::Place(found));
        }
        rest.extend(texts.pop().map(Piece::template));
    }
    push_tokens(&mut parts, tokenizer.encode(&rest));
    parts.reverse();
    add_begin(tokenizer, &mut parts);
    EncodedChat { parts }
}

/// The texts before, between and behind the rows of a picture and its crops.
fn around(media: &MediaMarkers, crops: usize) -> Vec<String> {
    let [before, after] = &media.image_around;
    if crops == 0 {
        return vec![before.clone(), after.clone()];
    }
    let mut texts = vec![
        format!("{BEFORE_PICTURE}{before}"),
        format!("{after}{BEFORE_CROPS}{before}"),
    ];
    texts.extend((1..crops).map(|_| format!("{after} {before}")));
    texts.push(after.clone());
    texts
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

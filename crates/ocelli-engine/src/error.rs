//! Why a request fails. Nothing here ends the engine.

use crate::Owner;

/// Tokens that pictures and videos take, for messages about a full context.
fn sum(media: &[(Owner, usize)], text: usize) -> String {
    let media: Vec<String> = media
        .iter()
        .map(|(owner, tokens)| format!("{owner} {tokens}"))
        .collect();
    match media.is_empty() {
        true => format!("text {text}"),
        false => format!("{}, text {text}", media.join(", ")),
    }
}

fn total(media: &[(Owner, usize)]) -> usize {
    media.iter().map(|(_, tokens)| tokens).sum()
}

/// What to do about a full context.
fn hint(media: &[(Owner, usize)]) -> &'static str {
    let has_videos = media
        .iter()
        .any(|(owner, _)| matches!(owner, Owner::Video(_)));
    match (media.is_empty(), has_videos) {
        (true, _) => "Raise the context or shorten the prompt",
        (_, true) => "Raise the context, or lower --fps, --max-frames or --video-max-tokens",
        (_, false) => "Raise the context or lower --image-max-tokens",
    }
}

/// Everything that can be wrong with a request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model or a picture for it.
    #[error(transparent)]
    Model(#[from] ocelli_models::Error),
    /// A tokenizer or template.
    #[error(transparent)]
    Text(#[from] ocelli_text::Error),
    /// Template and request disagree about pictures.
    #[error(
        "the prompt has {slots} places for images and {images} images were given; the model's chat template must place each image once"
    )]
    ImageSlots {
        /// Image tokens from the template.
        slots: usize,
        /// Pictures of the request.
        images: usize,
    },
    /// A picture for a model that cannot see.
    #[error("model '{model}' has no vision; give its projector with --mmproj")]
    NoVision {
        /// The model's name.
        model: String,
    },
    /// The prompt does not fit.
    #[error("prompt of {} tokens ({}) does not fit the context of {context}; need at least {} with one token for the answer. {}", total(media) + text, sum(media, *text), total(media) + text + 1, hint(media))]
    ContextFull {
        /// Tokens of each picture and video.
        media: Vec<(Owner, usize)>,
        /// Tokens of text.
        text: usize,
        /// Tokens that fit.
        context: usize,
    },
    /// The prompt was laid out for other pictures than came with it.
    #[error("the prompt shows {shown} pictures and {given} were given, need one for each")]
    Pictures {
        /// Pictures that the prompt shows.
        shown: usize,
        /// Pictures of the request.
        given: usize,
    },
    /// A picture is larger than the engine was made for.
    #[error(
        "{owner} has {patches} patches, need at most {most}: what the engine was made for. Scale it down"
    )]
    PictureSize {
        /// The picture.
        owner: Owner,
        /// Its patches.
        patches: usize,
        /// Those of the largest picture.
        most: usize,
    },
    /// Rows that see each other both ways have to run together.
    #[error(
        "a picture of {tokens} tokens that see each other does not fit a step, need at most {most}"
    )]
    Block {
        /// Tokens of the picture.
        tokens: usize,
        /// Tokens that fit.
        most: usize,
    },
    /// A setting that no engine can have.
    #[error("{what}: found {found}, need {least}..={most}")]
    Setting {
        /// What it counts.
        what: &'static str,
        /// What was asked for.
        found: usize,
        /// The least that can be.
        least: usize,
        /// The most that can be.
        most: usize,
    },
    /// There is nothing to answer.
    #[error("the prompt is empty, need at least one token")]
    EmptyPrompt,
    /// A sampling option out of its range.
    #[error("{0}")]
    Sampling(String),
    /// The arithmetic went wrong.
    #[error("numerical_error: non-finite {what}. The file may be damaged, or its weights overflow")]
    NonFinite {
        /// What was not finite and where it began.
        what: String,
    },
    /// A schema, expression or grammar that is wrong, too large, or cannot be enforced.
    #[error("invalid_schema: {0}")]
    Grammar(String),
    /// No token of the vocabulary can go on with the answer as its grammar wants.
    #[error("grammar_dead_end: no token can follow by the grammar")]
    GrammarDeadEnd,
    /// Following the grammar takes too long.
    #[error("grammar_too_expensive: a token of the answer exceeds the step budget of its grammar")]
    GrammarTooExpensive,
    /// Our fault; other requests go on.
    #[error("internal_error: {what}. This is a bug; please report it")]
    Panicked {
        /// What was being done.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_context_without_pictures_is_not_blamed_on_them() {
        let full = |media: Vec<(Owner, usize)>| {
            let (text, context) = (90, 64);
            let error = Error::ContextFull {
                media,
                text,
                context,
            };
            error.to_string()
        };
        let plain = full(Vec::new());
        assert!(plain.ends_with("need at least 91 with one token for the answer. Raise the context or shorten the prompt"), "{plain}");
        assert!(full(vec![(Owner::Image(0), 9)]).ends_with("lower --image-max-tokens"));
        assert!(full(vec![(Owner::Video(0), 9)]).ends_with("--video-max-tokens"));
    }
}

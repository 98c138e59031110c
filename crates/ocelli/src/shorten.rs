//! A conversation without its oldest turns and pictures.

use ocelli_engine::{Dropped, Turn};
use ocelli_image::ImageRecord;
use ocelli_text::{Piece, Tokenizer};

use crate::{Message, Part, Role};

/// Tokens that templates write around a message, about.
const AROUND: usize = 4;

/// What is known of each message. The newest question and what follows it stay, and so do instructions.
pub(crate) fn turns(
    tokenizer: &Tokenizer,
    messages: &[Message],
    records: &[ImageRecord],
) -> Vec<Turn> {
    let newest = messages
        .iter()
        .rposition(|message| message.role == Role::User);
    let mut records = records.iter();
    let turn = |(index, message): (usize, &Message)| {
        let mut turn = Turn {
            text: AROUND,
            images: Vec::new(),
            stays: message.role == Role::System || newest.is_none_or(|newest| index >= newest),
            answers: matches!(message.role, Role::Assistant | Role::Tool),
        };
        for part in &message.parts {
            match part {
                Part::Text(text) => turn.text += tokenizer.encode(&[Piece::user(text)]).len(),
                Part::Video(_) => {}
                Part::Image(_) => turn
                    .images
                    .extend(records.next().map(|record| record.tokens)),
            }
        }
        turn
    };
    messages.iter().enumerate().map(turn).collect()
}

/// The messages without what goes, and which pictures of all are left.
pub(crate) fn without(messages: &[Message], gone: &[Dropped]) -> (Vec<Message>, Vec<usize>) {
    let (mut left, mut kept) = (Vec::new(), Vec::new());
    let mut picture = 0;
    for (turn, message) in messages.iter().enumerate() {
        let is_gone = gone.contains(&Dropped::Turn(turn));
        let mut message = message.clone();
        let mut image = 0;
        message.parts.retain(|part| {
            if !matches!(part, Part::Image(_)) {
                return true;
            }
            let stays = !is_gone && !gone.contains(&Dropped::Image { turn, image });
            kept.extend(stays.then_some(picture));
            image += 1;
            picture += 1;
            stays
        });
        if !is_gone {
            left.push(message);
        }
    }
    (left, kept)
}

/// What went, in words; numbers count from 1.
pub(crate) fn describe(gone: &Dropped) -> String {
    match gone {
        Dropped::Turn(turn) => format!("message {}", turn + 1),
        Dropped::Image { turn, image } => format!("image {} of message {}", image + 1, turn + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageSource;

    #[test]
    fn pictures_of_what_stays_keep_their_place() {
        let picture = |n: u8| Part::Image(ImageSource::Bytes(vec![n]));
        let messages = [
            Message::new(
                Role::User,
                vec![picture(0), picture(1), Part::Text("a".into())],
            ),
            Message::text(Role::Assistant, "b"),
            Message::new(Role::User, vec![picture(2), Part::Text("c".into())]),
        ];
        let (left, kept) = without(&messages, &[Dropped::Image { turn: 0, image: 0 }]);
        assert_eq!(kept, [1, 2]);
        assert_eq!(left[0].parts, [picture(1), Part::Text("a".into())]);
        let (left, kept) = without(&messages, &[Dropped::Turn(0), Dropped::Turn(1)]);
        assert_eq!((left.len(), kept), (1, vec![2]));
        assert_eq!(
            describe(&Dropped::Image { turn: 0, image: 1 }),
            "image 2 of message 1"
        );
    }
}

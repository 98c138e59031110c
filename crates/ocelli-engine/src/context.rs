//! What goes when a conversation no longer fits: whole turns and pictures, oldest first, never a part
//! of one, and never silently.

/// What happens when a conversation does not fit the context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextPolicy {
    /// An error with the sum.
    #[default]
    Error,
    /// The oldest turns or pictures go, and the answer says which.
    DropOldest,
}

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Tokens of its text, with what the template writes around it.
    pub text: usize,
    /// Tokens of each of its pictures.
    pub images: Vec<usize>,
    /// It stays whatever happens: instructions, and the newest question.
    pub stays: bool,
    /// It answers the message before it (an answer, a tool's result) and goes with it.
    pub answers: bool,
}

/// Something that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// A message, with all its pictures.
    Turn(usize),
    /// A picture of a message that stays.
    Image {
        /// The message.
        turn: usize,
        /// Which of its pictures.
        image: usize,
    },
}

/// What has to go so that the conversation gets at least `excess` tokens shorter. From the oldest
/// question on: first its pictures, one after another, then all of it with what answers it. `None` when
/// all that may go is not enough.
///
/// Positions are made anew from what is left, and features of pictures that stay come from the cache.
pub fn drop_oldest(turns: &[Turn], excess: usize) -> Option<Vec<Dropped>> {
    let mut gone = Vec::new();
    let mut freed = 0;
    let mut start = 0;
    while start < turns.len() && freed < excess {
        let answers = turns[start + 1..].iter().take_while(|turn| turn.answers);
        let end = start + 1 + answers.count();
        let exchange = start..end;
        start = end;
        if turns[exchange.clone()].iter().any(|turn| turn.stays) {
            continue;
        }
        let before = gone.len();
        let pictures = exchange.clone().flat_map(|turn| {
            let images = turns[turn].images.iter().enumerate();
            images.map(move |(image, tokens)| (turn, image, *tokens))
        });
        for (turn, image, tokens) in pictures {
            if freed >= excess {
                break;
            }
            gone.push(Dropped::Image { turn, image });
            freed += tokens;
        }
        if freed < excess {
            gone.truncate(before);
            gone.extend(exchange.clone().map(Dropped::Turn));
            freed += turns[exchange].iter().map(|turn| turn.text).sum::<usize>();
        }
    }
    (freed >= excess).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(text: usize, images: &[usize]) -> Turn {
        Turn {
            text,
            images: images.to_vec(),
            ..Turn::default()
        }
    }

    /// Instructions, two old exchanges, the question.
    fn chat() -> Vec<Turn> {
        let stays = |turn| Turn {
            stays: true,
            ..turn
        };
        let answer = |text| Turn {
            answers: true,
            ..turn(text, &[])
        };
        vec![
            stays(turn(10, &[])),
            turn(5, &[100, 50]),
            answer(20),
            turn(5, &[200]),
            answer(20),
            stays(turn(5, &[300])),
        ]
    }

    #[test]
    fn nothing_goes_when_everything_fits() {
        assert_eq!(drop_oldest(&chat(), 0), Some(vec![]));
    }

    #[test]
    fn pictures_of_the_oldest_question_go_first_then_the_exchange_then_the_next() {
        let image = |turn, image| Dropped::Image { turn, image };
        let both = [Dropped::Turn(1), Dropped::Turn(2)];
        let chat = chat();
        assert_eq!(drop_oldest(&chat, 1).unwrap(), [image(1, 0)]);
        assert_eq!(drop_oldest(&chat, 101).unwrap(), [image(1, 0), image(1, 1)]);
        assert_eq!(drop_oldest(&chat, 151).unwrap(), both);
        let further: Vec<Dropped> = both.into_iter().chain([image(3, 0)]).collect();
        assert_eq!(drop_oldest(&chat, 176).unwrap(), further);
    }

    #[test]
    fn instructions_and_the_newest_question_stay_even_if_it_cannot_fit_then() {
        assert_eq!(drop_oldest(&chat(), 400).unwrap().len(), 4);
        assert_eq!(drop_oldest(&chat(), 401), None);
    }

    #[test]
    fn what_goes_frees_as_much_as_was_asked_and_not_an_exchange_more() {
        for excess in 0..=400 {
            let chat = chat();
            let gone = drop_oldest(&chat, excess).unwrap();
            let freed = |gone: &[Dropped]| -> usize {
                let tokens = |dropped: &Dropped| match *dropped {
                    Dropped::Turn(t) => chat[t].text + chat[t].images.iter().sum::<usize>(),
                    Dropped::Image { turn, image } => chat[turn].images[image],
                };
                gone.iter().map(tokens).sum()
            };
            assert!(freed(&gone) >= excess);
            if let Some((Dropped::Image { .. }, others)) = gone.split_last() {
                assert!(freed(others) < excess, "{excess}: {gone:?}");
            }
        }
    }
}

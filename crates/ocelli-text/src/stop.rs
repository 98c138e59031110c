//! Ends an answer at a stop string, wherever the borders of tokens lie.

use crate::Error;

/// Watches a stream of text for stop strings.
///
/// Text that may be the start of a stop string is held back until it is clear. The cut is the same
/// however the text is divided: at the stop string that is complete first, and of those that end
/// together at the longest.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    held: String,
    stopped: bool,
}

/// A stop string was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Which one, by its place in the list.
    pub index: usize,
}

impl StopStrings {
    /// Watches for these strings; none is fine.
    ///
    /// # Errors
    /// A string is empty.
    pub fn new(stops: Vec<String>) -> Result<Self, Error> {
        match stops.iter().position(String::is_empty) {
            Some(index) => Err(Error::EmptyStopString { index }),
            None => Ok(Self {
                stops,
                held: String::new(),
                stopped: false,
            }),
        }
    }

    /// Takes the next text and gives what is safe to show, and the stop string if one is complete.
    /// The stop string itself and what follows it are dropped.
    pub fn push(&mut self, text: &str) -> (String, Option<Stopped>) {
        if self.stopped {
            return (String::new(), None);
        }
        self.held.push_str(text);
        let complete = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, index))
        });
        if let Some((_, start, index)) = complete.min() {
            self.stopped = true;
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), Some(Stopped { index }));
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| possible_start(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// Ends the answer: gives what was held back.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that are the start of `stop`.
fn possible_start(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    let starts = |bytes: &usize| {
        stop.is_char_boundary(*bytes) && text.as_bytes().ends_with(&stop.as_bytes()[..*bytes])
    };
    (1..=longest).rev().find(starts).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(stops: &[&str], parts: &[&str]) -> (String, Option<usize>) {
        let mut watch =
            StopStrings::new(stops.iter().map(|stop| stop.to_string()).collect()).unwrap();
        let mut shown = String::new();
        for part in parts {
            let (text, stopped) = watch.push(part);
            shown.push_str(&text);
            if let Some(Stopped { index }) = stopped {
                return (shown, Some(index));
            }
        }
        (shown + &watch.finish(), None)
    }

    #[test]
    fn the_cut_does_not_depend_on_how_the_text_is_divided() {
        let text = "one\n\nUSER: näin 日本 END. more END";
        let stop_sets: [&[&str]; 5] = [
            &["END"],
            &["USER:", "\n\nUSER:"],
            &["日本 E"],
            &["absent"],
            &["END.", "ND"],
        ];
        for stops in stop_sets {
            let whole = cut(stops, &[text]);
            let characters: Vec<String> = text.chars().map(String::from).collect();
            for size in 1..5 {
                let parts: Vec<String> = characters
                    .chunks(size)
                    .map(|chunk| chunk.concat())
                    .collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                assert_eq!(cut(stops, &parts), whole, "{stops:?} in parts of {size}");
            }
        }
    }

    #[test]
    fn of_stop_strings_that_end_together_the_longest_cuts() {
        assert_eq!(
            cut(&["USER:", "\n\nUSER:"], &["one\n\nUSER: two"]),
            ("one".into(), Some(1))
        );
    }

    #[test]
    fn only_a_possible_start_is_held_back() {
        let mut watch = StopStrings::new(vec!["<end>".into()]).unwrap();
        assert_eq!(watch.push("a < b").0, "a < b");
        assert_eq!(watch.push("c <en").0, "c ");
        assert_eq!(watch.push("x").0, "<enx");
        assert_eq!(watch.finish(), "");
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        assert!(StopStrings::new(vec!["a".into(), String::new()]).is_err());
    }
}

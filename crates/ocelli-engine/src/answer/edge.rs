//! White space around reasoning: templates put it there when they write a conversation, and it is taken
//! away.

use crate::Channel;

/// See the module.
#[derive(Default)]
pub(super) struct Edge {
    /// Nothing but white space since the mark.
    is_open: bool,
    /// White space that is dropped if the reasoning ends here.
    held: String,
}

impl Edge {
    pub(super) fn open() -> Self {
        Self {
            is_open: true,
            held: String::new(),
        }
    }

    pub(super) fn push(&mut self, channel: Channel, new: &str) -> String {
        let new = match self.is_open {
            true => new.trim_start(),
            false => new,
        };
        self.is_open &= new.is_empty();
        if channel == Channel::Answer || new.is_empty() {
            return new.to_owned();
        }
        let text = new.trim_end();
        if text.is_empty() {
            self.held.push_str(new);
            return String::new();
        }
        let mut out = std::mem::take(&mut self.held);
        out.push_str(text);
        self.held = new[text.len()..].to_owned();
        out
    }
}

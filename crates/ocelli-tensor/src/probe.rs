//! Looking at named intermediates: free when off, the source of traces, goldens and bug reports.

use std::fmt;

/// A named intermediate as a probe sees it.
#[derive(Debug)]
pub struct Stage<'a> {
    /// For example `layer.3`.
    pub name: String,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// `[rows, columns]`.
    pub values: &'a [f32],
}

/// Receives intermediates, or does not.
pub enum Probe<'a> {
    /// Nothing is copied or formatted.
    Off,
    /// Every stage goes to the function.
    On(&'a mut dyn FnMut(Stage<'_>)),
}

impl Probe<'_> {
    /// True when somebody looks.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }
}

impl fmt::Debug for Probe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "On" } else { "Off" })
    }
}

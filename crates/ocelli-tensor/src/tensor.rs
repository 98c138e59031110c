//! A matrix somewhere in a backend's memory: shape and place, no data and no operators.

use std::ops::Range;

/// A row-major `[rows, columns]` matrix of `f32` in a [`crate::Memory`].
///
/// Rows are tokens (or patches) and come in two kinds: the first [`Tensor::prompt_rows`] belong to
/// prompts, the rest to tokens being generated. A backend may use other arithmetic for each kind,
/// but a row's result never depends on how many rows stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    rows: usize,
    columns: usize,
    prompt_rows: usize,
    start: usize,
}

impl Tensor {
    pub(crate) fn new(start: usize, rows: usize, columns: usize, prompt_rows: usize) -> Self {
        assert!(
            prompt_rows <= rows,
            "{prompt_rows} prompt rows among {rows}"
        );
        Self {
            rows,
            columns,
            prompt_rows,
            start,
        }
    }

    /// Number of rows: tokens or patches.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: features of one token.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many of the first rows are prompt tokens; the others are being generated.
    pub fn prompt_rows(&self) -> usize {
        self.prompt_rows
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements of the memory that this tensor covers.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }

    /// Some of the rows, in place.
    ///
    /// # Panics
    /// When `rows` goes beyond the tensor.
    #[must_use]
    pub fn slice_rows(&self, rows: Range<usize>) -> Self {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows {rows:?} of {}",
            self.rows
        );
        let prompt_rows = self.prompt_rows.clamp(rows.start, rows.end) - rows.start;
        let start = self.start + rows.start * self.columns;
        Self::new(start, rows.len(), self.columns, prompt_rows)
    }

    /// The same elements as rows of another width, for example `[patches, hidden]` as
    /// `[patches / 4, 4 * hidden]`.
    ///
    /// # Panics
    /// When the element counts differ, or prompt rows and others would share a row.
    #[must_use]
    pub fn reshape(&self, rows: usize, columns: usize) -> Self {
        assert_eq!(self.len(), rows * columns, "reshape keeps every element");
        let prompt_elements = self.prompt_rows * self.columns;
        assert!(
            columns == 0 || prompt_elements.is_multiple_of(columns),
            "a row would be both prompt and generated"
        );
        let prompt_rows = prompt_elements.checked_div(columns).unwrap_or(0);
        Self::new(self.start, rows, columns, prompt_rows)
    }
}

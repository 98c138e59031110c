//! Rows that lie some elements apart in a slice, where a [`crate::Matrix`] would say too much: how
//! many there are and how long they are is known to the loop that reads them, which checks it once.

/// Rows to read, each `stride` elements behind the start of the one before.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) stride: usize,
}

/// Rows to write, each `stride` elements behind the start of the one before.
pub(crate) struct StridedMut<'a, T> {
    pub(crate) values: &'a mut [T],
    pub(crate) stride: usize,
}

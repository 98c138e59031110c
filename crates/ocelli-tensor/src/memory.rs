//! Memory for temporaries: one block reserved at load, handed out in stack order.

use std::any::Any;

use crate::{Backend, Tensor};

/// A backend's block of `f32`, opaque to everyone else.
pub trait Storage: Any + Send {
    /// For the backend that made it to get its own type back.
    fn as_any(&self) -> &dyn Any;
    /// For the backend that made it to get its own type back.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Temporaries of a pass. Tensors are taken from the top and given back by [`Memory::release`].
pub struct Memory {
    storage: Box<dyn Storage>,
    capacity: usize,
    used: usize,
    peak: usize,
}

/// A height of the stack of temporaries, to return to.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// Tensors start at multiples of 16 elements: one cache line.
const ALIGNMENT: usize = 16;

impl Memory {
    /// Reserves room for `capacity` elements on `backend`.
    pub fn reserve(backend: &dyn Backend, capacity: usize) -> Self {
        Self {
            storage: backend.storage(capacity),
            capacity,
            used: 0,
            peak: 0,
        }
    }

    /// A tensor with undefined contents on top of the stack.
    ///
    /// # Panics
    /// When the reservation made at load was too small, which is a bug of the planner.
    pub fn take(&mut self, rows: usize, columns: usize, prompt_rows: usize) -> Tensor {
        let tensor = Tensor::new(self.used, rows, columns, prompt_rows);
        self.used += tensor.len().next_multiple_of(ALIGNMENT);
        assert!(
            self.used <= self.capacity,
            "{} elements of temporaries needed, {} reserved",
            self.used,
            self.capacity
        );
        self.peak = self.peak.max(self.used);
        tensor
    }

    /// The present height of the stack.
    pub fn mark(&self) -> Mark {
        Mark(self.used)
    }

    /// Gives back every tensor taken since `mark`.
    pub fn release(&mut self, mark: Mark) {
        assert!(mark.0 <= self.used, "a mark is released once, newest first");
        self.used = mark.0;
    }

    /// The most elements that were ever in use.
    pub fn peak(&self) -> usize {
        self.peak
    }

    /// Elements that were reserved.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The backend's block.
    pub fn storage(&mut self) -> &mut dyn Storage {
        self.storage.as_mut()
    }
}

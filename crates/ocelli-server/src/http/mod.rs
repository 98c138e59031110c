//! Connections and bodies: what is bounded before anything is understood.

pub(crate) mod body;
pub(crate) mod held;
mod kind;
mod lingering;
pub(crate) mod listen;
pub(crate) mod places;
mod stalling;

//! Connections and bodies: what is bounded before anything is understood.

pub(crate) mod body;
mod kind;
mod lingering;
pub(crate) mod listen;
mod stalling;

//! Connections and bodies: what is bounded before anything is understood.

pub(crate) mod body;
mod kind;
pub(crate) mod listen;
mod stalling;

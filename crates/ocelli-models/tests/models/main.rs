//! The architectures against the reference, against other tools' files, and against broken files.

#![allow(clippy::unwrap_used, reason = "a test stops at what goes wrong")]

#[macro_use]
mod broken;
mod draft;
mod experts;
mod gemma3;
mod goldens;
mod invariance;
mod layouts;
mod mistral;
mod monkey;
mod run;
mod storage;
mod tiles;

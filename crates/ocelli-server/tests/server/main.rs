//! A server of the demo model in this process, asked as its clients would ask it.
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod anthropic;
mod client;
mod completions;
mod described;
mod faults;
#[path = "../../../ocelli-engine/tests/common/faulty.rs"]
mod faulty;
mod fields;
mod files;
mod forms;
mod hostile;
mod isolation;
mod life;
mod meant;
mod models;
mod mutations;
mod ollama;
mod openai;
mod pages;
mod predictions;
mod readme;
mod responses;
mod toolless;
mod tools;
mod videos;

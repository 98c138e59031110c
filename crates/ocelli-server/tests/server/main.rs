//! A server of the demo model in this process, asked as its clients would ask it.
#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod anthropic;
mod client;
mod faults;
mod forms;
mod hostile;
mod life;
mod models;
mod ollama;
mod openai;
mod readme;
mod videos;

//! Downloading from the Hugging Face hub into its cache layout, so that other programs find the files too.
//!
//! A file arrives under `blobs/{etag}.incomplete`, is hashed while it is written, and gets its
//! final name only when size and SHA-256 are right. `refs/main` moves last. A process that dies at
//! any point leaves something that the next one goes on from, and never a wrong file under a final
//! name.
//!
//! - `http.rs` asks: addresses, redirects, where the token goes;
//! - `hub.rs` knows the hub: settings, list of files, what a file must be;
//! - `wanted.rs` picks a model's files from that list;
//! - `transfer.rs` brings one file whole, however often the connection breaks;
//! - `cache.rs` is the layout on disk: locks, links, refs;
//! - `pull.rs` puts these together;
//! - `web.rs` is apart: it fetches a picture from a public address for a server's client.

mod cache;
mod http;
mod hub;
mod pull;
#[cfg(test)]
mod tests;
mod transfer;
mod volume;
mod wanted;
mod watch;
mod web;

pub use hub::{Hub, Patience};
pub use pull::{Progress, Pulled, pull};
pub use web::{WebOptions, fetch_public};

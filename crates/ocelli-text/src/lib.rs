//! Tokenizers and chat templates with the origin of every byte.

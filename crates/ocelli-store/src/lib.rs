//! Finding model files on disk and pairing them.

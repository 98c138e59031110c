//! Ask questions about pictures with vision-language models from GGUF files.

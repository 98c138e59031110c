//! Pictures to patches, exactly as the reference does it.

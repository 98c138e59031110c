//! Boxes and labels painted onto a picture.

//! A model's coordinates, in the pixels of the user's own picture.

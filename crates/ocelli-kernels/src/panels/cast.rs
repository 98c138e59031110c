//! Bytes and words as the numbers they are.
#![allow(
    unsafe_code,
    reason = "plain numbers are valid for all bits; alignment is checked"
)]

/// Implements a cast between slices of plain numbers.
macro_rules! casts {
    ($($(#[$doc:meta])* fn $name:ident($from:ty) -> $to:ty;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name(from: &[$from]) -> &[$to] {
            // SAFETY: all bits are valid for both kinds of number; `align_to` keeps to aligned ones.
            let (before, values, after) = unsafe { from.align_to() };
            assert!(before.is_empty() && after.is_empty(), "whole numbers, aligned");
            values
        }
    )* };
}

/// The same for slices to write.
macro_rules! casts_mut {
    ($($(#[$doc:meta])* fn $name:ident($from:ty) -> $to:ty;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name(from: &mut [$from]) -> &mut [$to] {
            // SAFETY: all bits are valid for both kinds of number; `align_to` keeps to aligned ones.
            let (before, values, after) = unsafe { from.align_to_mut() };
            assert!(before.is_empty() && after.is_empty(), "whole numbers, aligned");
            values
        }
    )* };
}

casts! {
    /// Little-endian IEEE singles.
    fn singles(u8) -> f32;
    /// Little-endian words of 16 bits.
    fn halves(u8) -> u16;
    /// Little-endian words of 32 bits.
    fn words(u8) -> i32;
    /// The bits of singles.
    fn bits(f32) -> i32;
    /// The bytes of singles.
    fn bytes(f32) -> u8;
    /// The bytes of words of 32 bits.
    fn word_bytes(i32) -> u8;
    /// The bytes of halves.
    fn half_bytes(u16) -> u8;
}

casts_mut! {
    /// Two words of 16 bits for each single.
    fn halves_mut(f32) -> u16;
    /// Two words of 16 bits for each word of 32.
    fn word_halves_mut(i32) -> u16;
    /// Four bytes for each single.
    fn bytes_mut(f32) -> u8;
    /// The bits of singles.
    fn bits_mut(f32) -> i32;
}

//! Bytes of panels as the numbers they are.
#![allow(
    unsafe_code,
    reason = "plain numbers are valid for all bits; alignment is checked"
)]

/// Little-endian IEEE singles.
pub(super) fn singles(bytes: &[u8]) -> &[f32] {
    // SAFETY: every four bytes are an `f32`; `align_to` keeps to aligned ones.
    let (before, values, after) = unsafe { bytes.align_to() };
    assert!(
        before.is_empty() && after.is_empty(),
        "panels start at a multiple of 4 bytes"
    );
    values
}

/// Little-endian words of 16 bits.
pub(super) fn halves(bytes: &[u8]) -> &[u16] {
    // SAFETY: every two bytes are a `u16`; `align_to` keeps to aligned ones.
    let (before, values, after) = unsafe { bytes.align_to() };
    assert!(
        before.is_empty() && after.is_empty(),
        "panels start at a multiple of 2 bytes"
    );
    values
}

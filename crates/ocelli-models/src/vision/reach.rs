//! What metadata says about windows: their size, and which layers keep to them.

use crate::Error;
use crate::config::Keys;

/// Side of a window in pixels, unless the file says otherwise.
const WINDOW: usize = 112;
/// Every so many layers one sees the whole frame, unless the file says otherwise.
const FULL_EVERY: usize = 8;

/// Most time positions of one second of a video.
const MOST_POSITIONS: u32 = 1000;

/// What the rows of a layer see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its window.
    Window,
    /// Its frame.
    Frame,
}

/// Which layers see their window and which the whole frame: by a list, or every so many layers.
pub(super) fn reaches(keys: &Keys<'_>, layers: usize) -> Result<Vec<Reach>, Error> {
    let list = keys
        .metadata()
        .u32_array(&keys.key("fullatt_block_indexes"))?;
    if let Some(list) = list {
        if let Some(beyond) = list.iter().find(|i| **i as usize >= layers) {
            return Err(keys.invalid(format!(
                "fullatt_block_indexes has layer {beyond} but there are {layers} layers"
            )));
        }
        let mut reaches = vec![Reach::Window; layers];
        list.iter()
            .for_each(|i| reaches[*i as usize] = Reach::Frame);
        return Ok(reaches);
    }
    let every = keys.u32("n_wa_pattern")?.map_or(FULL_EVERY, |n| n as usize);
    if every > layers.max(FULL_EVERY) {
        return Err(keys.invalid(format!(
            "n_wa_pattern is {every} but there are {layers} layers"
        )));
    }
    let is_full = |i: usize| every == 0 || (i + 1).is_multiple_of(every);
    let reach = |i| {
        if is_full(i) {
            Reach::Frame
        } else {
            Reach::Window
        }
    };
    Ok((0..layers).map(reach).collect())
}

/// Time positions of one second of a video, where the file states them.
pub(super) fn positions_per_second(keys: &Keys<'_>) -> Result<Option<f64>, Error> {
    match keys.u32("tokens_per_second")? {
        Some(found) if found > MOST_POSITIONS => Err(keys.invalid(format!(
            "tokens_per_second is {found}, need at most {MOST_POSITIONS}"
        ))),
        found => Ok(found.map(f64::from)),
    }
}

/// Side of a window in tokens of `factor` pixels.
pub(super) fn window(keys: &Keys<'_>, factor: usize) -> Result<usize, Error> {
    let pixels = keys.u32("window_size")?.map_or(WINDOW, |n| n as usize);
    if pixels < factor {
        return Err(keys.invalid(format!(
            "window_size is {pixels} pixels, need at least {factor} (one token)"
        )));
    }
    Ok(pixels / factor)
}

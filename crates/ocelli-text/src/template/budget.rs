//! What one rendering may take, and the filters and functions that count it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Interpreter steps of one rendering, the meters' own included.
pub(super) const STEPS: u64 = 2_000_000;
/// Bytes that one rendering may touch, beyond a multiple of its input.
const BYTES: u64 = 16 << 20;
/// Bytes of one value, beyond a multiple of the input.
const VALUE_BYTES: u64 = 1 << 20;
/// Bytes that a value takes beside its text.
const VALUE_COST: u64 = 16;
/// Deepest nesting of a value.
const DEPTH: usize = 64;
/// Largest number to multiply with, and longest text or list to repeat.
const FACTOR: i64 = 65_536;
const REPEATED: usize = 64;

/// Counts down while a template runs. Every value that an expression uses is charged.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    remaining: Arc<AtomicU64>,
    value_bytes: u64,
}

impl Budget {
    /// The budget for messages and arguments of `input_bytes` together.
    pub(super) fn new(input_bytes: usize) -> Self {
        let input = input_bytes as u64;
        Self {
            remaining: Arc::new(AtomicU64::new(BYTES + 64 * input)),
            value_bytes: VALUE_BYTES + 8 * input,
        }
    }

    /// Takes `bytes` away.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Error> {
        let taken = self
            .remaining
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        match taken {
            Ok(_) => Ok(()),
            Err(left) => Err(exceeded(&format!(
                "memory budget: {bytes} bytes, {left} left"
            ))),
        }
    }

    /// Charges the size of a value, with all that it holds.
    pub(super) fn charge(&self, value: &Value) -> Result<(), Error> {
        let most = self.value_bytes.min(self.remaining.load(Ordering::Relaxed));
        let mut size = 0;
        measure(value, 0, most, &mut size)?;
        self.take(size)
    }

    /// Refuses what `*` could blow up.
    pub(super) fn factor(&self, value: &Value) -> Result<(), Error> {
        let number = value.as_i64().filter(|_| value.kind() == ValueKind::Number);
        let small = match number {
            Some(number) => number.abs() <= FACTOR,
            None => {
                value.kind() == ValueKind::Number
                    || value.len().is_none_or(|length| length <= REPEATED)
            }
        };
        match small {
            true => self.take(number.map_or(0, |number| number.unsigned_abs() * REPEATED as u64)),
            false => Err(exceeded("memory budget: a factor of `*` is too large")),
        }
    }
}

pub(super) fn exceeded(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("exceeded its {what}"))
}

/// Adds the size of `value` to `size`; stops as soon as that is more than `most`. A value that
/// holds the same list many times counts it as often, as printing or comparing it would.
fn measure(value: &Value, depth: usize, most: u64, size: &mut u64) -> Result<(), Error> {
    if depth > DEPTH {
        return Err(exceeded(&format!(
            "depth: a value nested more than {DEPTH} deep"
        )));
    }
    *size += VALUE_COST + value.as_str().map_or(0, str::len) as u64;
    if *size > most {
        return Err(exceeded(&format!(
            "memory budget: a value of more than {most} bytes"
        )));
    }
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                measure(&item, depth + 1, most, size)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                measure(&value.get_item(&key)?, depth + 1, most, size)?;
                measure(&key, depth + 1, most, size)?;
            }
        }
        _ => {}
    }
    Ok(())
}

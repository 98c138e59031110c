//! Whether all numbers of a trace are numbers. One that is none spoils every stage behind it.

use super::compare::order;
use super::{Entry, Trace, Values};
use crate::Error;

impl Trace {
    /// Checks that every value is finite.
    ///
    /// # Errors
    /// Names the first stage of the run with one that is not.
    pub fn check_finite(&self) -> Result<(), Error> {
        let is_spoilt = |entry: &Entry| match &entry.values {
            Values::F32(values) => values.iter().any(|value| !value.is_finite()),
            Values::I32(_) => false,
        };
        let spoilt = self.stages.iter().filter(|(_, entry)| is_spoilt(entry));
        match spoilt.map(|(name, _)| name).min_by_key(|name| order(name)) {
            None => Ok(()),
            Some(first) => Err(ocelli_engine::Error::NonFinite {
                what: format!("values at {first}"),
            }
            .into()),
        }
    }
}

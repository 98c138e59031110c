//! The error of one stage against the reference.

use std::fmt;

/// The largest relative error (max|a-b| / max|b|) that a stage computed in F32 may have.
pub const TOLERANCE: f32 = 1e-4;

/// How far one stage is from the reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The stage, as `ocelli trace` names it.
    pub name: String,
    /// max|got - expected| / max|expected|; infinite when the lengths differ or a value is not finite.
    pub error: f32,
    /// What is wrong, for the reader of a failing test; says where the values first part.
    details: String,
}

impl Report {
    /// Whether the error is below `tolerance`.
    pub fn passes(&self, tolerance: f32) -> bool {
        self.error < tolerance
    }

    pub(crate) fn failure(name: &str, details: String) -> Self {
        Self {
            name: name.to_owned(),
            error: f32::INFINITY,
            details,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<28} error {:.1e}", self.name, self.error)?;
        if !self.details.is_empty() {
            write!(f, ", {}", self.details)?;
        }
        Ok(())
    }
}

/// Compares a stage with the reference's values.
///
/// The first value whose own difference exceeds [`TOLERANCE`] × max|expected| is named: in a stage
/// that is wrong from some row on, its index shows which.
pub fn compare(name: &str, got: &[f32], expected: &[f32]) -> Report {
    if got.len() != expected.len() {
        let details = format!("has {} values, need {}", got.len(), expected.len());
        return Report::failure(name, details);
    }
    if let Some(index) = got.iter().position(|value| !value.is_finite()) {
        return Report::failure(name, format!("value {index} is {}", got[index]));
    }
    let scale = expected
        .iter()
        .fold(0f32, |most, value| most.max(value.abs()));
    let difference = |index: usize| (got[index] - expected[index]).abs();
    let largest = (0..got.len()).map(difference).fold(0f32, f32::max);
    let error = if largest == 0.0 { 0.0 } else { largest / scale };
    let first = (0..got.len())
        .find(|&index| difference(index) >= TOLERANCE * scale && difference(index) > 0.0);
    let details = first.map_or_else(String::new, |index| {
        format!(
            "first at value {index} of {}: {}, need {}",
            got.len(),
            got[index],
            expected[index]
        )
    });
    Report {
        name: name.to_owned(),
        error,
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_relative_to_the_largest_expected_value() {
        let report = compare("x", &[100.0, 1.01], &[100.0, 1.0]);
        assert!((report.error - 1e-4).abs() < 1e-6, "{report}");
        assert!(compare("x", &[100.0, 1.001], &[100.0, 1.0]).passes(TOLERANCE));
    }

    #[test]
    fn first_value_out_of_tolerance_is_named() {
        let report = compare("text.layer.0", &[1.0, 2.0, 3.5, 9.0], &[1.0, 2.0, 3.0, 4.0]);
        assert!(!report.passes(TOLERANCE));
        assert!(
            report.to_string().contains("value 2 of 4: 3.5, need 3"),
            "{report}"
        );
        assert!(report.to_string().starts_with("text.layer.0"), "{report}");
    }

    #[test]
    fn wrong_length_and_non_finite_values_never_pass() {
        assert!(!compare("x", &[1.0], &[1.0, 2.0]).passes(f32::MAX));
        assert!(!compare("x", &[f32::NAN], &[1.0]).passes(f32::MAX));
        assert!(!compare("x", &[1.0], &[0.0]).passes(f32::MAX));
    }

    #[test]
    fn equal_zeros_pass() {
        assert!(compare("x", &[0.0; 3], &[0.0; 3]).passes(TOLERANCE));
    }
}

//! Keeps the compiler of schemas from numbers that it does not hold exactly: bounds move inwards, and
//! what has to be met to the digit is refused.

use serde_json::{Number, Value, json};

use super::restate::Fields;

/// Up to here the compiler has every whole number.
const EXACT: i128 = 1 << 53;
/// The largest number of 64 bits with a sign that is a number in floating point as well.
const LARGEST_WHOLE: f64 = 9_223_372_036_854_774_784.0;
/// From here on whole numbers have more digits than an answer's.
const BEYOND_WHOLE: f64 = 1e20;
/// Bounds of other numbers that the compiler can count to.
const LARGEST: f64 = 9e17;
/// No number of an answer gets there, with its digits and its exponent.
const BEYOND: f64 = 1e120;
/// Bounds that the compiler would round outwards are rounded inwards, and those that are no bounds to
/// what an answer can hold are left out.
pub(super) fn restate_bounds(fields: &mut Fields) -> Result<(), String> {
    let is_whole = fields.get("type").is_some_and(|kind| match kind {
        Value::Array(kinds) => !kinds.iter().any(|kind| kind == "number"),
        kind => kind == "integer",
    });
    let (largest, beyond) = match is_whole {
        true => (LARGEST_WHOLE, BEYOND_WHOLE),
        false => (LARGEST, BEYOND),
    };
    let sides = [
        ("minimum", "exclusiveMinimum", 1.0),
        ("maximum", "exclusiveMaximum", -1.0),
    ];
    for (inclusive, exclusive, inwards) in sides {
        for key in [inclusive, exclusive] {
            let Some(Value::Number(number)) = fields.get(key) else {
                continue;
            };
            // From here on, as if every bound were a lower one.
            let bound = inwards * rounded(number, inwards);
            if bound > largest {
                return Err(format!(
                    "{key} {number} cannot be enforced: bounds may be up to {largest:e}"
                ));
            }
            if bound <= -beyond {
                fields.remove(key);
            } else if bound < -largest {
                fields.insert(key.to_owned(), json!(-largest * inwards));
            } else if inwards * bound != number.as_f64().unwrap_or(f64::NAN) || !is_exact(number) {
                fields.insert(key.to_owned(), json!(inwards * bound));
            }
        }
    }
    for ((inclusive, exclusive, inwards), (end, exclusive_end, _)) in
        [(sides[0], sides[1]), (sides[1], sides[0])]
    {
        let of = |key: &str| {
            fields
                .get(key)
                .and_then(Value::as_f64)
                .map(|bound| inwards * bound)
        };
        let bound = of(inclusive)
            .into_iter()
            .chain(of(exclusive))
            .fold(0.0, f64::max);
        let is_open = !fields.contains_key(end) && !fields.contains_key(exclusive_end);
        // The compiler counts the digits of an open range one further.
        if is_whole && is_open && bound >= LARGEST {
            fields.insert(end.to_owned(), json!(inwards * LARGEST_WHOLE));
        }
    }
    Ok(())
}

/// The nearest number in floating point that is not outside the bound.
fn rounded(number: &Number, inwards: f64) -> f64 {
    let near = number.as_f64().unwrap_or(f64::NAN);
    let Some(exact) = whole(number) else {
        return near;
    };
    let difference = near as i128 - exact;
    match (difference.signum(), inwards > 0.0) {
        (-1, true) => near.next_up(),
        (1, false) => near.next_down(),
        _ => near,
    }
}

fn whole(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

fn is_exact(number: &Number) -> bool {
    whole(number).is_none_or(|exact| exact.abs() <= EXACT)
}

/// Refuses whole numbers that the compiler would write with other digits.
pub(super) fn check_numbers(value: &Value) -> Result<(), String> {
    match value {
        Value::Number(number) => {
            let exact = number
                .as_i64()
                .map(|exact| exact as f64 as i128 == i128::from(exact));
            match exact.or_else(|| number.is_u64().then_some(false)) {
                Some(false) => Err(format!(
                    "{number} in const or enum cannot be enforced: whole numbers may be up to {EXACT}; \
                     use a string"
                )),
                _ => Ok(()),
            }
        }
        Value::Array(values) => values.iter().try_for_each(check_numbers),
        Value::Object(fields) => fields.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::restate::restate;
    use super::*;

    fn restated(mut schema: Value) -> Value {
        restate(&mut schema).unwrap();
        schema
    }

    #[test]
    fn bounds_beyond_what_is_counted_exactly_move_inwards() {
        for (schema, expected) in [
            (
                json!({"minimum": -(1_i64 << 53) - 1}),
                json!({"minimum": -9_007_199_254_740_992.0}),
            ),
            (
                json!({"maximum": (1_u64 << 53) + 1}),
                json!({"maximum": 9_007_199_254_740_992.0}),
            ),
            (
                json!({"minimum": (1_u64 << 53) + 1}),
                json!({"minimum": 9_007_199_254_740_994.0}),
            ),
            (
                json!({"minimum": i64::MIN, "maximum": i64::MAX}),
                json!({"minimum": -LARGEST_WHOLE, "maximum": LARGEST_WHOLE}),
            ),
            (
                json!({"minimum": 0, "maximum": u64::MAX}),
                json!({"minimum": 0, "maximum": LARGEST_WHOLE}),
            ),
            (
                json!({"minimum": 1_000_000_000_000_000_000_u64}),
                json!({"minimum": 1e18, "maximum": LARGEST_WHOLE}),
            ),
            (json!({"maximum": 1e30}), json!({})),
        ] {
            let typed = |mut schema: Value| {
                schema["type"] = json!("integer");
                schema
            };
            assert_eq!(restated(typed(schema.clone())), typed(expected), "{schema}");
        }
        let double = json!({"type": "number", "minimum": -f64::MAX, "maximum": f64::MAX});
        assert_eq!(restated(double), json!({"type": "number"}));
        let large = json!({"type": "number", "maximum": 1e30});
        assert_eq!(
            restated(large),
            json!({"type": "number", "maximum": LARGEST})
        );
    }

    #[test]
    fn numbers_that_would_be_written_with_other_digits_are_refused() {
        for schema in [
            json!({"const": (1_i64 << 53) + 1}),
            json!({"properties": {"a": {"enum": [1, [{"b": u64::MAX}]]}}}),
            json!({"items": {"type": "number", "minimum": 1e30}}),
        ] {
            let mut found = schema.clone();
            let error = restate(&mut found).unwrap_err();
            assert!(error.contains("cannot be enforced"), "{schema}: {error}");
        }
        let exact = json!({"enum": [1_i64 << 53, 1.5, 1e30, -5, 1_i64 << 60]});
        assert_eq!(restated(exact.clone()), exact);
    }
}

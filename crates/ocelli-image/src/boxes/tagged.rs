//! Boxes between special tokens, as in
//! `<|object_ref_start|>name<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>`.

use super::{Corners, Written};

pub(super) fn parse(answer: &str) -> Vec<Written> {
    let mut found = Vec::new();
    let mut label = None;
    let mut rest = answer;
    while let Some(at) = rest.find("<|") {
        rest = &rest[at..];
        let shape = rest
            .strip_prefix("<|box_start|>")
            .or_else(|| rest.strip_prefix("<|quad_start|>"));
        if let Some(inside) = rest.strip_prefix("<|object_ref_start|>") {
            let (name, after) = inside.split_at(inside.find("<|").unwrap_or(inside.len()));
            label = Some(name.trim().to_owned());
            rest = after;
        } else if let Some(inside) = shape {
            let (text, after) = inside.split_at(inside.find("<|").unwrap_or(inside.len()));
            let corners = Corners::from_numbers(&numbers(text));
            // Without the closing tag more corners may have been coming.
            let corners = corners.filter(|_| !after.is_empty());
            found.extend(corners.map(|corners| Written {
                label: label.clone(),
                corners,
            }));
            rest = after;
        } else {
            rest = &rest[2..];
        }
    }
    found
}

/// The numbers of all complete `(x,y)` pairs.
fn numbers(text: &str) -> Vec<f64> {
    let mut numbers = Vec::new();
    for pair in text.split('(').skip(1) {
        let Some((inside, _)) = pair.split_once(')') else {
            break;
        };
        let mut values = inside.split(',').map(|number| number.trim().parse::<f64>());
        if let (Some(Ok(x)), Some(Ok(y)), None) = (values.next(), values.next(), values.next()) {
            numbers.extend([x, y]);
        }
    }
    numbers
}

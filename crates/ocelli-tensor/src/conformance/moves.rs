//! Copies, gathers, scatters, and the search for values that are not finite.

use super::{Lab, ROWS, Random, assert_same};
use crate::Backend;

/// Copies, gathers, scatters, and the search for values that are not finite.
///
/// # Panics
/// When the backend breaks its contract.
pub fn check_moves(backend: &dyn Backend) {
    let mut lab = Lab::new(backend);
    let columns = 19;
    let values = Random::new(5).values(ROWS * columns);
    let row = |i: usize| values[i * columns..][..columns].to_vec();
    let x = lab.put(&values, columns, ROWS);
    let out = lab.junk(ROWS, columns, ROWS);
    backend.copy(lab.memory.storage(), x, out);
    assert_same("copy", &lab.get(out), &values);

    let chosen = [3, 63, 0, 3];
    let gathered = lab.junk(4, columns, 4);
    backend.gather(lab.memory.storage(), x, &chosen, gathered);
    assert_same("gather", &lab.get(gathered), &chosen.map(row).concat());

    let target = lab.junk(5, columns, 5);
    backend.scatter(lab.memory.storage(), gathered, &[4, 0, 1, 3], target);
    let kept = vec![-77.0; columns];
    assert_same(
        "scatter",
        &lab.get(target),
        &[row(63), row(0), kept, row(3), row(3)].concat(),
    );
    backend.scatter_add(lab.memory.storage(), gathered, &[4, 0, 1, 3], target);
    let sum: Vec<f32> = row(63).iter().map(|x| x + x).collect();
    assert_same("scatter_add", &lab.get(target)[..columns], &sum);
    assert_eq!(
        lab.get(target)[3 * columns - 1],
        -77.0,
        "scatter_add leaves other rows alone"
    );

    check_finite(backend);
}

fn check_finite(backend: &dyn Backend) {
    let mut lab = Lab::new(backend);
    for (position, value, finite) in [
        (0, 1.0, true),
        (0, f32::NAN, false),
        (4095, f32::INFINITY, false),
        (999, f32::MAX, true),
    ] {
        let mut values = vec![0.5; 64 * 64];
        values[position] = value;
        let x = lab.put(&values, 64, 64);
        assert_eq!(
            backend.is_finite(lab.memory.storage(), x),
            finite,
            "is_finite with {value} at {position}"
        );
    }
}

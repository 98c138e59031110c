//! Times in buckets, as Prometheus wants them.

use std::fmt::Write as _;

/// Upper bounds of the buckets of times, in seconds.
const BUCKETS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0,
];

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// Counts a time.
    pub(super) fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        for (bucket, most) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= most);
        }
    }

    /// Writes the buckets, their sum and their count; `model` is a label's value.
    pub(super) fn write(&self, out: &mut String, name: &str, model: &str) {
        for (count, most) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(
                out,
                "{name}_bucket{{model_name=\"{model}\",le=\"{most}\"}} {count}"
            );
        }
        let (count, sum) = (self.count, self.sum);
        let _ = writeln!(
            out,
            "{name}_bucket{{model_name=\"{model}\",le=\"+Inf\"}} {count}"
        );
        let _ = writeln!(out, "{name}_sum{{model_name=\"{model}\"}} {sum}");
        let _ = writeln!(out, "{name}_count{{model_name=\"{model}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_that_is_not_slower() {
        let mut histogram = Histogram::default();
        histogram.add(0.02);
        histogram.add(700.0);
        let mut out = String::new();
        histogram.write(&mut out, "t", "a\\\"b");
        assert!(
            out.contains("t_bucket{model_name=\"a\\\"b\",le=\"0.01\"} 0"),
            "{out}"
        );
        assert!(out.contains("le=\"0.025\"} 1"), "{out}");
        assert!(out.contains("le=\"600\"} 1"), "{out}");
        assert!(out.contains("le=\"+Inf\"} 2"), "{out}");
    }
}

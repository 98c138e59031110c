//! Where the time of a stage went: a line for each kind of operation of its passes.

use std::sync::Arc;

use ocelli_tensor::{OperationTime, Timed};
use serde::Serialize;

use super::limits::Limit;

/// Kinds of operations of the stages of a case, longest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OperationsReport {
    /// Of encoding.
    pub encode: Vec<OperationReport>,
    /// Of the prompt.
    pub prefill: Vec<OperationReport>,
    /// Of the tokens after the first.
    pub decode: Vec<OperationReport>,
}

/// One kind of operation, all repeats together.
#[derive(Clone, Debug, Serialize)]
pub struct OperationReport {
    /// What it is, with type and sizes of the weight of a product.
    pub operation: String,
    /// How often it was called in a repeat.
    pub calls: f64,
    /// What it took in a repeat, the mean.
    pub seconds: f64,
    /// Of the time of the whole stage.
    pub share_of_stage: f64,
    /// Multiplications and additions of products and attention in a repeat, in units of 1e12.
    pub tera_operations: Option<f64>,
    /// Of the limit of the stage: of products for encoding and prompt, of reading of weights for
    /// generated tokens.
    pub share_of_limit: Option<f64>,
}

/// What was called in each stage of a case.
pub(super) struct Calls {
    timed: Option<Arc<Timed>>,
    encode: Vec<OperationTime>,
    prefill: Vec<OperationTime>,
    decode: Vec<OperationTime>,
}

/// A stage that operations belong to.
#[derive(Clone, Copy)]
pub(super) enum During {
    Encode,
    Prefill,
    Decode,
}

impl Calls {
    /// Nothing yet; always nothing without a backend that keeps times.
    pub(super) fn new(timed: Option<&Arc<Timed>>) -> Self {
        Self {
            timed: timed.cloned(),
            encode: Vec::new(),
            prefill: Vec::new(),
            decode: Vec::new(),
        }
    }

    /// Counts what was called since the last time to a stage.
    pub(super) fn belong_to(&mut self, stage: During) {
        let Some(timed) = &self.timed else { return };
        let all = match stage {
            During::Encode => &mut self.encode,
            During::Prefill => &mut self.prefill,
            During::Decode => &mut self.decode,
        };
        // The step that finishes a picture may run the text behind it, too.
        let times = match stage {
            During::Encode => timed.take_before_text(),
            During::Prefill | During::Decode => timed.take(),
        };
        OperationTime::merge(all, times);
    }

    /// Forgets what was called since the last time.
    pub(super) fn skip(&self) {
        if let Some(timed) = &self.timed {
            timed.take();
        }
    }

    /// Shares of stages that took so many seconds in each repeat.
    pub(super) fn report(
        &self,
        (encode, prefill, decode): (&[f64], &[f64], &[f64]),
        limit: Limit,
    ) -> Option<OperationsReport> {
        self.timed.as_ref()?;
        let products = |time: &OperationTime| time.operations as f64 / 1e12 / limit.float_tera;
        let reading = |time: &OperationTime| time.weight_bytes as f64 / 1e9 / limit.read_gbps;
        Some(OperationsReport {
            encode: stage(&self.encode, encode, products),
            prefill: stage(&self.prefill, prefill, products),
            decode: stage(&self.decode, decode, reading),
        })
    }
}

/// A line for each kind and one for what no operation took; `at_limit` gives the seconds that a
/// kind would take at the limit.
fn stage(
    times: &[OperationTime],
    seconds: &[f64],
    at_limit: impl Fn(&OperationTime) -> f64,
) -> Vec<OperationReport> {
    let (repeats, whole) = (seconds.len() as f64, seconds.iter().sum::<f64>());
    if seconds.is_empty() {
        return Vec::new();
    }
    let mut lines: Vec<OperationReport> = times
        .iter()
        .map(|time| {
            let (taken, least) = (time.time.as_secs_f64(), at_limit(time));
            OperationReport {
                operation: time.operation.to_string(),
                calls: time.calls as f64 / repeats,
                seconds: taken / repeats,
                share_of_stage: taken / whole,
                tera_operations: (time.operations > 0)
                    .then(|| time.operations as f64 / 1e12 / repeats),
                share_of_limit: (least > 0.0).then(|| least / taken),
            }
        })
        .collect();
    let inside: f64 = times.iter().map(|time| time.time.as_secs_f64()).sum();
    lines.push(OperationReport {
        operation: "between operations".to_owned(),
        calls: 0.0,
        seconds: (whole - inside) / repeats,
        share_of_stage: (whole - inside) / whole,
        tera_operations: None,
        share_of_limit: None,
    });
    lines.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ocelli_tensor::Operation;

    use super::*;

    #[test]
    fn shares_of_a_stage_add_up_and_the_longest_comes_first() {
        let time = |operation, seconds, operations| OperationTime {
            operation,
            calls: 4,
            time: Duration::from_secs(seconds),
            operations,
            weight_bytes: 0,
        };
        let times = [
            time(Operation::Norm, 1, 0),
            time(Operation::AttentionPaged, 4, 8_000_000_000_000),
        ];
        let lines = stage(&times, &[4.0, 4.0], |time| time.operations as f64 / 4e12);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.operation.as_str(), line.seconds, line.share_of_stage))
            .collect();
        assert_eq!(
            found,
            [
                ("attention to the cache", 2.0, 0.5),
                ("between operations", 1.5, 0.375),
                ("norm", 0.5, 0.125),
            ]
        );
        let (attention, norm) = (&lines[0], &lines[2]);
        assert_eq!((attention.calls, norm.calls), (2.0, 2.0));
        assert_eq!(attention.tera_operations, Some(4.0));
        assert_eq!(
            (attention.share_of_limit, norm.share_of_limit),
            (Some(0.5), None)
        );
        assert!(stage(&times, &[], |_| 0.0).is_empty());
    }
}

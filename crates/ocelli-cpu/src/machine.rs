//! The limits of this machine, measured on all threads of a backend: reading of memory, and the peak of each
//! arithmetic unit. What a model reaches is compared with them.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ocelli_kernels::peak::{self, Operands, Unit};

use crate::CpuBackend;
use crate::memory::AlignedBytes;

/// Bytes that each thread reads: more than its share of any cache.
const READ_BYTES: usize = 128 << 20;
/// Fewest bytes that are read in all.
const LEAST_READ_BYTES: usize = 256 << 20;
/// Most bytes that are read in all.
const MOST_READ_BYTES: usize = 2 << 30;
/// How long each rate is measured for [`Machine`].
const MEASURE: Duration = Duration::from_millis(200);
/// How long a rate is measured again later.
const MEASURE_AGAIN: Duration = Duration::from_millis(60);
/// How long one run of an arithmetic unit should last.
const RUN: Duration = Duration::from_millis(10);

/// What the machine can do at most with the threads of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Bytes read from memory in a second, in units of 1e9.
    pub read_gbps: f64,
    /// Every arithmetic unit that the processor has, whatever the backend uses.
    pub peaks: Vec<Peak>,
    /// The instruction set that the backend uses.
    pub isa: &'static str,
    /// Threads that compute.
    pub threads: usize,
}

/// The fastest rate of an arithmetic unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// The instruction set.
    pub isa: &'static str,
    /// What is multiplied: `f32`, `bf16` or `int8`.
    pub operands: &'static str,
    /// Multiplications and additions in a second, in units of 1e12.
    pub tera: f64,
    /// Whether the backend's instruction set includes it.
    pub is_usable: bool,
}

impl Machine {
    /// The fastest rate of products in F32 or BF16 that the backend's instruction set allows.
    pub fn float_tera(&self) -> f64 {
        let float = |peak: &&Peak| peak.operands != Operands::Int8.name();
        self.fastest(float).unwrap_or(0.0)
    }

    /// The fastest rate of products of bytes, if the backend's instruction set has any.
    pub fn int8_tera(&self) -> Option<f64> {
        self.fastest(|peak| peak.operands == Operands::Int8.name())
    }

    fn fastest(&self, wanted: impl Fn(&&Peak) -> bool) -> Option<f64> {
        let usable = self.peaks.iter().filter(|peak| peak.is_usable);
        usable.filter(wanted).map(|peak| peak.tera).reduce(f64::max)
    }
}

impl CpuBackend {
    /// Measures the machine on this backend's threads, which takes about two seconds. `None` when
    /// there is no memory to read.
    pub fn measure_machine(&self) -> Option<Machine> {
        Some(Machine {
            read_gbps: self.read_rate(MEASURE)? / 1e9,
            peaks: Unit::ALL
                .into_iter()
                .filter(|unit| unit.is_available())
                .map(|unit| Peak {
                    isa: unit.isa(),
                    operands: unit.operands().name(),
                    tera: self.unit_rate(unit, MEASURE) / 1e12,
                    is_usable: unit.is_part_of(self.isa()),
                })
                .collect(),
            isa: self.isa(),
            threads: self.threads(),
        })
    }

    /// [`Machine::read_gbps`] as it is now: where others share the memory, it is not what it was a
    /// minute ago. Takes about 0.2 seconds; `None` when there is no memory to read.
    pub fn measure_read_gbps(&self) -> Option<f64> {
        self.read_rate(MEASURE_AGAIN).map(|rate| rate / 1e9)
    }

    /// [`Machine::float_tera`] as it is now, of the unit that was the fastest.
    pub fn measure_float_tera(&self, machine: &Machine) -> f64 {
        let is_fastest = |unit: &Unit| {
            let peak = |peak: &&Peak| {
                peak.is_usable
                    && (peak.isa, peak.operands) == (unit.isa(), unit.operands().name())
                    && unit.operands() != Operands::Int8
            };
            let peak = machine.peaks.iter().find(peak);
            peak.is_some_and(|peak| peak.tera == machine.float_tera())
        };
        let unit = Unit::ALL.into_iter().find(is_fastest);
        unit.map_or(0.0, |unit| self.unit_rate(unit, MEASURE_AGAIN) / 1e12)
    }

    /// Bytes a second, the best of some runs.
    fn read_rate(&self, measured: Duration) -> Option<f64> {
        let len = (self.threads() * READ_BYTES).clamp(LEAST_READ_BYTES, MOST_READ_BYTES);
        let mut block = AlignedBytes::zeros(len)?;
        // Written first, so that every page is there, and read in runs that threads claim.
        let run = len.div_ceil(8 * self.threads());
        let runs: Vec<_> = block.bytes_mut().chunks_mut(run).map(Mutex::new).collect();
        self.pool.run(runs.len(), &|index, _| {
            let mut run = runs[index].lock().unwrap_or_else(PoisonError::into_inner);
            run.fill(1);
        });
        drop(runs);
        let bytes = block.bytes();
        let read_all = || {
            self.pool.run(len.div_ceil(run), &|index, _| {
                let end = len.min((index + 1) * run);
                black_box(peak::read(&bytes[index * run..end]));
            });
        };
        Some(len as f64 / least_seconds(measured, read_all))
    }

    /// Operations a second, the best of some runs.
    fn unit_rate(&self, unit: Unit, measured: Duration) -> f64 {
        let mut rounds = 1_000;
        // Rounds for one run, from a run that is long enough to be timed.
        let operations = loop {
            let start = Instant::now();
            let operations = unit.run(rounds);
            if start.elapsed() >= RUN || rounds >= u32::MAX / 4 {
                break operations;
            }
            rounds *= 2;
        };
        let threads = self.threads();
        let seconds = least_seconds(measured, || {
            self.pool.run(threads, &|_, _| {
                black_box(unit.run(rounds));
            });
        });
        operations as f64 * threads as f64 / seconds
    }
}

/// The least time of the runs that fit into a duration, at least three.
fn least_seconds(measured: Duration, mut run: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut least = f64::INFINITY;
    for count in 0.. {
        if count >= 3 && begun.elapsed() > measured {
            break;
        }
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CpuOptions, Isa};

    #[test]
    fn every_rate_is_above_zero_and_the_float_peak_is_of_the_set_in_use() {
        let options = CpuOptions {
            threads: Some(2),
            isa: Some(Isa::Scalar),
            ..CpuOptions::default()
        };
        let backend = CpuBackend::new(&options).unwrap();
        let machine = backend.measure_machine().unwrap();
        assert!(machine.read_gbps > 0.0);
        assert!(machine.peaks.iter().all(|peak| peak.tera > 0.0));
        let scalar = machine.peaks.iter().find(|peak| peak.isa == "scalar");
        assert_eq!(machine.float_tera(), scalar.unwrap().tera);
        assert_eq!(machine.int8_tera(), None);
        assert!(backend.measure_read_gbps().unwrap() > 0.0);
        assert!(backend.measure_float_tera(&machine) > 0.0);
        assert_eq!((machine.isa, machine.threads), ("scalar", 2));
    }
}

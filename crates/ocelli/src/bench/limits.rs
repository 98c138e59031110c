//! The machine's limits while a benchmark runs: on a shared machine they change within minutes, so
//! they are measured again beside every stage, and a stage is compared with what was measured
//! around it.

use std::sync::Arc;

use ocelli_cpu::{CpuBackend, Machine};

use super::report::Stage;
use super::system;

/// What was measured so far.
pub(super) struct Limits {
    backend: Arc<CpuBackend>,
    /// As it was at the start.
    pub(super) machine: Machine,
    read_gbps: Vec<f64>,
    float_tera: Vec<f64>,
    /// Most bytes that the process had before memory was taken to be read.
    peak_bytes: Option<u64>,
}

/// The limits that some stages are compared with.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) read_gbps: f64,
    pub(super) float_tera: f64,
}

impl Limits {
    pub(super) fn new(backend: &Arc<CpuBackend>, machine: Machine) -> Self {
        Self {
            backend: Arc::clone(backend),
            read_gbps: vec![machine.read_gbps],
            float_tera: vec![machine.float_tera()],
            machine,
            peak_bytes: None,
        }
    }

    /// Measures again.
    pub(super) fn refresh(&mut self) {
        self.peak_bytes = self.peak_bytes();
        self.read_gbps.extend(self.backend.measure_read_gbps());
        let tera = self.backend.measure_float_tera(&self.machine);
        self.float_tera.push(tera);
        // The memory that was read is no part of what a model needs.
        system::forget_peak();
    }

    /// How often the limits were measured, for [`Limits::since`].
    pub(super) fn count(&self) -> (usize, usize) {
        (self.read_gbps.len(), self.float_tera.len())
    }

    /// The medians of what was measured after a count; those of everything where that is nothing.
    pub(super) fn since(&self, (reads, floats): (usize, usize)) -> Limit {
        let median = |all: &[f64], from: usize| {
            let part = all.get(from..).filter(|part| !part.is_empty());
            Stage::of(part.unwrap_or(all)).seconds.unwrap_or(0.0)
        };
        Limit {
            read_gbps: median(&self.read_gbps, reads),
            float_tera: median(&self.float_tera, floats),
        }
    }

    /// Most memory that the process had, but for what was taken to be read.
    pub(super) fn peak_bytes(&self) -> Option<u64> {
        self.peak_bytes.max(system::peak_bytes())
    }
}

//! Weights: packed once at load, in parallel, into the panels that kernels read.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ocelli_kernels::{Kernels, LANES, PanelFormat, Panels, Workspace};
use ocelli_quant::{TensorType, dequantize, quantize_into};
use ocelli_tensor::{PackError, Use, Weight, WeightSource};

use crate::arithmetic::Arithmetic;
use crate::memory::{AlignedBytes, Pieces};
use crate::pool::Pool;

/// What weights are packed with.
#[derive(Clone, Copy)]
pub(crate) struct Packer<'a> {
    pub(crate) pool: &'a Pool,
    /// Where they are put.
    pub(crate) memory: &'a Pieces,
    /// What says in which layout a product takes them.
    pub(crate) arithmetic: Arithmetic,
}

/// A packed weight: one part for each source, stacked on its outputs.
pub(crate) struct CpuWeight {
    pub(crate) parts: Vec<Part>,
}

/// The outputs that came from one source.
pub(crate) struct Part {
    pub(crate) outputs: Range<usize>,
    inputs: usize,
    form: Form,
    bytes: Arc<AlignedBytes>,
}

enum Form {
    /// For products.
    Panels(PanelFormat),
    /// As in the file, for single rows.
    Rows(TensorType),
}

impl CpuWeight {
    /// The backend's own type back.
    pub(crate) fn of(weight: &Weight) -> &Self {
        weight
            .packed()
            .downcast_ref()
            .expect("the weight was packed by this backend")
    }

    /// Takes sources into memory of the backend.
    pub(crate) fn pack(
        packer: Packer<'_>,
        sources: &[WeightSource<'_>],
        purpose: Use,
    ) -> Result<Weight, PackError> {
        let inputs = sources.first().map_or(0, |source| source.columns);
        let mut parts = Vec::with_capacity(sources.len());
        let mut outputs = 0;
        for source in sources {
            assert_eq!(
                source.columns, inputs,
                "stacked matrices have the same columns"
            );
            let end = outputs + source.rows;
            parts.push(Part::pack(packer, source, purpose, outputs..end)?);
            outputs = end;
        }
        let bytes = parts.iter().map(|part| part.bytes.bytes().len()).sum();
        Ok(Weight::new(
            outputs,
            inputs,
            bytes,
            Arc::new(Self { parts }),
        ))
    }

    /// `out = W[row]`.
    pub(crate) fn row(
        &self,
        kernels: &dyn Kernels,
        row: usize,
        workspace: &mut Workspace,
        out: &mut [f32],
    ) {
        let part = self.parts.iter().find(|part| part.outputs.contains(&row));
        let part = part.unwrap_or_else(|| panic!("row {row} of a weight that ends before it"));
        part.row(kernels, row - part.outputs.start, workspace, out);
    }
}

impl Part {
    fn pack(
        packer: Packer<'_>,
        source: &WeightSource<'_>,
        purpose: Use,
        outputs: Range<usize>,
    ) -> Result<Self, PackError> {
        let unsupported = PackError::UnsupportedType(source.ty.name());
        // Rows that are looked up are given back as they were.
        let format = match purpose {
            Use::Product => packer.arithmetic.format(source.ty),
            Use::Rows | Use::Both => PanelFormat::for_type(source.ty),
        };
        let Some(format) = format else {
            return Err(unsupported);
        };
        let Some(row_bytes) = source.ty.row_bytes(source.columns) else {
            panic!(
                "rows of {} elements are no whole blocks of {}",
                source.columns, source.ty
            );
        };
        assert_eq!(
            source.data.len(),
            source.rows * row_bytes,
            "bytes of {} rows",
            source.rows
        );
        let (form, len) = match purpose {
            Use::Rows => (Form::Rows(source.ty), Some(source.data.len())),
            Use::Product | Use::Both => {
                let panel = format.panel_bytes(source.columns);
                (
                    Form::Panels(format),
                    panel.and_then(|panel| panel.checked_mul(source.rows.div_ceil(LANES))),
                )
            }
        };
        let len = len.ok_or(PackError::OutOfMemory { bytes: usize::MAX })?;
        let mut bytes = packer
            .memory
            .zeros(len)
            .ok_or(PackError::OutOfMemory { bytes: len })?;
        match form {
            Form::Rows(_) => bytes.bytes_mut().copy_from_slice(source.data),
            Form::Panels(format) if len > 0 => {
                pack_panels(packer.pool, format, source, row_bytes, bytes.bytes_mut())
            }
            Form::Panels(_) => {}
        }
        Ok(Self {
            outputs,
            inputs: source.columns,
            form,
            bytes: Arc::new(bytes),
        })
    }

    /// The panels, for a product.
    ///
    /// # Panics
    /// When the weight was packed for single rows only.
    pub(crate) fn panels(&self) -> Panels<'_> {
        match self.form {
            Form::Panels(format) => {
                Panels::new(format, self.outputs.len(), self.inputs, self.bytes.bytes())
            }
            Form::Rows(_) => panic!("a weight packed for rows is used in a product"),
        }
    }

    /// The bytes of the panels, for as long as others hold them.
    pub(crate) fn memory(&self) -> Weak<AlignedBytes> {
        Arc::downgrade(&self.bytes)
    }

    fn row(&self, kernels: &dyn Kernels, row: usize, workspace: &mut Workspace, out: &mut [f32]) {
        match self.form {
            Form::Panels(_) => self.panels().row(kernels, row, workspace, out),
            Form::Rows(ty) => {
                let row_bytes = self.bytes.bytes().len() / self.outputs.len();
                let bytes = &self.bytes.bytes()[row * row_bytes..][..row_bytes];
                dequantize(ty, bytes, out)
                    .expect("the type and the sizes were checked when the weight was packed");
            }
        }
    }
}

/// Rows of one type of numbers as another, to nearest even.
fn converted(from: TensorType, rows: &[u8], to: TensorType) -> Vec<u8> {
    let mut values = vec![0.0; rows.len() / from.block_bytes() * from.block_elements()];
    dequantize(from, rows, &mut values).expect("numbers of a type that can be run");
    let mut numbers = vec![0; to.block_bytes() * values.len()];
    quantize_into(to, &values, &mut numbers).expect("as many bytes as a number has");
    numbers
}

/// Packs runs of panels on all threads.
fn pack_panels(
    pool: &Pool,
    format: PanelFormat,
    source: &WeightSource<'_>,
    row_bytes: usize,
    bytes: &mut [u8],
) {
    let panels = source.rows.div_ceil(LANES);
    let panel_bytes = bytes.len() / panels;
    let run = panels.div_ceil(4 * pool.threads());
    let runs: Vec<Mutex<&mut [u8]>> = bytes
        .chunks_mut(run * panel_bytes)
        .map(Mutex::new)
        .collect();
    pool.run(runs.len(), &|index, _| {
        let mut target = runs[index].lock().unwrap_or_else(PoisonError::into_inner);
        for (panel, target) in (index * run..).zip(target.chunks_exact_mut(panel_bytes)) {
            let rows = panel * LANES..((panel + 1) * LANES).min(source.rows);
            let rows = &source.data[rows.start * row_bytes..rows.end * row_bytes];
            if format.source_type() == source.ty {
                format.pack(rows, row_bytes, target);
            } else {
                let ty = format.source_type();
                let numbers = converted(source.ty, rows, ty);
                format.pack(&numbers, ty.block_bytes() * source.columns, target);
            }
        }
    });
}

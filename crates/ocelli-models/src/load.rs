//! From tensors in a file to weights on a backend, keeping account of what was read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use ocelli_gguf::{Gguf, TensorInfo};
use ocelli_quant::{TensorType, dequantize};
use ocelli_tensor::{Backend, PackError, Use, Vector, Weight, WeightSource};

use crate::{Error, NameTable};

/// Reads one file's tensors (or a part of them) for one model.
pub struct Loader<'a> {
    gguf: &'a Gguf,
    backend: &'a dyn Backend,
    names: NameTable,
    used: RefCell<BTreeSet<String>>,
    weight_bytes: Cell<usize>,
    on_read: Option<&'a dyn Fn(u64)>,
}

impl<'a> Loader<'a> {
    /// A loader over the tensors that `names` knows.
    pub fn new(gguf: &'a Gguf, backend: &'a dyn Backend, names: NameTable) -> Self {
        Self {
            gguf,
            backend,
            names,
            used: RefCell::default(),
            weight_bytes: Cell::new(0),
            on_read: None,
        }
    }

    /// Calls `report` with the bytes of each tensor that was read: for a progress bar.
    #[must_use]
    pub fn with_progress(mut self, report: &'a dyn Fn(u64)) -> Self {
        self.on_read = Some(report);
        self
    }

    /// The file.
    pub fn gguf(&self) -> &'a Gguf {
        self.gguf
    }

    /// Names of the file's tensors after normalising.
    pub fn names(&self) -> &NameTable {
        &self.names
    }

    /// The root of the names.
    pub fn root(&self) -> Scope<'_> {
        Scope {
            loader: self,
            prefix: String::new(),
        }
    }

    /// Memory that the weights read so far occupy, in bytes.
    pub fn weight_bytes(&self) -> usize {
        self.weight_bytes.get()
    }

    /// An error about the file as a whole.
    pub fn invalid(&self, what: impl Into<String>) -> Error {
        Error::Invalid {
            file: self.gguf.name().to_owned(),
            what: what.into(),
        }
    }

    /// Ends loading.
    ///
    /// # Errors
    /// When the file has a tensor that nobody read: a misspelt optional name, or another model.
    pub fn finish(self, model: &str) -> Result<usize, Error> {
        let used = self.used.borrow();
        let unused: Vec<&str> = self
            .names
            .iter()
            .filter(|(name, _)| !used.contains(*name))
            .map(|(_, in_file)| in_file)
            .collect();
        let Some(first) = unused.first() else {
            return Ok(self.weight_bytes.get());
        };
        Err(Error::UnusedTensor {
            file: self.gguf.name().to_owned(),
            name: (*first).to_owned(),
            model: model.to_owned(),
            more: match unused.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            },
        })
    }

    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        let in_file = self.names.in_file(name)?;
        let info = self.gguf.tensor(in_file)?;
        if self.used.borrow_mut().insert(name.to_owned())
            && let Some(report) = self.on_read
        {
            report(self.gguf.data(info).len() as u64);
        }
        Some(info)
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<&'a TensorInfo, Error> {
        let expected: Vec<u64> = shape.iter().map(|&n| n as u64).collect();
        let Some(info) = self.find(name) else {
            return Err(Error::MissingTensor {
                file: self.gguf.name().to_owned(),
                name: name.to_owned(),
                expected,
            });
        };
        let trimmed = |shape: &[u64]| {
            let ones = shape.iter().rev().take_while(|&&n| n == 1).count();
            shape[..shape.len() - ones].to_vec()
        };
        if trimmed(info.shape()) != trimmed(&expected) {
            return Err(Error::WrongShape {
                file: self.gguf.name().to_owned(),
                name: info.name().to_owned(),
                found: info.shape().to_vec(),
                expected,
            });
        }
        // Backends that compute nothing would take any type: what cannot be run shall be known before.
        if !info.ty().is_runnable() {
            return Err(self.pack_error(info.name(), PackError::UnsupportedType(info.ty().name())));
        }
        Ok(info)
    }

    fn row_values(
        &self,
        info: &TensorInfo,
        rows: std::ops::Range<usize>,
    ) -> Result<Vec<f32>, Error> {
        let row_bytes = info.ty().row_bytes(info.row_elements()).unwrap_or(0);
        let mut values = vec![0.0; rows.len() * info.row_elements()];
        let data = &self.gguf.data(info)[rows.start * row_bytes..rows.end * row_bytes];
        dequantize(info.ty(), data, &mut values)
            .map_err(|error| self.invalid(format!("tensor '{}': {error}", info.name())))?;
        Ok(values)
    }

    fn pack_rows(
        &self,
        info: &TensorInfo,
        rows: std::ops::Range<usize>,
        columns: usize,
        purpose: Use,
    ) -> Result<Weight, Error> {
        let row_bytes = info.ty().row_bytes(columns).unwrap_or(0);
        let source = WeightSource {
            ty: info.ty(),
            data: &self.gguf.data(info)[rows.start * row_bytes..rows.end * row_bytes],
            rows: rows.len(),
            columns,
        };
        let weight = self
            .backend
            .pack(&[source], purpose)
            .map_err(|error| self.pack_error(info.name(), error))?;
        self.count(weight.bytes());
        Ok(weight)
    }

    fn pack_error(&self, name: &str, source: PackError) -> Error {
        let (file, name) = (self.gguf.name().to_owned(), name.to_owned());
        match source {
            PackError::OutOfMemory { .. } => Error::NoMemory { file, name, source },
            PackError::UnsupportedType(_) => Error::Pack { file, name, source },
        }
    }

    fn count(&self, bytes: usize) {
        self.weight_bytes.set(self.weight_bytes.get() + bytes);
    }
}

/// A prefix of tensor names: `blk.3.` of a file.
#[derive(Clone)]
pub struct Scope<'a> {
    loader: &'a Loader<'a>,
    prefix: String,
}

impl<'a> Scope<'a> {
    /// The names below `name`.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Scope {
            loader: self.loader,
            prefix: format!("{}{name}.", self.prefix),
        }
    }

    /// The loader, for errors and metadata.
    pub fn loader(&self) -> &'a Loader<'a> {
        self.loader
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// True when the file has the tensor.
    pub fn has(&self, name: &str) -> bool {
        self.loader.names.in_file(&self.name(name)).is_some()
    }

    /// What a tensor is called in the file: tells which tool wrote it.
    pub fn name_in_file(&self, name: &str) -> Option<&'a str> {
        self.loader.names.in_file(&self.name(name))
    }

    /// Checks that these have a `bias`: one that is gone would otherwise only make answers worse. The
    /// biases of queries, keys and values may be fused.
    ///
    /// # Errors
    /// Names the first that is missing.
    pub fn require_biases(&self, names: &[&str]) -> Result<(), Error> {
        for name in names {
            let is_fused = matches!(*name, "attn_q" | "attn_k" | "attn_v");
            let bias = format!("{name}.bias");
            if !(self.has(&bias) || is_fused && self.has("attn_qkv.bias")) {
                let bias = self.name(&bias);
                return Err(self.loader.invalid(format!("missing tensor '{bias}'")));
            }
        }
        Ok(())
    }

    /// Checks that all of these have a `bias` or none has.
    ///
    /// # Errors
    /// Names the first that is missing.
    pub fn require_biases_together(&self, names: &[&str]) -> Result<(), Error> {
        match names.iter().any(|name| self.has(&format!("{name}.bias"))) {
            true => self.require_biases(names),
            false => Ok(()),
        }
    }

    /// The shape of a tensor, fastest dimension first, without counting it as read.
    pub fn shape(&self, name: &str) -> Option<&'a [u64]> {
        let in_file = self.loader.names.in_file(&self.name(name))?;
        Some(self.loader.gguf.tensor(in_file)?.shape())
    }

    /// A vector of `len` values.
    ///
    /// # Errors
    /// When it is missing or of another length.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vector, Error> {
        Ok(self.loader.backend.vector(&self.values(name, &[len])?))
    }

    /// A vector if the file has it.
    ///
    /// # Errors
    /// When it is there with another length.
    pub fn optional_vector(&self, name: &str, len: usize) -> Result<Option<Vector>, Error> {
        self.has(name).then(|| self.vector(name, len)).transpose()
    }

    /// Hands values to the backend.
    pub fn upload_vector(&self, values: &[f32]) -> Vector {
        self.loader.backend.vector(values)
    }

    /// All values of a tensor of the given shape (fastest dimension first), on the host.
    ///
    /// # Errors
    /// When it is missing or of another shape.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let info = self.loader.expect(&self.name(name), shape)?;
        self.loader.row_values(info, 0..info.rows())
    }

    /// The tensor `name` as `[outputs, inputs]`.
    ///
    /// # Errors
    /// When it is missing, of another shape, or of a type that cannot be run.
    pub fn matrix(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
        purpose: Use,
    ) -> Result<Weight, Error> {
        self.matrix_rows(name, 0..outputs, outputs, inputs, purpose)
    }

    /// Rows of the tensor `name` (`[outputs, inputs]`): a part of a fused projection.
    ///
    /// # Errors
    /// When it is missing, of another shape, or of a type that cannot be run.
    pub fn matrix_rows(
        &self,
        name: &str,
        rows: std::ops::Range<usize>,
        outputs: usize,
        inputs: usize,
        purpose: Use,
    ) -> Result<Weight, Error> {
        let info = self.loader.expect(&self.name(name), &[inputs, outputs])?;
        self.loader.pack_rows(info, rows, inputs, purpose)
    }

    /// Rows of one expert of the tensor `name` (`[inputs, outputs, experts]`, fastest dimension
    /// first): `[rows, inputs]`.
    ///
    /// A file may hold every expert transposed (`[outputs, inputs, experts]`), as some converters wrote
    /// them from checkpoints that were saved again; the shape tells, unless the two are equal.
    ///
    /// # Errors
    /// When it is missing, of another shape, or of a type that cannot be run.
    pub fn expert_rows(
        &self,
        name: &str,
        (expert, experts): (usize, usize),
        rows: std::ops::Range<usize>,
        (outputs, inputs): (usize, usize),
    ) -> Result<Weight, Error> {
        let transposed = [outputs, inputs, experts].map(|n| n as u64);
        if outputs != inputs && self.shape(name) == Some(&transposed) {
            let info = self
                .loader
                .expect(&self.name(name), &[outputs, inputs, experts])?;
            let values = self
                .loader
                .row_values(info, expert * inputs..(expert + 1) * inputs)?;
            let turned: Vec<f32> = rows
                .clone()
                .flat_map(|row| values.iter().skip(row).step_by(outputs).copied())
                .collect();
            return self.pack_values(&turned, rows.len(), inputs);
        }
        let info = self
            .loader
            .expect(&self.name(name), &[inputs, outputs, experts])?;
        let start = expert * outputs;
        let rows = start + rows.start..start + rows.end;
        self.loader.pack_rows(info, rows, inputs, Use::Product)
    }

    /// The tensor `name`, stored as `[inputs, outputs]`, turned: `[outputs, inputs]`.
    ///
    /// # Errors
    /// When it is missing, of another shape, or of a type that cannot be run.
    pub fn turned_matrix(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Weight, Error> {
        let values = self.values(name, &[outputs, inputs])?;
        let column = |output| values.iter().skip(output).step_by(outputs).copied();
        let turned: Vec<f32> = (0..outputs).flat_map(column).collect();
        self.pack_values(&turned, outputs, inputs)
    }

    /// Packs values that the model put together itself: `[outputs, inputs]`.
    ///
    /// # Errors
    /// When the backend has no memory left.
    pub fn pack_values(
        &self,
        values: &[f32],
        outputs: usize,
        inputs: usize,
    ) -> Result<Weight, Error> {
        assert_eq!(values.len(), outputs * inputs, "one value per element");
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let source = WeightSource {
            ty: TensorType::F32,
            data: &data,
            rows: outputs,
            columns: inputs,
        };
        let weight = self
            .loader
            .backend
            .pack(&[source], Use::Product)
            .map_err(|error| {
                self.loader
                    .pack_error(self.prefix.trim_end_matches('.'), error)
            })?;
        self.loader.count(weight.bytes());
        Ok(weight)
    }
}

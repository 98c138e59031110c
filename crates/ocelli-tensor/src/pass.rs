//! One run through a model: what operations need, in one hand.

mod products;

use std::fmt;

use crate::{
    Attend, AttentionPlan, Backend, Heads, KvStore, LayerNorm, Mark, Memory, Probe, QueryKeyValue,
    RmsNorm, Rope, RopeStyle, Stage, Tensor, Vector, Weight, Within, WriteKv,
};

/// A pass over some rows. Operations take and give tensors; temporaries come from `memory` and go
/// back at [`Pass::release`].
pub struct Pass<'a> {
    backend: &'a dyn Backend,
    memory: &'a mut Memory,
    kv: Option<&'a mut dyn KvStore>,
    probe: Probe<'a>,
}

impl fmt::Debug for Pass<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("backend", &self.backend.describe())
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

impl<'a> Pass<'a> {
    /// A pass without a cache: a vision encoder.
    pub fn new(backend: &'a dyn Backend, memory: &'a mut Memory, probe: Probe<'a>) -> Self {
        Self {
            backend,
            memory,
            kv: None,
            probe,
        }
    }

    /// Gives the pass a cache: a text model.
    #[must_use]
    pub fn with_kv(mut self, kv: &'a mut dyn KvStore) -> Self {
        self.kv = Some(kv);
        self
    }

    /// A tensor with undefined contents; all its rows are prompt rows.
    pub fn take(&mut self, rows: usize, columns: usize) -> Tensor {
        self.memory.take(rows, columns, rows)
    }

    /// A tensor with undefined contents and rows of the same kinds as `x`.
    pub fn take_like(&mut self, x: &Tensor, columns: usize) -> Tensor {
        self.memory.take(x.rows(), columns, x.prompt_rows())
    }

    /// The present height of the stack of temporaries.
    pub fn mark(&self) -> Mark {
        self.memory.mark()
    }

    /// Gives back all temporaries taken since `mark`.
    pub fn release(&mut self, mark: Mark) {
        self.memory.release(mark);
    }

    /// Copies values in: `[rows, columns]`, the first `prompt_rows` of them prompt rows.
    pub fn upload(&mut self, values: &[f32], columns: usize, prompt_rows: usize) -> Tensor {
        assert!(
            columns > 0 && values.len().is_multiple_of(columns),
            "{} values in rows of {columns}",
            values.len()
        );
        let out = self
            .memory
            .take(values.len() / columns, columns, prompt_rows);
        self.backend.upload(self.memory.storage(), values, out);
        out
    }

    /// Copies a tensor out.
    pub fn download(&mut self, x: &Tensor) -> Vec<f32> {
        let mut values = Vec::new();
        self.download_into(x, &mut values);
        values
    }

    /// Copies a tensor out into memory that is kept between passes.
    pub fn download_into(&mut self, x: &Tensor, values: &mut Vec<f32>) {
        values.resize(x.len(), 0.0);
        self.backend.download(self.memory.storage(), *x, values);
    }

    /// Shows a stage to the probe, if one is on.
    pub fn probe(&mut self, name: fmt::Arguments<'_>, x: &Tensor) {
        if !self.probe.is_on() {
            return;
        }
        let values = self.download(x);
        self.probe_values(name, x.columns(), &values);
    }

    /// Shows values that are not a tensor (for example rows put back in order) to the probe.
    pub fn probe_values(&mut self, name: fmt::Arguments<'_>, columns: usize, values: &[f32]) {
        if let Probe::On(see) = &mut self.probe {
            see(Stage {
                name: name.to_string(),
                rows: values.len() / columns,
                columns,
                values,
            });
        }
    }

    /// True when a probe looks.
    pub fn is_probed(&self) -> bool {
        self.probe.is_on()
    }

    /// Rows of an embedding: `out[i] = W[ids[i]]`, the first `prompt_rows` of them prompt rows.
    pub fn embed(&mut self, weight: &Weight, ids: &[u32], prompt_rows: usize) -> Tensor {
        let out = self.memory.take(ids.len(), weight.inputs(), prompt_rows);
        self.backend.embed(self.memory.storage(), weight, ids, out);
        out
    }

    /// Chosen rows: `out[i] = x[rows[i]]`. Rows must name prompt rows first.
    pub fn gather(&mut self, x: &Tensor, rows: &[usize]) -> Tensor {
        let prompt_rows = rows.iter().filter(|&&r| r < x.prompt_rows()).count();
        assert!(
            rows[..prompt_rows].iter().all(|&r| r < x.prompt_rows()),
            "prompt rows come first"
        );
        let out = self.memory.take(rows.len(), x.columns(), prompt_rows);
        self.backend.gather(self.memory.storage(), *x, rows, out);
        out
    }

    /// Replaces chosen rows: `out[rows[i]] = x[i]`.
    pub fn scatter(&mut self, x: &Tensor, rows: &[usize], out: &Tensor) {
        assert_eq!((x.rows(), x.columns()), (rows.len(), out.columns()));
        self.backend.scatter(self.memory.storage(), *x, rows, *out);
    }

    /// Adds to chosen rows: `out[rows[i]] += x[i]`.
    pub fn scatter_add(&mut self, x: &Tensor, rows: &[usize], out: &Tensor) {
        assert_eq!((x.rows(), x.columns()), (rows.len(), out.columns()));
        self.backend
            .scatter_add(self.memory.storage(), *x, rows, *out);
    }

    /// `out += x`.
    pub fn add(&mut self, x: &Tensor, out: &Tensor) {
        assert_eq!((x.rows(), x.columns()), (out.rows(), out.columns()));
        self.backend.add(self.memory.storage(), *x, *out);
    }

    /// `out *= x`, element by element.
    pub fn multiply(&mut self, x: &Tensor, out: &Tensor) {
        assert_eq!((x.rows(), x.columns()), (out.rows(), out.columns()));
        self.backend.multiply(self.memory.storage(), *x, *out);
    }

    /// `out *= factor`.
    pub fn scale(&mut self, factor: f32, out: &Tensor) {
        self.backend.scale(self.memory.storage(), factor, *out);
    }

    /// RMS norm of each row, or of each head when `weight` is as long as a head.
    pub fn rms_norm(&mut self, x: &Tensor, weight: &Vector, eps: f32) -> Tensor {
        let out = self.take_like(x, x.columns());
        self.rms_norm_into(x, weight, eps, &out);
        out
    }

    /// [`Pass::rms_norm`] into a tensor, which may be `x` itself.
    pub fn rms_norm_into(&mut self, x: &Tensor, weight: &Vector, eps: f32, out: &Tensor) {
        assert!(
            x.columns().is_multiple_of(weight.len()),
            "groups of {} in rows of {}",
            weight.len(),
            x.columns()
        );
        self.backend.rms_norm(
            self.memory.storage(),
            RmsNorm {
                x: *x,
                weight,
                eps,
                out: *out,
            },
        );
    }

    /// Layer norm of each row.
    pub fn layer_norm(
        &mut self,
        x: &Tensor,
        weight: &Vector,
        bias: Option<&Vector>,
        eps: f32,
    ) -> Tensor {
        let out = self.take_like(x, x.columns());
        self.layer_norm_into(x, weight, bias, eps, &out);
        out
    }

    /// [`Pass::layer_norm`] into a tensor, which may be `x` itself.
    pub fn layer_norm_into(
        &mut self,
        x: &Tensor,
        weight: &Vector,
        bias: Option<&Vector>,
        eps: f32,
        out: &Tensor,
    ) {
        assert_eq!(x.columns(), weight.len(), "one weight per column");
        self.backend.layer_norm(
            self.memory.storage(),
            LayerNorm {
                x: *x,
                weight,
                bias,
                eps,
                out: *out,
            },
        );
    }

    /// Rotates every head of each row in place; `angles` as in [`Rope`].
    pub fn rope(&mut self, x: &Tensor, angles: &Tensor, dim: usize, style: RopeStyle) {
        assert_eq!(x.rows(), angles.rows(), "one set of angles per row");
        assert!(angles.columns() <= dim && x.columns().is_multiple_of(dim));
        self.backend.rope(
            self.memory.storage(),
            Rope {
                x: *x,
                angles: *angles,
                dim,
                style,
            },
        );
    }

    /// Attention. With a paged plan, keys and values are first written to the cache.
    pub fn attend(
        &mut self,
        QueryKeyValue {
            queries,
            keys,
            values,
        }: QueryKeyValue,
        heads: Heads,
        scale: f32,
        plan: AttentionPlan<'_>,
    ) -> Tensor {
        assert_eq!(queries.columns(), heads.query_columns(), "query columns");
        assert_eq!(keys.columns(), heads.key_value_columns(), "key columns");
        assert_eq!(values.columns(), heads.key_value_columns(), "value columns");
        let out = self.take_like(&queries, queries.columns());
        let attend = Attend {
            queries,
            heads,
            scale,
            out,
        };
        match plan {
            AttentionPlan::Within { segments } => {
                let within = Within {
                    keys,
                    values,
                    segments,
                };
                self.backend
                    .attend_within(self.memory.storage(), attend, within);
            }
            AttentionPlan::Paged { layer, spans, .. } => {
                let kv = self.kv.as_deref_mut().expect("a paged plan needs a cache");
                let write = WriteKv {
                    layer,
                    spans,
                    keys,
                    values,
                };
                self.backend.write_kv(self.memory.storage(), kv, write);
                self.backend
                    .attend_paged(self.memory.storage(), kv, attend, plan);
            }
        }
        out
    }

    /// True when every element is finite.
    pub fn is_finite(&mut self, x: &Tensor) -> bool {
        self.backend.is_finite(self.memory.storage(), *x)
    }
}

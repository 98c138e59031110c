//! The trait that a device implements.

use crate::{
    Activation, After, Attend, AttentionPart, GatedMlp, KvLayout, KvStore, LayerNorm, Linear,
    PackError, RmsNorm, Rope, Storage, Tensor, Use, Vector, Weight, WeightSource, Within, WriteKv,
};
use std::sync::Arc;

/// A device that runs models.
///
/// Contract: row `i` of a result depends only on row `i` of the operands and on its kind (prompt or
/// generated, see [`Tensor::prompt_rows`]), bit for bit, whatever the number of rows, threads or the
/// way a prompt was cut into steps. Accumulation is in `f32`. Operands have the shapes that the
/// operation's type states; a violation is a bug in a model and panics.
pub trait Backend: Send + Sync {
    /// One line for people: device, instruction set, threads.
    fn describe(&self) -> String;

    /// The same device with the same packed weights and storage, whose products round nothing: for
    /// what a rounded pass could not hold. `None` when nothing is rounded, or when there is no such
    /// thing.
    fn exact(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    /// How many times as much a device multiplies in a moment as the arithmetic units of a few
    /// cores: work that is cut so that others need not wait may be cut into pieces so many times as
    /// large.
    fn pace(&self) -> u64 {
        1
    }

    // Memory.

    /// A block of `len` elements for temporaries.
    fn storage(&self, len: usize) -> Box<dyn Storage>;
    /// An empty cache.
    fn kv_store(&self, layout: KvLayout) -> Box<dyn KvStore>;
    /// Packs matrices stacked on their rows (all with the same number of columns) into one weight.
    ///
    /// # Errors
    /// When a type cannot be run or memory is short.
    fn pack(&self, sources: &[WeightSource<'_>], purpose: Use) -> Result<Weight, PackError>;
    /// Takes a vector.
    fn vector(&self, values: &[f32]) -> Vector;
    /// Copies `values` (`[rows, columns]`) into a tensor.
    fn upload(&self, storage: &mut dyn Storage, values: &[f32], out: Tensor);
    /// Copies a tensor out.
    fn download(&self, storage: &dyn Storage, x: Tensor, values: &mut [f32]);

    // Rows.

    /// `out = x`.
    fn copy(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor);
    /// `out[i] = W[ids[i]]`.
    fn embed(&self, storage: &mut dyn Storage, weight: &Weight, ids: &[u32], out: Tensor);
    /// `out[i] = x[rows[i]]`.
    fn gather(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor);
    /// `out[rows[i]] = x[i]`; rows differ.
    fn scatter(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor);

    // Arithmetic.

    /// `out = x W^T`.
    fn product(&self, storage: &mut dyn Storage, x: Tensor, weight: &Weight, out: Tensor);
    /// `out += x`.
    fn add(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor);
    /// `out[rows[i]] += x[i]`; rows differ.
    fn scatter_add(&self, storage: &mut dyn Storage, x: Tensor, rows: &[usize], out: Tensor);
    /// `out[i] += bias` for every row.
    fn add_bias(&self, storage: &mut dyn Storage, bias: &Vector, out: Tensor);
    /// `out *= x`, element by element.
    fn multiply(&self, storage: &mut dyn Storage, x: Tensor, out: Tensor);
    /// `out *= factor`.
    fn scale(&self, storage: &mut dyn Storage, factor: f32, out: Tensor);
    /// `out = f(out)`.
    fn activate(&self, storage: &mut dyn Storage, activation: Activation, out: Tensor);
    /// See [`RmsNorm`].
    fn rms_norm(&self, storage: &mut dyn Storage, norm: RmsNorm<'_>);
    /// See [`LayerNorm`].
    fn layer_norm(&self, storage: &mut dyn Storage, norm: LayerNorm<'_>);
    /// See [`Rope`].
    fn rope(&self, storage: &mut dyn Storage, rope: Rope);
    /// See [`WriteKv`].
    fn write_kv(&self, storage: &dyn Storage, kv: &mut dyn KvStore, write: WriteKv<'_>);
    /// Attention inside segments of rows, for a part of it. Any parts that cover everything give
    /// what the whole gives, so that long work can be cut.
    fn attend_part_within(
        &self,
        storage: &mut dyn Storage,
        attend: Attend,
        within: Within<'_>,
        part: &AttentionPart,
    );
    /// [`Backend::attend_part_within`] for all of it.
    fn attend_within(&self, storage: &mut dyn Storage, attend: Attend, within: Within<'_>) {
        let whole = AttentionPart::whole(&attend);
        self.attend_part_within(storage, attend, within, &whole);
    }
    /// Attention over cached pages, which already hold this step's keys and values.
    fn attend_paged(
        &self,
        storage: &mut dyn Storage,
        kv: &dyn KvStore,
        attend: Attend,
        plan: crate::AttentionPlan<'_>,
    );
    /// True when every element is finite.
    fn is_finite(&self, storage: &dyn Storage, x: Tensor) -> bool;

    // Fused operations. The default bodies are the definition; a backend overrides what pays.

    /// See [`Linear`]. `scratch` is `[rows, outputs]`, used when `after` adds.
    fn linear(&self, storage: &mut dyn Storage, op: Linear<'_>, scratch: Tensor) {
        let product = match op.after {
            After::Add => scratch,
            After::Store | After::Activate(_) => op.out,
        };
        self.product(storage, op.x, op.weight, product);
        if let Some(bias) = op.bias {
            self.add_bias(storage, bias, product);
        }
        match op.after {
            After::Store => {}
            After::Activate(activation) => self.activate(storage, activation, product),
            After::Add => self.add(storage, product, op.out),
        }
    }

    /// Three products of the same rows, such as queries, keys and values; none adds, and results
    /// lie one behind the other.
    fn linears(&self, storage: &mut dyn Storage, ops: &[Linear<'_>; 3]) {
        for op in ops {
            self.linear(storage, *op, op.out);
        }
    }

    /// See [`GatedMlp`]. `scratch` is `[rows, hidden]`.
    fn gated_mlp(&self, storage: &mut dyn Storage, op: GatedMlp<'_>, scratch: Tensor) {
        let gate = Linear {
            x: op.x,
            weight: op.gate,
            bias: op.gate_bias,
            after: After::Activate(op.activation),
            out: op.out,
        };
        self.linear(storage, gate, scratch);
        let up = Linear {
            x: op.x,
            weight: op.up,
            bias: op.up_bias,
            after: After::Store,
            out: scratch,
        };
        self.linear(storage, up, scratch);
        self.multiply(storage, scratch, op.out);
    }
}

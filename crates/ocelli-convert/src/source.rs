//! Where the values of a tensor to be written come from: slices of a checkpoint's tensors, tensors
//! of a GGUF file, or numbers at hand. Everything is read in runs of elements, so that no tensor
//! must fit memory.

use std::ops::Range;

use ocelli_gguf::{Gguf, TensorInfo};
use ocelli_quant::{TensorType, dequantize};

use crate::Error;
use crate::hub::HubTensor;

/// A tensor's values, in the order in which they will be written.
pub(crate) trait Source: Send + Sync {
    /// Reads may start and end at multiples of this many elements only.
    fn granule(&self) -> usize;

    /// Puts the values of a run of elements into `out`, which is empty.
    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error>;

    /// The type whose bytes [`Source::read_bytes`] gives, if the bytes can be taken as they are.
    fn stored_type(&self) -> Option<TensorType> {
        None
    }

    /// Puts the stored bytes of a run into `out`, which is empty; only where there is a stored type.
    fn read_bytes(&self, _run: Range<usize>, _out: &mut Vec<u8>) -> Result<(), Error> {
        Ok(())
    }

    /// Called when all was read.
    fn release(&self) {}
}

/// Numbers at hand.
pub(crate) struct Numbers(pub(crate) Vec<f32>);

impl Source for Numbers {
    fn granule(&self) -> usize {
        1
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        out.extend_from_slice(&self.0[run]);
        Ok(())
    }
}

/// Groups of `length` elements of a checkpoint's tensor, the first at `start`, each `stride` after
/// the one before.
pub(crate) struct Strided {
    pub(crate) tensor: HubTensor,
    pub(crate) start: usize,
    pub(crate) length: usize,
    pub(crate) stride: usize,
    /// Elements of an output row.
    pub(crate) row: usize,
}

impl Strided {
    /// All of a tensor.
    pub(crate) fn whole(tensor: HubTensor) -> Self {
        let length = tensor.elements();
        Self::part(tensor, 0, length)
    }

    /// A run of whole rows of a tensor.
    pub(crate) fn part(tensor: HubTensor, start: usize, length: usize) -> Self {
        let row = tensor.shape.last().copied().unwrap_or(1);
        Self {
            tensor,
            start,
            length,
            stride: length,
            row,
        }
    }

    fn pieces(&self, run: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        strides(run, self.start, self.length, self.stride)
    }
}

impl Source for Strided {
    fn granule(&self) -> usize {
        self.row
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        self.pieces(run)
            .try_for_each(|piece| self.tensor.read(piece, out))
    }

    fn stored_type(&self) -> Option<TensorType> {
        Some(self.tensor.ty)
    }

    fn read_bytes(&self, run: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.pieces(run)
            .try_for_each(|piece| self.tensor.read_bytes(piece, out))
    }
}

/// Columns of each matrix of a `[matrices, rows, columns]` tensor, turned into rows.
pub(crate) struct Transposed {
    pub(crate) tensor: HubTensor,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The columns that are taken.
    pub(crate) taken: Range<usize>,
}

impl Source for Transposed {
    fn granule(&self) -> usize {
        self.taken.len() * self.rows
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let size = self.rows * self.columns;
        let mut matrix = Vec::new();
        for number in run.start / self.granule()..run.end / self.granule() {
            matrix.clear();
            self.tensor
                .read(number * size..(number + 1) * size, &mut matrix)?;
            for column in self.taken.clone() {
                out.extend((0..self.rows).map(|row| matrix[row * self.columns + column]));
            }
        }
        Ok(())
    }
}

/// Rows of each attention head from halves side by side to alternating pairs, as LLaMA files have them.
pub(crate) struct Interleaved {
    pub(crate) tensor: HubTensor,
    /// Rows of one head.
    pub(crate) head_dim: usize,
    /// Elements of one row.
    pub(crate) row: usize,
}

impl Source for Interleaved {
    fn granule(&self) -> usize {
        self.head_dim * self.row
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let half = self.head_dim / 2;
        let mut head = Vec::new();
        for number in run.start / self.granule()..run.end / self.granule() {
            head.clear();
            let start = number * self.granule();
            self.tensor.read(start..start + self.granule(), &mut head)?;
            for pair in 0..half {
                for row in [pair, pair + half] {
                    out.extend_from_slice(&head[row * self.row..][..self.row]);
                }
            }
        }
        Ok(())
    }
}

/// Several sources of one size after the other: experts that are tensors of their own.
pub(crate) struct Stacked {
    pub(crate) parts: Vec<Box<dyn Source>>,
    /// Elements of one part.
    pub(crate) length: usize,
}

impl Source for Stacked {
    fn granule(&self) -> usize {
        self.length
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let mut part_values = Vec::new();
        for part in &self.parts[run.start / self.length..run.end / self.length] {
            part_values.clear();
            part.read(0..self.length, &mut part_values)?;
            out.append(&mut part_values);
        }
        Ok(())
    }
}

/// A tensor of a GGUF file, or every so many of its rows.
pub(crate) struct Stored<'a> {
    file: &'a Gguf,
    tensor: &'a TensorInfo,
    start: usize,
    length: usize,
    stride: usize,
}

impl<'a> Stored<'a> {
    pub(crate) fn whole(file: &'a Gguf, tensor: &'a TensorInfo) -> Self {
        Self::part(file, tensor, 0, tensor.elements())
    }

    /// A run of whole rows, given in elements.
    pub(crate) fn part(
        file: &'a Gguf,
        tensor: &'a TensorInfo,
        start: usize,
        length: usize,
    ) -> Self {
        Self::strided(file, tensor, start, [length, length])
    }

    /// Groups of `length` elements, the first at `start`, each `stride` after the one before; all whole rows.
    pub(crate) fn strided(
        file: &'a Gguf,
        tensor: &'a TensorInfo,
        start: usize,
        [length, stride]: [usize; 2],
    ) -> Self {
        Self {
            file,
            tensor,
            start,
            length,
            stride,
        }
    }

    /// The bytes of a run of this source's elements, piece by piece.
    fn pieces(&self, run: Range<usize>) -> impl Iterator<Item = &[u8]> + '_ {
        let ty = self.tensor.ty();
        let offset = move |element: usize| element / ty.block_elements() * ty.block_bytes();
        let data = self.file.data(self.tensor);
        strides(run, self.start, self.length, self.stride)
            .map(move |piece| &data[offset(piece.start)..offset(piece.end)])
    }
}

impl Source for Stored<'_> {
    fn granule(&self) -> usize {
        self.tensor.row_elements()
    }

    fn read(&self, run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        let ty = self.tensor.ty();
        for bytes in self.pieces(run) {
            let filled = out.len();
            out.resize(
                filled + bytes.len() / ty.block_bytes() * ty.block_elements(),
                0.0,
            );
            dequantize(ty, bytes, &mut out[filled..]).map_err(|source| Error::Quant {
                name: self.tensor.name().to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn stored_type(&self) -> Option<TensorType> {
        Some(self.tensor.ty())
    }

    fn read_bytes(&self, run: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.pieces(run)
            .for_each(|bytes| out.extend_from_slice(bytes));
        Ok(())
    }

    fn release(&self) {
        // Only a hint to the system; without it the file's pages stay in memory a little longer.
        let _ = self.file.release(self.tensor);
    }
}

/// Whole tensors of a GGUF file one after the other, as rows of one: query, key and value.
pub(crate) struct Joined<'a>(pub(crate) Vec<Stored<'a>>);

impl Source for Joined<'_> {
    /// They are small, so they are read at once.
    fn granule(&self) -> usize {
        self.0.iter().map(|part| part.length).sum()
    }

    fn read(&self, _run: Range<usize>, out: &mut Vec<f32>) -> Result<(), Error> {
        self.0
            .iter()
            .try_for_each(|part| part.read(0..part.length, out))
    }

    fn stored_type(&self) -> Option<TensorType> {
        let first = self.0.first()?.stored_type();
        first.filter(|_| self.0.iter().all(|part| part.stored_type() == first))
    }

    fn read_bytes(&self, _run: Range<usize>, out: &mut Vec<u8>) -> Result<(), Error> {
        self.0
            .iter()
            .try_for_each(|part| part.read_bytes(0..part.length, out))
    }
}

/// The runs of a tensor's elements that a run of a strided source's elements stands for.
fn strides(
    run: Range<usize>,
    start: usize,
    length: usize,
    stride: usize,
) -> impl Iterator<Item = Range<usize>> {
    let mut at = run.start;
    std::iter::from_fn(move || {
        if at >= run.end {
            return None;
        }
        let (group, inside) = (at / length, at % length);
        let count = (length - inside).min(run.end - at);
        at += count;
        let first = start + group * stride + inside;
        Some(first..first + count)
    })
}

//! What the file says about one tensor, after checking.

use ocelli_quant::TensorType;

use crate::error::{Problem, shown};
use crate::limits::{self, DIMENSIONS};

/// One tensor: name, shape, type and where its bytes are. The reader checked all of it against the
/// file's size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    pub(crate) name: Box<str>,
    /// Fastest-varying first; 1 where the file gives fewer dimensions.
    pub(crate) dimensions: [u64; DIMENSIONS],
    pub(crate) rank: u8,
    pub(crate) ty: TensorType,
    pub(crate) shard: u32,
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
}

impl TensorInfo {
    /// The name in the file, 1 to 63 bytes.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dimensions as the file gives them (`ne`): 1 to 4, fastest-varying first. The reverse of
    /// a PyTorch shape.
    pub fn shape(&self) -> &[u64] {
        &self.dimensions[..usize::from(self.rank)]
    }

    /// The type of the elements. It may be one that cannot be run: see [`TensorType::is_runnable`].
    pub fn ty(&self) -> TensorType {
        self.ty
    }

    /// Which file of a split model has the data, from 0.
    pub fn shard(&self) -> usize {
        self.shard as usize
    }

    /// Where the data starts, in bytes from the start of its file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the data, without padding.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Elements of a row: the first dimension. A row is stored contiguously and is a whole number of blocks.
    pub fn row_elements(&self) -> usize {
        // The reader checked that the product of all dimensions fits a `usize`.
        self.dimensions[0] as usize
    }

    /// Number of rows: the product of all dimensions but the first.
    pub fn rows(&self) -> usize {
        self.dimensions[1..].iter().product::<u64>() as usize
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.row_elements() * self.rows()
    }
}

/// Bytes of a tensor of this shape, if the shape is a possible one and its rows are whole blocks.
pub(crate) fn byte_length(name: &str, shape: &[u64], ty: TensorType) -> Result<usize, Problem> {
    if shape.is_empty() || shape.len() > DIMENSIONS {
        return Err(Problem::Rank {
            name: shown(name),
            found: shape.len() as u32,
        });
    }
    if let Some(axis) = shape.iter().position(|&dimension| dimension == 0) {
        return Err(Problem::ZeroDimension {
            name: shown(name),
            axis,
        });
    }
    let overflow = || Problem::ElementOverflow {
        name: shown(name),
        shape: shape.to_vec(),
    };
    let elements = shape
        .iter()
        .try_fold(1u64, |product, &dimension| product.checked_mul(dimension))
        .filter(|&elements| i64::try_from(elements).is_ok() && usize::try_from(elements).is_ok())
        .ok_or_else(overflow)?;
    let block = ty.block_elements();
    if !shape[0].is_multiple_of(block as u64) {
        return Err(Problem::RowLength {
            name: shown(name),
            row: shape[0],
            ty: ty.name(),
            block,
        });
    }
    ty.row_bytes(elements as usize)
        .filter(|&bytes| i64::try_from(bytes).is_ok())
        .ok_or_else(overflow)
}

/// Refuses names that readers cut, confuse, or could take for a path.
pub(crate) fn check_name(index: u64, name: &str) -> Result<(), Problem> {
    if name.is_empty() {
        return Err(Problem::EmptyTensorName { index });
    }
    if name.len() as u64 > limits::TENSOR_NAME_BYTES {
        return Err(Problem::TensorNameTooLong {
            index,
            length: name.len() as u64,
        });
    }
    if name.contains(char::is_control) || name.contains("../") || name.contains("..\\") {
        return Err(Problem::BadTensorName {
            index,
            name: shown(name),
        });
    }
    Ok(())
}

//! The types a whole file can be written in, by the names people know them by.

use std::fmt;
use std::str::FromStr;

use ocelli_quant::TensorType;

use crate::Error;

/// What most of a file's weights are stored as; the mixes (`_S`, `_M`, `_L`) give some tensors more bits.
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "the names are those of the file format and say it all"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
}

use FileType::*;

impl FileType {
    /// All types, largest first.
    pub const ALL: [Self; 17] = [
        F32, F16, BF16, Q8_0, Q6_K, Q5_1, Q5_K_M, Q5_K_S, Q5_0, Q4_1, Q4_K_M, Q4_K_S, Q4_0, Q3_K_L,
        Q3_K_M, Q3_K_S, Q2_K,
    ];

    /// Name, value of `general.file_type`, type of most tensors.
    const fn properties(self) -> (&'static str, u32, TensorType) {
        match self {
            F32 => ("F32", 0, TensorType::F32),
            F16 => ("F16", 1, TensorType::F16),
            BF16 => ("BF16", 32, TensorType::BF16),
            Q8_0 => ("Q8_0", 7, TensorType::Q8_0),
            Q4_0 => ("Q4_0", 2, TensorType::Q4_0),
            Q4_1 => ("Q4_1", 3, TensorType::Q4_1),
            Q5_0 => ("Q5_0", 8, TensorType::Q5_0),
            Q5_1 => ("Q5_1", 9, TensorType::Q5_1),
            Q2_K => ("Q2_K", 10, TensorType::Q2_K),
            Q3_K_S => ("Q3_K_S", 11, TensorType::Q3_K),
            Q3_K_M => ("Q3_K_M", 12, TensorType::Q3_K),
            Q3_K_L => ("Q3_K_L", 13, TensorType::Q3_K),
            Q4_K_S => ("Q4_K_S", 14, TensorType::Q4_K),
            Q4_K_M => ("Q4_K_M", 15, TensorType::Q4_K),
            Q5_K_S => ("Q5_K_S", 16, TensorType::Q5_K),
            Q5_K_M => ("Q5_K_M", 17, TensorType::Q5_K),
            Q6_K => ("Q6_K", 18, TensorType::Q6_K),
        }
    }

    /// The name in file names: `Q4_K_M`.
    pub const fn name(self) -> &'static str {
        self.properties().0
    }

    /// The value of `general.file_type`.
    pub const fn id(self) -> u32 {
        self.properties().1
    }

    /// The type of most tensors.
    pub const fn base(self) -> TensorType {
        self.properties().2
    }

    /// True for types that are more than rounding to another float.
    pub const fn is_quantized(self) -> bool {
        !matches!(self, F32 | F16 | BF16)
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FileType {
    type Err = Error;

    /// Reads a name in any case; `q3_k`, `q4_k` and `q5_k` mean the middle mixes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let upper = text.trim().to_ascii_uppercase();
        let full = match upper.as_str() {
            "Q3_K" => "Q3_K_M",
            "Q4_K" => "Q4_K_M",
            "Q5_K" => "Q5_K_M",
            other => other,
        };
        let found = Self::ALL.into_iter().find(|ty| ty.name() == full);
        found.ok_or_else(|| Error::UnknownType {
            found: text.to_owned(),
            need: Self::ALL
                .map(|ty| ty.name().to_ascii_lowercase())
                .join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_short_forms_mean_the_middle_mix() {
        for ty in FileType::ALL {
            assert_eq!(ty.name().to_lowercase().parse::<FileType>().unwrap(), ty);
        }
        assert_eq!("q4_k".parse::<FileType>().unwrap(), Q4_K_M);
        let error = "q9".parse::<FileType>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown type: found 'q9', need one of f32, f16"),
            "{error}"
        );
    }
}

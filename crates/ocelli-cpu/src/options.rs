//! What a user can choose about the CPU backend.

use std::fmt;
use std::str::FromStr;

#[cfg(target_arch = "x86_64")]
use ocelli_kernels::AmxRefusal;
use ocelli_kernels::{Kernels, Scalar};

/// Settings of a [`crate::CpuBackend`].
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads that compute; `None` for as many as the process may use.
    pub threads: Option<usize>,
    /// Instruction set; `None` for the fastest that this machine has.
    pub isa: Option<Isa>,
    /// Arithmetic of products.
    pub precision: Precision,
}

/// Arithmetic of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// `f32` activations and sums, for verification.
    F32,
    /// Activations of prompts and weights rounded to BF16, sums in `f32`.
    Bf16,
    /// Activations rounded to bytes, and weights to bytes that the file has in 16 bits;
    /// [`Precision::Bf16`] against weights of 32.
    Int8,
    /// What this machine is fast at and what holds the error bounds of `docs/numerics.md`.
    #[default]
    Auto,
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Matrix tiles of newer Intel server processors.
    Amx,
    /// AVX-512 with dot products of bytes.
    Avx512Vnni,
    /// AVX-512 (F, BW, VL, DQ).
    Avx512,
    /// AVX2 with FMA and F16C.
    Avx2,
    /// The vector set of 64-bit ARM.
    Neon,
    /// No vectors: what the others are tested against.
    Scalar,
}

impl Isa {
    /// All sets, fastest first.
    pub const ALL: [Self; 6] = [
        Self::Amx,
        Self::Avx512Vnni,
        Self::Avx512,
        Self::Avx2,
        Self::Neon,
        Self::Scalar,
    ];

    /// The name that a user gives.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Vnni => "avx512vnni",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Scalar => "scalar",
        }
    }

    /// True when there are kernels for it and this machine can run them.
    pub fn is_available(self) -> bool {
        self.kernels().is_ok()
    }

    /// The kernels, if they are written and this machine has the instructions.
    pub(crate) fn kernels(self) -> Result<Box<dyn Kernels>, CpuError> {
        match self {
            Self::Scalar => Ok(Box::new(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => match ocelli_kernels::Avx2::detect() {
                Some(kernels) => Ok(Box::new(kernels)),
                None => Err(CpuError::AbsentIsa { isa: self }),
            },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => match ocelli_kernels::Avx512::detect() {
                Some(kernels) => Ok(Box::new(kernels)),
                None => Err(CpuError::AbsentIsa { isa: self }),
            },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => match ocelli_kernels::Avx512Vnni::detect() {
                Some(kernels) => Ok(Box::new(kernels)),
                None => Err(CpuError::AbsentIsa { isa: self }),
            },
            #[cfg(target_arch = "x86_64")]
            Self::Amx => match ocelli_kernels::Avx512Vnni::detect_amx() {
                Ok(kernels) => Ok(Box::new(kernels)),
                Err(AmxRefusal::Absent) => Err(CpuError::AbsentIsa { isa: self }),
                Err(refusal) => Err(CpuError::RefusedIsa {
                    isa: self,
                    reason: refusal.to_string(),
                }),
            },
            #[cfg(not(target_arch = "x86_64"))]
            Self::Amx | Self::Avx512Vnni | Self::Avx2 | Self::Avx512 => {
                Err(CpuError::AbsentIsa { isa: self })
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => match ocelli_kernels::Neon::detect() {
                Some(kernels) => Ok(Box::new(kernels)),
                None => Err(CpuError::AbsentIsa { isa: self }),
            },
            #[cfg(not(target_arch = "aarch64"))]
            Self::Neon => Err(CpuError::AbsentIsa { isa: self }),
        }
    }

    /// The fastest that can be used here, and why a faster one that is here cannot.
    pub(crate) fn fastest() -> (Box<dyn Kernels>, Option<String>) {
        let mut refused = None;
        for isa in Self::ALL {
            match isa.kernels() {
                Ok(kernels) => return (kernels, refused),
                Err(CpuError::RefusedIsa { isa, reason }) => {
                    refused = Some(format!("{isa} is not used: {reason}"));
                }
                Err(_) => {}
            }
        }
        (Box::new(Scalar), refused)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = CpuError;

    fn from_str(name: &str) -> Result<Self, CpuError> {
        let found = Self::ALL.into_iter().find(|isa| isa.name() == name);
        found.ok_or_else(|| CpuError::UnknownIsa {
            name: name.to_owned(),
        })
    }
}

/// Why there is no CPU backend with these options.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// No such name.
    #[error("isa: found `{name}`, need one of amx, avx512vnni, avx512, avx2, neon, scalar")]
    UnknownIsa {
        /// What was given.
        name: String,
    },
    /// The processor does not have the instructions.
    #[error(
        "isa: `{isa}` was asked for but this processor does not have it. Leave it out to use the fastest it has"
    )]
    AbsentIsa {
        /// What was asked for.
        isa: Isa,
    },
    /// The processor has the instructions, but they cannot be used.
    #[error(
        "isa: `{isa}` was asked for and this processor has it, but {reason}. Leave it out to use the next fastest"
    )]
    RefusedIsa {
        /// What was asked for.
        isa: Isa,
        /// Why not.
        reason: String,
    },
    /// A number of threads that cannot be.
    #[error("threads: found {threads}, need 1 to {most}")]
    BadThreads {
        /// What was asked for.
        threads: usize,
        /// The most that can be asked for.
        most: usize,
    },
    /// The system refused a thread.
    #[error("threads: the system refused to start one: {0}")]
    NoThread(#[from] std::io::Error),
}

//! Values that have names: the library reads them, and help and completion scripts list them.
//!
//! `clap`'s own enums would be a second list of names, and would refuse what the library reads
//! (`Q4_K_M`, `q4_k`).

use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};
use ocelli::Isa;
use ocelli::bench::Shape;
use ocelli::convert::FileType;

/// Reads a `T` by its name.
#[derive(Clone, Debug)]
pub(super) struct Named<T: 'static> {
    all: &'static [T],
    name: fn(&T) -> String,
}

/// An instruction set.
pub(super) fn isa() -> Named<Isa> {
    Named {
        all: &Isa::ALL,
        name: |isa| isa.name().to_owned(),
    }
}

/// The shape of a published model.
pub(super) fn shape() -> Named<Shape> {
    Named {
        all: Shape::ALL,
        name: |shape| shape.name.to_owned(),
    }
}

/// The type of a whole file.
pub(super) fn file_type() -> Named<FileType> {
    Named {
        all: &FileType::ALL,
        name: |ty| ty.name().to_ascii_lowercase(),
    }
}

impl<T> TypedValueParser for Named<T>
where
    T: FromStr<Err: std::fmt::Display> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let read = |text: &str| text.parse::<T>().map_err(|error| error.to_string());
        read.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = self.all.iter().map(|value| (self.name)(value));
        Some(Box::new(names.map(PossibleValue::new)))
    }
}

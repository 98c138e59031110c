//! What the variants of [`Error`](crate::Error) hold, so that programs can match them.
//!
//! [`Error::kind`](crate::Error::kind) says what sort of trouble an error is, which is enough for
//! most; its text says what to do.
//!
//! ```
//! use ocelli::errors::EngineError;
//! use ocelli::{Error, Model, Options, Request, Source};
//!
//! # fn main() -> Result<(), ocelli::Error> {
//! let options = Options { context: Some(64), ..Options::default() };
//! let mut model = Model::load(&Source::Demo, &options, &mut |_, _| {})?;
//! match model.ask(Request::new("red ".repeat(70))) {
//!     Err(Error::Engine(EngineError::ContextFull { text, context, .. })) => {
//!         assert!(text > context, "{text} tokens of text, room for {context}");
//!     }
//!     other => panic!("{other:?}"),
//! }
//! # Ok(())
//! # }
//! ```

pub use crate::error::LeftOut;
pub use ocelli_engine::Error as EngineError;
pub use ocelli_gguf::{Error as GgufError, Problem as GgufProblem};
pub use ocelli_image::Error as ImageError;
pub use ocelli_models::Error as ModelError;
pub use ocelli_store::Error as StoreError;
pub use ocelli_text::Error as TextError;

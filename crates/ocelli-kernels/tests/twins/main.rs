//! Every kernel of every instruction set of this machine against its scalar twin: odd lengths, none
//! at all, limits of the types, and buffers that end where memory ends.

mod attention;
mod kept;
mod many_rows;
mod products;
mod rounded;
mod rows;
mod support;
mod threads;

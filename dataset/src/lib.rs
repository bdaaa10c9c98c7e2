//! Recorded datasets, offline: what an ε-ORC has written is validated, summed up, shown and exported.
//!
//! Everything streams: memory is bounded by named limits, for any number of rows. What is wrong in a
//! file is a [`fault::Fault`] with its line, and never passed over without a word. Files and columns
//! are those of `edgeless_tables`; `docs/datasets.md` describes them. [`replay`] runs load, recorded or made
//! up by [`synth`], through the scaling policies of ε-ORC; `docs/scaling.md` shows what came out.

pub mod check;
#[cfg(feature = "parquet")]
pub mod export;
pub mod fault;
mod fields;
pub mod files;
pub mod fit;
mod layout;
pub mod progress;
pub mod reader;
mod records;
pub mod replay;
pub mod report;
mod row;
pub mod scan;
pub mod summary;
pub mod synth;

pub use layout::Layout;
pub use row::Row;

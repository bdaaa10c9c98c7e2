//! The CSV datasets: what an ε-ORC records for the scaling heuristics and for people.
//!
//! Tables and columns are those of the design document; additional columns come first.

mod sheet;
mod table;
mod writer;

pub use table::{Table, Vertex, VertexKind, header};
pub use writer::{Additional, Dataset, DatasetError, Settings};

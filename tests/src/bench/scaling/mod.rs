//! The simulator of the scaling policies against the real system: the same load, seconds and copies.

mod system;
pub(super) mod validation;
mod waits;

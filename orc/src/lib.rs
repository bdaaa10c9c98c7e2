//! ε-ORC: one domain. Nodes register, vertices are placed, healed and moved, and what happens is
//! mirrored and recorded.

pub mod change;
pub mod domain;
pub mod plan;

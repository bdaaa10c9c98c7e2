//! Which decision of ε-CON a call comes of.

use std::fmt;

/// Orders what ε-CON tells a domain: by its life, then by the decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows with each start of ε-CON.
    pub life: u64,
    /// Counts the decisions in that life.
    pub sequence: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of life {}", self.sequence, self.life)
    }
}

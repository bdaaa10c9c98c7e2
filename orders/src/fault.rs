//! What is wrong with a document, and where.

use serde::{Deserialize, Serialize};

/// One thing that is wrong with a document.
#[derive(
    Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, utoipa::ToSchema,
)]
#[error("{}: {detail}", if pointer.is_empty() { "the document" } else { pointer })]
pub struct Fault {
    /// JSON pointer to it; empty: the document as a whole.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Fault {
    /// The same fault in a document that has this one at a place.
    pub fn under(self, pointer: &str) -> Self {
        Self {
            pointer: format!("{pointer}{}", self.pointer),
            detail: self.detail,
        }
    }

    /// A fault at a place.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

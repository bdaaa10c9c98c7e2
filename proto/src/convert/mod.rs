//! Conversions between wire messages and the types of the domain.
//!
//! From the wire everything is checked: a wrong value is a [`ConvertError`] that names its field.
//! To the wire nothing can fail.

mod capability;
mod event;
mod health;
mod id;
mod instance;
mod sample;
mod signal;
mod spec;

pub use capability::{capabilities_from_wire, provider_to_wire, providers_from_wire};
pub use id::{FromUuid, id_bytes, id_from_wire};
pub use instance::{output_mapping_from_wire, output_mapping_to_wire};
pub use signal::signal_from_wire;
pub use spec::{digest_from_wire, spec_from_wire};

/// A value on the wire that is not what its field must hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct ConvertError {
    /// The path of the field in its message, such as `profile.capabilities.clock_freq_cpu`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ConvertError {
    /// An error about one field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// The same error, its field below `parent`.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        Self {
            field: format!("{parent}.{}", self.field),
            problem: self.problem,
        }
    }
}

impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// The value of a message field that must be there.
///
/// # Errors
/// It is absent.
pub fn required<T>(value: Option<T>, field: &str) -> Result<T, ConvertError> {
    value.ok_or_else(|| ConvertError::new(field, "is missing"))
}

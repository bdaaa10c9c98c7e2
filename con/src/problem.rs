//! What is wrong with a request, in the form in which clients are told (RFC 9457).

pub use edgeless_orders::fault::Fault;

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The document itself is wrong.
    #[error("{}", faults.iter().map(|fault| format!("{}: {}", fault.pointer, fault.detail)).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// All that is wrong.
        faults: Vec<Fault>,
    },
    /// There is no such thing.
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// Its kind.
        what: &'static str,
        /// Its id as given.
        id: String,
    },
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// An update came to nothing.
    #[error("the update is taken back, and the workflow is as it was: {0}")]
    TakenBack(String),
    /// No domain can run it now.
    #[error("no domain can run it: {0}; `?wait=true` accepts it as waiting")]
    Infeasible(String),
    /// The domain does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// It cannot be made durable.
    #[error("the request cannot be stored: {0}")]
    Store(String),
    /// ε-CON is ending, or something in it broke.
    #[error("the request was not carried through: ε-CON is ending; try again")]
    Ending,
}

impl Refusal {
    /// A single fault.
    pub fn fault(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid {
            faults: vec![Fault::new(pointer, detail)],
        }
    }
}

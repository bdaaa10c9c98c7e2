//! Why the store cannot be opened.

/// The store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another one has it open.
    #[error(
        "the store `{path}` is in use by another ε-CON; end that one, or give this one a `data_dir` of its own"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// The file is not there or damaged.
    #[error(
        "could not open the store `{path}`: {problem}; restore it from a copy, or move it away to begin anew without its workflows"
    )]
    Store {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

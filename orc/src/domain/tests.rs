//! Random events against the invariants of a domain.

//! Conversions between wire messages and the types of the domain.

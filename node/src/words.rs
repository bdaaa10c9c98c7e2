//! Errors in words.

use std::error::Error;

/// The whole chain of causes: the first alone says little.
pub(crate) fn in_words(error: impl Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some repeat their cause.
        let text = error.to_string();
        if !words.ends_with(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        cause = error.source();
    }
    words
}

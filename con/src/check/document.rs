//! From bytes to a workflow, or where they go wrong.

use edgeless_types::workflow::Workflow;

use super::strict::{Strict, not_an_object};
use crate::problem::Fault;

/// How a document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML of the same shape.
    Yaml,
}

/// Reads a workflow document.
///
/// # Errors
/// It is not JSON or YAML (with line and column), or has unknown keys or wrong types (with the
/// pointer).
pub fn parse(document: &[u8], format: Format) -> Result<Workflow, Fault> {
    let Strict(value) = match format {
        Format::Json => serde_json::from_slice(document)
            .map_err(|error| Fault::new("", format!("the body is not JSON: {error}")))?,
        Format::Yaml => {
            let text = std::str::from_utf8(document)
                .map_err(|error| Fault::new("", format!("the body is not UTF-8: {error}")))?;
            serde_saphyr::from_str(text)
                .map_err(|error| Fault::new("", format!("the body is not YAML: {error}")))?
        }
    };
    if let Some(fault) = not_an_object(&value) {
        return Err(fault);
    }
    serde_path_to_error::deserialize(&value).map_err(|error| {
        let pointer = pointer(error.path());
        Fault::new(pointer, error.into_inner().to_string())
    })
}

/// A place in a document as a JSON pointer.
pub fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => super::escape(key),
            Segment::Enum { variant } => super::escape(variant),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

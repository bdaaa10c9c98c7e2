//! Numbers and documents as they are shown.

use edgeless_dataset::fault::Faults;
use serde_json::{Value, json};

/// A number with three digits that count.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    if value.abs() >= 100.0 {
        return value.round();
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// Faults as JSON: the first of each kind in each file, and their number.
pub(crate) fn faults(faults: &Faults) -> Value {
    let kinds = faults.kinds().into_iter().map(|count| {
        json!({
            "file": count.first.file.display().to_string(),
            "line": count.first.line,
            "kind": count.first.wrong.kind(),
            "number": count.number,
            "first": count.first.wrong.to_string(),
        })
    });
    Value::Array(kinds.collect())
}

/// A JSON document as it is printed: keys in the order of the alphabet, whatever the program was built with.
pub(crate) fn document(mut document: Value) -> String {
    document.sort_all_objects();
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_that_count() {
        for (value, wanted) in [
            (0.0, 0.0),
            (1234.5, 1235.0),
            (12.345, 12.3),
            (0.001_234_5, 0.001_23),
        ] {
            assert!((rounded(value) - wanted).abs() < 1e-12, "{value}");
        }
    }
}

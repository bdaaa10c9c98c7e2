//! Workflow documents on this machine: JSON or YAML, with code in files beside them.

use std::path::{Path, PathBuf};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::failure::{Failure, file};

/// Code up to this many bytes travels inside its document; longer code is uploaded first.
const INLINE_BYTES: usize = 1 << 20;

/// Code that a document names by its file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CodeFile {
    /// Which function it is of; counts from 0.
    pub(crate) function: usize,
    /// The file.
    pub(crate) path: PathBuf,
}

/// Reads a document; `-` is standard input.
///
/// # Errors
/// The file cannot be read, or is neither JSON nor YAML (with line and column).
pub(crate) fn read(path: &Path) -> Result<Value, Failure> {
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(path),
    };
    parse(&text.map_err(file(path))?, path)
}

fn parse(text: &str, path: &Path) -> Result<Value, Failure> {
    let wrong = |problem: String| Failure::Content {
        path: path.to_owned(),
        pointer: String::new(),
        problem,
    };
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| wrong(format!("not JSON: {error}"))),
        false => serde_saphyr::from_str(text).map_err(|error| wrong(format!("not YAML: {error}"))),
    }
}

/// The code that a document names by `"code": {"file": "x.wasm"}`; files are beside the document.
///
/// # Errors
/// A file's name is no text.
pub(crate) fn code_files(document: &Value, path: &Path) -> Result<Vec<CodeFile>, Failure> {
    let beside = path.parent().unwrap_or(Path::new(""));
    let functions = document.get("functions").and_then(Value::as_array);
    let mut files = Vec::new();
    for (index, function) in functions.into_iter().flatten().enumerate() {
        let Some(named) = function.pointer("/class_specification/code/file") else {
            continue;
        };
        let Some(name) = named.as_str() else {
            return Err(Failure::Content {
                path: path.to_owned(),
                pointer: format!(" at /functions/{index}/class_specification/code/file"),
                problem: "must be the name of a file".to_owned(),
            });
        };
        files.push(CodeFile {
            function: index,
            path: beside.join(name),
        });
    }
    Ok(files)
}

/// Code as it can stand in a document; `None` when it is too long for that.
pub(crate) fn inline(code: &[u8]) -> Option<Value> {
    (code.len() <= INLINE_BYTES).then(|| Value::String(STANDARD.encode(code)))
}

/// Code that was uploaded, as it stands in a document.
pub(crate) fn uploaded(digest: &str) -> Value {
    json!({ "digest": digest })
}

/// Puts code in place of the name of its file.
pub(crate) fn set_code(document: &mut Value, function: usize, code: Value) {
    let pointer = format!("/functions/{function}/class_specification/code");
    if let Some(place) = document.pointer_mut(&pointer) {
        *place = code;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_are_read_alike_and_errors_name_file_and_line() {
        let path = Path::new("w.yaml");
        let json = parse(r#"{"name": "w", "functions": []}"#, path).unwrap();
        let yaml = parse("name: w\nfunctions: []\n", path).unwrap();
        assert_eq!(json, yaml);
        for wrong in ["{\n\"name\": ,}", "name: [\n"] {
            let shown = parse(wrong, path).unwrap_err().to_string();
            assert!(shown.contains("w.yaml"), "{shown}");
            assert!(shown.contains("line"), "{shown}");
        }
    }

    #[test]
    fn code_in_files_becomes_code_in_the_document() {
        let document = json!({"functions": [
            {"class_specification": {"id": "registered"}},
            {"class_specification": {"id": "local", "code": {"file": "local.wasm"}}},
        ]});
        let files = code_files(&document, Path::new("dir/w.json")).unwrap();
        let expected = CodeFile {
            function: 1,
            path: PathBuf::from("dir/local.wasm"),
        };
        assert_eq!(files, [expected]);
        let mut document = document;
        set_code(&mut document, 1, inline(b"\0asm").unwrap());
        let code = document.pointer("/functions/1/class_specification/code");
        assert_eq!(code, Some(&json!("AGFzbQ==")));
        assert!(inline(&vec![0; INLINE_BYTES + 1]).is_none());
    }

    #[test]
    fn a_file_that_is_no_name_is_refused_with_its_pointer() {
        let document = json!({"functions": [{"class_specification": {"code": {"file": 7}}}]});
        let error = code_files(&document, Path::new("w.json")).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains("/functions/0/class_specification/code/file"),
            "{shown}"
        );
    }
}

//! JSON as it was written: numbers keep all their digits, and keys their order.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The text of one JSON value.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Json(Box<RawValue>);

impl Default for Json {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl Json {
    /// Takes the text of one value.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// In one line; a text without its quotes.
    pub(crate) fn plain(&self) -> String {
        let text = self.0.get();
        serde_json::from_str(text).unwrap_or_else(|_| in_one_line(text))
    }
}

/// The text of a value in one line, without blanks around what it holds.
pub(crate) fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    each_piece(text, |piece| line.push_str(piece));
    line
}

/// The text of a value with one member or element a line, two blanks deeper each.
pub(crate) fn in_lines(text: &str) -> String {
    let mut lines = String::with_capacity(2 * text.len());
    let (mut depth, mut is_open) = (0, false);
    each_piece(text, |piece| {
        let closes = matches!(piece, "}" | "]");
        depth -= usize::from(closes);
        // An empty array or object stays together.
        if is_open != closes {
            new_line(&mut lines, depth);
        }
        lines.push_str(piece);
        is_open = matches!(piece, "{" | "[");
        depth += usize::from(is_open);
        match piece {
            "," => new_line(&mut lines, depth),
            ":" => lines.push(' '),
            _ => {}
        }
    });
    lines
}

fn new_line(lines: &mut String, depth: usize) {
    lines.push('\n');
    lines.extend(std::iter::repeat_n("  ", depth));
}

/// Calls `each` with the signs, strings and other values of a text that is JSON.
fn each_piece<'a>(text: &'a str, mut each: impl FnMut(&'a str)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let begin = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'{' | b'}' | b'[' | b']' | b',' | b':' => {}
            b'"' => {
                while let Some(&byte) = bytes.get(at) {
                    at += match byte {
                        b'\\' => 2,
                        _ => 1,
                    };
                    if byte == b'"' {
                        break;
                    }
                }
            }
            _ => {
                let rest = &bytes[begin..];
                let ends = |byte: &u8| byte.is_ascii_whitespace() || b",]}".contains(byte);
                at = begin + rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        each(&text[begin..at.min(text.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = r#"{"n": [18446744073709551616, 0.10000000000000000001,1e400 , -0],"n":{},
        "a b\\\"": "x, y\\" , "e":[ ],"f":[{"g":null}]}"#;

    #[test]
    fn a_value_keeps_its_numbers_and_keys_however_it_is_laid_out() {
        let line = r#"{"n":[18446744073709551616,0.10000000000000000001,1e400,-0],"n":{},"a b\\\"":"x, y\\","e":[],"f":[{"g":null}]}"#;
        assert_eq!(in_one_line(ODD), line);
        let lines = in_lines(ODD);
        assert_eq!(in_one_line(&lines), line);
        let expected = [
            "{",
            "  \"n\": [",
            "    18446744073709551616,",
            "    0.10000000000000000001,",
            "    1e400,",
            "    -0",
            "  ],",
            "  \"n\": {},",
            "  \"a b\\\\\\\"\": \"x, y\\\\\",",
            "  \"e\": [],",
            "  \"f\": [",
            "    {",
            "      \"g\": null",
            "    }",
            "  ]",
            "}",
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert_eq!(in_lines("5"), "5");
    }

    #[test]
    fn only_a_text_alone_loses_its_quotes() {
        let plain = |text: &str| Json::parse(text.as_bytes()).unwrap().plain();
        assert_eq!(plain("\"a\\nb\""), "a\nb");
        assert_eq!(plain("1e400"), "1e400");
        assert_eq!(plain("[ \"a\" ]"), "[\"a\"]");
        assert_eq!(Json::default().plain(), "null");
    }
}

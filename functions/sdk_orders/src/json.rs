//! JSON of which most is passed on as it is: texts of values, found but not understood.

use std::borrow::Cow;

/// The fields of an object in their order; keys are JSON strings with their quotes, values any JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Object<'a> {
    /// Finds the fields; nothing where the text is no object.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut fields = Vec::new();
        read_list(text, ['{', '}'], |scan| {
            let key = scan.value().filter(|key| key.starts_with('"'))?;
            scan.take(':')?;
            fields.push((key, Cow::Borrowed(scan.value()?)));
            Some(())
        })?;
        Some(Self(fields))
    }

    /// The value of a field, by its key with quotes.
    pub fn get(&self, key: &str) -> Option<&str> {
        let field = self.0.iter().find(|(it, _)| *it == key)?;
        Some(&field.1)
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_ref()))
    }

    /// Replaces a value, or adds the field at the end.
    pub fn set(&mut self, key: &'a str, value: String) {
        match self.0.iter_mut().find(|(it, _)| *it == key) {
            Some((_, it)) => *it = Cow::Owned(value),
            None => self.0.push((key, Cow::Owned(value))),
        }
    }

    /// Writes it, without spaces between the fields.
    pub fn write(&self) -> String {
        let fields = self.0.iter().map(|(key, value)| [key, ":", value].concat());
        ["{", &fields.collect::<Vec<_>>().join(","), "}"].concat()
    }
}

/// Finds the items of an array; nothing where the text is none.
pub fn array(text: &str) -> Option<Vec<&str>> {
    let mut items = Vec::new();
    read_list(text, ['[', ']'], |scan| {
        items.push(scan.value()?);
        Some(())
    })?;
    Some(items)
}

/// Reads what stands between two brackets, separated by commas, to the end of the text.
fn read_list<'a>(
    text: &'a str,
    [begin, end]: [char; 2],
    mut item: impl FnMut(&mut Scan<'a>) -> Option<()>,
) -> Option<()> {
    let mut scan = Scan(text);
    scan.take(begin)?;
    if scan.take(end).is_none() {
        item(&mut scan)?;
        while scan.take(',').is_some() {
            item(&mut scan)?;
        }
        scan.take(end)?;
    }
    scan.0.trim_ascii_start().is_empty().then_some(())
}

/// The text that is not read yet.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    /// Reads one sign, after any spaces.
    fn take(&mut self, sign: char) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(sign)?;
        Some(())
    }

    /// Reads a whole value, after any spaces.
    fn value(&mut self) -> Option<&'a str> {
        let text = self.0.trim_ascii_start();
        let (value, rest) = text.split_at(length(text.as_bytes())?);
        self.0 = rest;
        Some(value)
    }
}

/// How many bytes the value has with which a text begins.
fn length(text: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, Vec::new());
    loop {
        match text.get(at)? {
            b'"' => at += string(&text[at..])?,
            b'{' => {
                open.push(b'}');
                at += 1;
            }
            b'[' => {
                open.push(b']');
                at += 1;
            }
            sign @ (b'}' | b']') => {
                (open.pop()? == *sign).then_some(())?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if !open.is_empty() => at += 1,
            _ => at += scalar(&text[at..])?,
        }
        if open.is_empty() {
            return Some(at);
        }
    }
}

fn string(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

fn scalar(text: &[u8]) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let length = text.iter().position(|byte| !is_part(byte));
    let length = length.unwrap_or(text.len());
    (length > 0).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_text() {
        let text = r#" {"b" : 1.50 ,"a":{"x": [1, "}\""] } , "ü":"\u00e9"} "#;
        let mut object = Object::read(text).unwrap();
        assert_eq!(object.get(r#""a""#), Some(r#"{"x": [1, "}\""] }"#));
        object.set(r#""b""#, "2".to_owned());
        object.set(r#""c""#, "[]".to_owned());
        let written = r#"{"b":2,"a":{"x": [1, "}\""] },"ü":"\u00e9","c":[]}"#;
        assert_eq!(object.write(), written);
        assert_eq!(Object::read("{}").unwrap().write(), "{}");
        assert_eq!(
            array(r#"["A", ["B","C"],1]"#),
            Some(vec![r#""A""#, r#"["B","C"]"#, "1"])
        );
        assert_eq!(array(" [ ] "), Some(vec![]));
    }

    #[test]
    fn what_is_cut_off_or_crossed_is_nothing() {
        let text = r#"{"a":[1,{"b":"c\""}]}"#;
        for end in 0..text.len() {
            assert_eq!(Object::read(&text[..end]), None, "{}", &text[..end]);
        }
        for wrong in [
            "",
            "[]",
            "{1:2}",
            r#"{"a":[}]}"#,
            r#"{"a":1,}"#,
            r#"{"a":1}x"#,
            r#"{"a" 1}"#,
        ] {
            assert_eq!(Object::read(wrong), None, "{wrong}");
        }
        for wrong in ["", "{}", "[1,]", "[1 2]", "[1]]"] {
            assert_eq!(array(wrong), None, "{wrong}");
        }
    }
}

//! `file-log`: each message becomes a line of a file on the node.

use super::{ConfigProblem, Configurations, Reader, ResourceClass, Setting};

/// What there is to know about the class.
pub const CLASS: ResourceClass = ResourceClass {
    class_type: "file-log",
    doc: "Appends each message as a line to a file; a call is answered once the line is written.",
    outputs: &[],
    settings: &[
        Setting {
            name: "filename",
            doc: "The file, below the directory the node has for them; no `..`, not absolute.",
            default: None,
        },
        Setting {
            name: "add-timestamp",
            doc: "`true`: each line begins with the moment the message was created, `secs.nsecs`.",
            default: Some("false"),
        },
    ],
    check: |configurations| Settings::read(configurations).map(drop),
};

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file: a relative path of plain names, at most 255 bytes each.
    pub filename: String,
    /// Whether each line begins with a timestamp.
    pub add_timestamp: bool,
}

impl Settings {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first setting that is missing, wrong or unknown.
    pub fn read(configurations: &Configurations) -> Result<Self, ConfigProblem> {
        let reader = Reader::new(&CLASS, configurations)?;
        Ok(Self {
            filename: reader.parse("filename", filename)?,
            add_timestamp: reader.flag("add-timestamp")?,
        })
    }
}

fn filename(text: &str) -> Result<String, String> {
    let plain = |name: &str| {
        let sound = |letter: char| !letter.is_control() && letter != '\\';
        !name.is_empty()
            && name != "."
            && name != ".."
            && name.len() <= 255
            && name.chars().all(sound)
    };
    match text.len() <= 1024 && text.split('/').all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is no file below the node's log directory: write a relative path without `.`, `..` or `\\`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filename: &str) -> Result<Settings, ConfigProblem> {
        Settings::read(&[("filename".to_owned(), filename.to_owned())].into())
    }

    #[test]
    fn names_below_the_directory_are_taken() {
        for name in ["a.log", "sub/dir/a.log", "..a", "a..b", "with blank.log"] {
            assert_eq!(read(name).unwrap().filename, name);
        }
    }

    #[test]
    fn names_that_escape_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../../b",
            "./a",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a\nb",
        ] {
            assert_eq!(read(name).unwrap_err().key, "filename", "{name:?}");
        }
        assert!(read(&"x".repeat(256)).is_err());
    }
}

//! Classes of resources: their output channels, their settings, and the check of a configuration.
//!
//! ε-CON refuses a wrong configuration when a workflow is submitted, the node reads the same
//! settings when it starts the resource; both use what stands here. One file per class; a new one
//! is a new file and one item of [`CLASSES`].

use std::collections::BTreeMap;

pub mod file_log;
pub mod http_egress;
pub mod http_ingress;
pub mod order_source;
mod read;
pub mod redis;

pub use read::Reader;

/// Settings of one resource, as a workflow document has them.
pub type Configurations = BTreeMap<String, String>;

/// What there is to know about one class of resources before any of them runs.
#[derive(Debug)]
pub struct ResourceClass {
    /// Its name in workflow documents, such as `http-ingress`.
    pub class_type: &'static str,
    /// What it is for, one sentence.
    pub doc: &'static str,
    /// The output channels a resource of this class casts or calls on.
    pub outputs: &'static [&'static str],
    /// All settings it knows; any other is refused.
    pub settings: &'static [Setting],
    /// Checks a whole configuration.
    pub check: fn(&Configurations) -> Result<(), ConfigProblem>,
}

/// One setting of a class of resources.
#[derive(Debug)]
pub struct Setting {
    /// Its key.
    pub name: &'static str,
    /// What it means, with units and range.
    pub doc: &'static str,
    /// The value when it is left out; `None`: it must be given.
    pub default: Option<&'static str>,
}

/// How HTTP requests and responses are written as JSON for functions. From functions, both are
/// understood everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFormat {
    /// Methods as on the wire (`GET`), bodies as base64 strings.
    Plain,
    /// What functions compiled for EDGELESS expect: methods as `Get`, bodies as arrays of numbers.
    Edgeless,
}

impl HttpFormat {
    const SETTING: Setting = Setting {
        name: "format",
        doc: "JSON for functions: `plain` (method `GET`, body base64) or `edgeless` (method `Get`, \
              body an array of numbers, as functions compiled for EDGELESS expect).",
        default: Some("plain"),
    };

    fn read(reader: &Reader<'_>) -> Result<Self, ConfigProblem> {
        reader.parse(Self::SETTING.name, |text| match text {
            "plain" => Ok(Self::Plain),
            "edgeless" => Ok(Self::Edgeless),
            _ => Err(format!("`{text}` is neither `plain` nor `edgeless`")),
        })
    }
}

/// A configuration that a class of resources refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting `{key}`: {problem}")]
pub struct ConfigProblem {
    /// The setting.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// All classes of resources that nodes know to provide.
pub const CLASSES: [&ResourceClass; 5] = [
    &http_ingress::CLASS,
    &http_egress::CLASS,
    &file_log::CLASS,
    &redis::CLASS,
    &order_source::CLASS,
];

/// The class of this name.
pub fn class(class_type: &str) -> Option<&'static ResourceClass> {
    CLASSES
        .into_iter()
        .find(|class| class.class_type == class_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_a_default_are_missed_and_unknown_ones_refused() {
        for class in CLASSES {
            let missing = class
                .settings
                .iter()
                .find(|setting| setting.default.is_none());
            let checked = (class.check)(&Configurations::new());
            match missing {
                Some(setting) => assert_eq!(checked.unwrap_err().key, setting.name),
                None => assert_eq!(checked, Ok(())),
            }
            let odd = Configurations::from([("odd".to_owned(), String::new())]);
            let problem = (class.check)(&odd).unwrap_err();
            assert_eq!(problem.key, "odd");
            for setting in class.settings {
                assert!(problem.problem.contains(setting.name), "{problem}");
            }
        }
    }

    #[test]
    fn defaults_pass_their_own_check() {
        let needed = Configurations::from(
            [
                ("host", "*"),
                ("filename", "a.log"),
                ("key", "k"),
                ("service", "A"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for class in CLASSES {
            let configurations = class.settings.iter().map(|setting| {
                let url = match class.class_type {
                    "redis" => "redis://localhost",
                    _ => "http://localhost:7001",
                };
                let given = match setting.name {
                    "url" => Some(url),
                    name => needed.get(name).map(String::as_str),
                };
                let value = setting.default.or(given).unwrap();
                (setting.name.to_owned(), value.to_owned())
            });
            assert_eq!((class.check)(&configurations.collect()), Ok(()));
        }
    }
}

//! Reading settings: one value at a time, each problem with its key.

use std::{str::FromStr, time::Duration};

use super::{ConfigProblem, Configurations, ResourceClass};

/// Reads the settings of one class from a configuration.
pub struct Reader<'a> {
    class: &'static ResourceClass,
    configurations: &'a Configurations,
}

impl<'a> Reader<'a> {
    /// Starts to read.
    ///
    /// # Errors
    /// The configuration has a setting the class does not know.
    pub fn new(
        class: &'static ResourceClass,
        configurations: &'a Configurations,
    ) -> Result<Self, ConfigProblem> {
        let known = |key: &str| class.settings.iter().any(|setting| setting.name == key);
        if let Some(key) = configurations.keys().find(|key| !known(key)) {
            let names: Vec<_> = class.settings.iter().map(|setting| setting.name).collect();
            return Err(ConfigProblem {
                key: key.clone(),
                problem: format!(
                    "unknown to {}, which knows {}",
                    class.class_type,
                    names.join(", ")
                ),
            });
        }
        Ok(Self {
            class,
            configurations,
        })
    }

    /// The text of a setting or its default.
    ///
    /// # Errors
    /// It is not given and has no default, or the class does not list it.
    pub fn text(&self, key: &str) -> Result<&'a str, ConfigProblem> {
        let default = || {
            let setting = self.class.settings.iter().find(|it| it.name == key);
            setting.and_then(|setting| setting.default)
        };
        let given = self.configurations.get(key).map(|value| value.trim());
        given
            .or_else(default)
            .ok_or_else(|| problem(key, "is missing, and has no default"))
    }

    /// Reads a setting with a parser that says what is wrong.
    ///
    /// # Errors
    /// It is missing, or the parser refuses it.
    pub fn parse<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&'a str) -> Result<T, String>,
    ) -> Result<T, ConfigProblem> {
        parse(self.text(key)?).map_err(|text| problem(key, text))
    }

    /// Reads a duration such as `10s` or `250ms`, from one millisecond to one hour.
    ///
    /// # Errors
    /// It is missing, no duration, or out of range.
    pub fn duration(&self, key: &str) -> Result<Duration, ConfigProblem> {
        const RANGE: std::ops::RangeInclusive<Duration> =
            Duration::from_millis(1)..=Duration::from_hours(1);
        self.parse(key, |text| {
            humantime_serde::re::humantime::parse_duration(text)
                .ok()
                .filter(|duration| RANGE.contains(duration))
                .ok_or_else(|| format!("`{text}` is no duration from `1ms` to `1h`, such as `10s`"))
        })
    }

    /// Reads a whole number in `1..=max`.
    ///
    /// # Errors
    /// It is missing, no whole number, or out of range.
    pub fn count(&self, key: &str, max: usize) -> Result<usize, ConfigProblem> {
        self.parse(key, |text| {
            usize::from_str(text)
                .ok()
                .filter(|number| (1..=max).contains(number))
                .ok_or_else(|| format!("`{text}` is no whole number from 1 to {max}"))
        })
    }

    /// Reads `true` or `false`.
    ///
    /// # Errors
    /// It is missing or anything else.
    pub fn flag(&self, key: &str) -> Result<bool, ConfigProblem> {
        self.parse(key, |text| {
            bool::from_str(text).map_err(|_| format!("`{text}` is neither `true` nor `false`"))
        })
    }

    /// Reads a list separated by commas; at least one item, none empty.
    ///
    /// # Errors
    /// It is missing, empty, or one of its items is empty.
    pub fn list(&self, key: &str) -> Result<Vec<&'a str>, ConfigProblem> {
        self.parse(key, |text| {
            let items: Vec<_> = text.split(',').map(str::trim).collect();
            match items.iter().any(|item| item.is_empty()) {
                true => Err(format!("`{text}` has an empty item; write `a,b,c`")),
                false => Ok(items),
            }
        })
    }
}

/// A problem with one setting.
pub(super) fn problem(key: &str, problem: impl Into<String>) -> ConfigProblem {
    ConfigProblem {
        key: key.to_owned(),
        problem: problem.into(),
    }
}

/// Checks the name of a host: letters, digits, `-` and `.`, or an address; no port, no scheme.
pub(super) fn host(text: &str) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let is_name = !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_address = bare.parse::<std::net::IpAddr>().is_ok();
    match is_name || is_address {
        true => Ok(bare.to_ascii_lowercase()),
        false => Err(format!(
            "`{text}` is no host: write a name or an address, without scheme, port or path"
        )),
    }
}

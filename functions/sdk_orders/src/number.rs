//! Numbers of JSON: whole ones stay whole.

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    /// Reads a number; nothing where the text is none, or a larger one than can be kept.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        let begins = text.strip_prefix('-').unwrap_or(text);
        if !begins.starts_with(|sign: char| sign.is_ascii_digit()) {
            return None;
        }
        match text.bytes().any(|byte| b".eE".contains(&byte)) {
            true => text.parse().ok().and_then(Self::real),
            false => text.parse().ok().map(Self::Whole),
        }
    }

    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.checked_add(other).map(Self::Whole),
            (one, other) => Self::real(one.as_real() + other.as_real()),
        }
    }

    pub(crate) fn times(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.checked_mul(other).map(Self::Whole),
            (one, other) => Self::real(one.as_real() * other.as_real()),
        }
    }

    pub(crate) fn write(self) -> String {
        match self {
            Self::Whole(number) => number.to_string(),
            // With a point, so that it stays what it is.
            Self::Real(number) => format!("{number:?}"),
        }
    }

    fn real(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self::Real(number))
    }

    fn as_real(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Number {
        Number::read(text).unwrap()
    }

    #[test]
    fn whole_numbers_stay_whole_and_real_ones_real() {
        assert_eq!(read("5").plus(read("2")).unwrap().write(), "7");
        assert_eq!(read("5.0").plus(read("2")).unwrap().write(), "7.0");
        assert_eq!(read("-5").times(read("0.5")).unwrap().write(), "-2.5");
        assert_eq!(read("1e300").write(), "1e300");
    }

    #[test]
    fn what_is_too_large_is_none() {
        let most = Number::Whole(i64::MAX);
        assert_eq!(most.plus(Number::Whole(1)), None);
        assert_eq!(most.times(most), None);
        assert_eq!(read("1e308").times(read("1e308")), None);
        for text in [
            "9223372036854775808",
            "1e309",
            "",
            "-",
            "+1",
            ".5",
            "inf",
            "0x1",
            "1 2",
        ] {
            assert_eq!(Number::read(text), None, "{text}");
        }
    }
}

//! Times as text in seconds. Millions of them are written in a second, so that no float is formatted.

use std::fmt;

/// A time in fractional seconds. Its text has as few digits as that of a float of it: `0.0025`, `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secs {
    /// Nanoseconds.
    pub nanos: u64,
}

/// Up to here a float tells every nanosecond from its neighbours, so that its shortest text has them all.
const EXACT: u64 = 1_000_000_000_000_000;

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos >= EXACT {
            return (self.nanos as f64 / 1e9).fmt(f);
        }
        let mut text = Text::default();
        let digits = text.write(self.nanos).trim_end_matches('0');
        f.pad(digits.trim_end_matches('.'))
    }
}

/// Room for seconds, a dot, and nine digits.
#[derive(Default)]
pub(crate) struct Text([u8; 24]);

const DIGITS: usize = 9;

impl Text {
    /// Whole seconds, a dot, and all nine digits.
    pub(crate) fn write(&mut self, nanos: u64) -> &str {
        let (mut first, mut rest) = (self.0.len(), nanos);
        loop {
            first -= 1;
            self.0[first] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            let written = self.0.len() - first;
            if written == DIGITS {
                first -= 1;
                self.0[first] = b'.';
            } else if rest == 0 && written > DIGITS {
                return std::str::from_utf8(&self.0[first..]).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(nanos: u64) {
        let duration = Duration::from_nanos(nanos);
        assert_eq!(Secs { nanos }.to_string(), (nanos as f64 / 1e9).to_string());
        let (secs, rest) = (duration.as_secs(), duration.subsec_nanos());
        assert_eq!(Text::default().write(nanos), format!("{secs}.{rest:09}"));
    }

    #[test]
    fn round_times_have_no_dot() {
        for nanos in [0, 1, 9, 10, 2_500_000, 1_000_000_000, 20_000_000_000] {
            check(nanos);
        }
        for nanos in [EXACT - 1, EXACT, u64::MAX - 1, u64::MAX] {
            check(nanos);
        }
    }

    #[test]
    fn texts_are_those_of_floats() {
        for number in 1..200_000_u64 {
            // Spread over all of them, and over those of any length.
            let nanos = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            check(nanos >> (number % 64));
        }
    }
}

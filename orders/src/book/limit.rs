//! How much a client may send: a bucket of tokens that fills with time.

use std::time::Duration;

use edgeless_types::Timestamp;

use crate::contract::Limits;

/// What one client has used of its rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    /// The moment at which it is full again.
    full: Option<Timestamp>,
}

impl Bucket {
    /// Takes one token; else says after how long there is one.
    ///
    /// The bucket is kept as the moment at which it is full again (generic cell rate algorithm, ITU-T I.371).
    pub(super) fn take(&mut self, limits: &Limits, now: Timestamp) -> Result<(), Duration> {
        let Some(rate) = limits.orders_per_second else {
            return Ok(());
        };
        let burst = limits.burst.map_or(rate.max(1.0), f64::from);
        let one = Duration::from_secs_f64(1.0 / rate);
        let all = Duration::from_secs_f64(burst / rate);
        let full = self.full.unwrap_or(now).max(now) + one;
        let needed = full.since(now);
        if needed > all {
            return Err(needed - all);
        }
        self.full = Some(full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_the_rate_holds() {
        let limits = Limits {
            orders_per_second: Some(10.0),
            burst: Some(5),
            active_orders: None,
        };
        let start = Timestamp::from_unix(Duration::from_secs(1000));
        let mut bucket = Bucket::default();
        for _ in 0..5 {
            assert_eq!(bucket.take(&limits, start), Ok(()));
        }
        let after = bucket.take(&limits, start).unwrap_err();
        assert_eq!(after.as_millis(), 100);
        assert_eq!(bucket.take(&limits, start + after), Ok(()));
        assert!(bucket.take(&limits, start + after).is_err());
        let taken = (0..1000).filter(|tenth| {
            let now = start + Duration::from_secs(10) + Duration::from_millis(tenth * 10);
            bucket.take(&limits, now).is_ok()
        });
        assert!((104..=106).contains(&taken.count()));
    }
}

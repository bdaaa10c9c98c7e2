//! Suite `orders`: throughput, latency, disk, memory and rest of orders of two tasks (`orders/`), and what is asked of
//! them.

use super::{Measured, Options, orders};

const SUITE: &str = "orders";

/// What is asked of a figure.
#[derive(Clone, Copy)]
enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

const ASKED: [(&str, Asked); 15] = [
    ("orders_per_s_1", Asked::AtLeast(1_000.0)),
    ("orders_p50_ms_1", Asked::AtMost(1.0)),
    ("orders_p99_ms_1", Asked::AtMost(3.0)),
    ("orders_per_s_64", Asked::AtLeast(7_000.0)),
    ("orders_p99_ms_64", Asked::AtMost(20.0)),
    ("orders_per_s_256", Asked::AtLeast(10_000.0)),
    ("orders_p99_ms_256", Asked::AtMost(60.0)),
    ("orders_slow_sync_ratio", Asked::AtLeast(0.8)),
    ("orders_open_5000_p99_ms", Asked::AtMost(10.0)),
    ("orders_open_8000_p99_ms", Asked::AtMost(40.0)),
    ("orders_open50_p99_ms", Asked::AtMost(10.0)),
    ("orders_open80_p99_ms", Asked::AtMost(40.0)),
    ("orders_rss_mib_0", Asked::AtMost(60.0)),
    ("orders_rss_mib_1m", Asked::AtMost(400.0)),
    ("orders_idle_cpu_percent", Asked::AtMost(0.1)),
];

/// Runs all benchmarks of the suite.
///
/// # Errors
/// A daemon does not start, an order is not answered or with a wrong result.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    // Values of one name are one figure.
    let mut found: Vec<(&'static str, &'static str, Vec<f64>)> = Vec::new();
    let outcome = orders::run(options, &mut |name, unit, value| {
        eprintln!("{name} {value:.2} {unit}");
        match found.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => found.push((name, unit, vec![value])),
        }
    })
    .await;
    let measured = |(name, unit, values)| Measured::of(SUITE, name, unit, values);
    let results: Vec<_> = found.into_iter().filter_map(measured).collect();
    for one in &results {
        if let Some((_, asked)) = ASKED.iter().find(|(name, _)| *name == one.name) {
            eprintln!("{}", compared(one, *asked));
        }
    }
    outcome.map(|()| results)
}

/// How a figure is to what is asked: a ratio of at least 1 is enough.
fn compared(one: &Measured, asked: Asked) -> String {
    let (word, bound, ratio) = match asked {
        Asked::AtLeast(bound) => ("at least", bound, one.value / bound),
        Asked::AtMost(bound) => ("at most", bound, bound / one.value),
    };
    let Measured { name, value, .. } = one;
    format!("{name} {value:.2}, asked {word} {bound}: ratio {ratio:.2}")
}

//! Throughput and latency: closed loop, open loop, and with a slow disk.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{
    Keep,
    load::{Found, Load, Pace, Window},
    system::{System, Written},
};
use crate::bench::{Options, quantile};

/// A number of orders in flight, and the names of its throughput, median and 99th percentile.
type Point = (usize, [&'static str; 3]);

const POINTS: [Point; 5] = [
    (1, ["orders_per_s_1", "orders_p50_ms_1", "orders_p99_ms_1"]),
    (
        16,
        ["orders_per_s_16", "orders_p50_ms_16", "orders_p99_ms_16"],
    ),
    (
        64,
        ["orders_per_s_64", "orders_p50_ms_64", "orders_p99_ms_64"],
    ),
    (
        256,
        ["orders_per_s_256", "orders_p50_ms_256", "orders_p99_ms_256"],
    ),
    (
        1_024,
        [
            "orders_per_s_1024",
            "orders_p50_ms_1024",
            "orders_p99_ms_1024",
        ],
    ),
];
/// At so many in flight bytes and syncs are counted.
const COUNTED: usize = 256;
const WRITTEN: [&str; 2] = ["orders_bytes_per_order", "orders_syncs_per_order"];
/// So many in flight show what the system can do at most, where it was not measured otherwise.
const MANY: usize = 1_024;
/// With services as they are by default, and with such that say they are idempotent: the share of the throughput without
/// the longer syncs, and the throughput itself.
const SLOW: [(bool, [&str; 2]); 2] = [
    (
        false,
        ["orders_slow_sync_ratio", "orders_slow_sync_per_s_1024"],
    ),
    (
        true,
        [
            "orders_slow_sync_idempotent_ratio",
            "orders_slow_sync_idempotent_per_s_1024",
        ],
    ),
];
/// How much longer a sync of a slow disk takes.
const SLOW_SYNC: Duration = Duration::from_millis(10);
/// Shares of the saturation, and the names of their 99th percentile.
const OPEN: [(f64, &str); 2] = [(0.5, "orders_open50_p99_ms"), (0.8, "orders_open80_p99_ms")];
/// The same shares of the 10,000 orders a second that are asked for.
const OPEN_FIXED: [(f64, &str); 2] = [
    (5_000.0, "orders_open_5000_p99_ms"),
    (8_000.0, "orders_open_8000_p99_ms"),
];
/// Connections of the open loop: more orders than that do not come to be in flight at a rate that can be kept.
const OPEN_CONNECTIONS: usize = 1_024;

/// What one measurement has found.
struct Measurement {
    found: Found,
    per_second: f64,
    before: Written,
    after: Written,
}

/// How long orders are sent before they count, and then.
fn times(options: &Options) -> (Duration, Duration) {
    let seconds = |quick, full| Duration::from_secs(if options.quick { quick } else { full });
    (seconds(2, 3), seconds(4, 6))
}

/// Sends orders for a while; says what they cost.
async fn measure(options: &Options, system: &System, load: Load) -> anyhow::Result<Measurement> {
    let (warm, time) = times(options);
    let text = format!("{} connections, {:?}", load.connections, load.pace);
    let begin = Instant::now() + warm;
    let window = Window {
        begin,
        end: begin + time,
    };
    let running = tokio::task::spawn_blocking(move || load.run(window));
    sleep_until(window.begin).await;
    let (costs, before) = (system.costs()?, system.written().await?);
    sleep_until(window.end).await;
    let (spent, after) = (costs.since()?, system.written().await?);
    let found = running.await??;
    let per_second = found.answered as f64 / time.as_secs_f64();
    let each = |before: u64, after: u64| (after - before) as f64 / found.answered.max(1) as f64;
    eprintln!(
        "{text}: {per_second:.0} orders/s, p50 {:.2} ms, p99 {:.2} ms; us of processors per order:{}; others use \
         {:.2} cores; bytes of the log per order {:.0}",
        found.ms(0.5),
        found.ms(0.99),
        spent.per(found.answered),
        spent.others,
        each(before.log, after.log),
    );
    Ok(Measurement {
        found,
        per_second,
        before,
        after,
    })
}

/// Measures what is wanted of closed loop, open loop and slow disk.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let wants_open = OPEN.iter().any(|(_, name)| options.wants(&[name]));
    let is_counted = |number| number == COUNTED && options.wants(&WRITTEN);
    let wanted = |(number, names): &Point| options.wants(names) || is_counted(*number);
    let points: Vec<Point> = POINTS.into_iter().filter(wanted).collect();
    let wants_fixed = OPEN_FIXED.iter().any(|(_, name)| options.wants(&[name]));
    let wants_slow = SLOW.iter().any(|(_, names)| options.wants(names));
    if points.is_empty() && !wants_open && !wants_fixed && !wants_slow {
        return Ok(());
    }
    let system = System::start(Duration::ZERO, false).await?;
    let (mut most, mut many) = (0.0_f64, None);
    for point in points {
        let rate = closed(options, &system, point, keep).await?;
        most = most.max(rate);
        if point.0 == MANY {
            many = Some(rate);
        }
    }
    let many = match many {
        None if wants_open || wants_slow => {
            let load = system.results(MANY, Pace::Closed);
            measure(options, &system, load).await?.per_second
        }
        None => 0.0,
        Some(rate) => rate,
    };
    let shares = OPEN.map(|(share, name)| (most.max(many) * share, name));
    let rates = OPEN_FIXED.into_iter().chain(shares);
    for (per_second, name) in rates.filter(|(_, name)| options.wants(&[name])) {
        anyhow::ensure!(per_second > 0.0, "no order was answered");
        for _ in 0..options.runs() {
            let load = system.results(OPEN_CONNECTIONS, Pace::Open { per_second });
            let measured = measure(options, &system, load).await?;
            keep(name, "ms", measured.found.ms(0.99));
        }
    }
    drop(system);
    for (idempotent, names) in SLOW.into_iter().filter(|(_, names)| options.wants(names)) {
        slow(options, idempotent, many, names, keep).await?;
    }
    Ok(())
}

/// One number of orders in flight; the median of the orders a second.
async fn closed(
    options: &Options,
    system: &System,
    (number, names): Point,
    keep: &mut Keep<'_>,
) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..options.runs() {
        let load = system.results(number, Pace::Closed);
        let measured = measure(options, system, load).await?;
        keep(names[0], "1/s", measured.per_second);
        keep(names[1], "ms", measured.found.ms(0.5));
        keep(names[2], "ms", measured.found.ms(0.99));
        if number == COUNTED {
            written(&measured, keep);
        }
        rates.push(measured.per_second);
    }
    Ok(quantile(&mut rates, 0.5))
}

/// The throughput of a slow disk over that of the fast one.
async fn slow(
    options: &Options,
    idempotent: bool,
    fast: f64,
    names: [&'static str; 2],
    keep: &mut Keep<'_>,
) -> anyhow::Result<()> {
    let system = System::start(SLOW_SYNC, idempotent).await?;
    for _ in 0..options.runs() {
        let load = system.results(MANY, Pace::Closed);
        let measured = measure(options, &system, load).await?;
        keep(names[0], "", measured.per_second / fast);
        keep(names[1], "1/s", measured.per_second);
    }
    Ok(())
}

/// What an order comes to in the log.
fn written(measured: &Measurement, keep: &mut Keep<'_>) {
    let (before, after) = (measured.before, measured.after);
    let each = |before: u64, after: u64| (after - before) as f64 / measured.found.answered as f64;
    keep(WRITTEN[0], "B", each(before.log, after.log));
    if let Some((before, after)) = before.syncs.zip(after.syncs) {
        keep(WRITTEN[1], "", each(before, after));
    }
}

//! What ε-CON costs while nothing happens: its processor at rest, and its memory while orders wait.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Keep,
    load::{Pace, Window},
    system::System,
};
use crate::bench::Options;

/// Memory with so many waiting orders.
const WAITING: [(u64, &str); 3] = [
    (0, "orders_rss_mib_0"),
    (100_000, "orders_rss_mib_100k"),
    (1_000_000, "orders_rss_mib_1m"),
];
const IDLE: &str = "orders_idle_cpu_percent";
/// How long is looked at a daemon at rest.
const REST: Duration = Duration::from_secs(10);
/// How long orders are sent before, and how many at once.
const LOAD: (Duration, usize) = (Duration::from_secs(3), 64);
/// How long all waiting orders may take to be accepted.
const ACCEPTED: Duration = Duration::from_secs(900);

/// Measures both, on a system of their own that has had something to do.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    let wanted: Vec<_> = WAITING
        .into_iter()
        .filter(|(_, name)| options.wants(&[name]))
        .collect();
    if wanted.is_empty() && !options.wants(&[IDLE]) {
        return Ok(());
    }
    let system = System::start(Duration::ZERO, false).await?;
    let load = system.results(LOAD.1, Pace::Closed);
    let now = Instant::now();
    let window = Window {
        begin: now,
        end: now + LOAD.0,
    };
    tokio::task::spawn_blocking(move || load.run(window)).await??;
    system.rests().await?;
    if options.wants(&[IDLE]) {
        system.is_quiet().await?;
        keep(IDLE, "%", system.cores(REST).await? * 100.0);
    }
    if !wanted.is_empty() {
        system.pause().await?;
    }
    let mut waiting = 0;
    for (number, name) in wanted {
        accept(&system, number - waiting).await?;
        waiting = number;
        let active = system.active().await?;
        anyhow::ensure!(active == waiting, "{active} orders wait, not {waiting}");
        keep(name, "MiB", system.settled_rss_mib().await?);
    }
    Ok(())
}

/// Sends so many orders, all of which are accepted.
async fn accept(system: &System, orders: u64) -> anyhow::Result<()> {
    if orders == 0 {
        return Ok(());
    }
    let begin = Instant::now();
    let window = Window {
        begin,
        end: begin + ACCEPTED,
    };
    let (load, costs) = (system.acceptances(orders), system.costs()?);
    let found = tokio::task::spawn_blocking(move || load.run(window)).await??;
    anyhow::ensure!(
        found.answered == orders,
        "{} orders were accepted, not {orders}",
        found.answered
    );
    eprintln!(
        "{orders} orders accepted in {:.1} s, p99 {:.2} ms; us of processors per order:{}",
        begin.elapsed().as_secs_f64(),
        found.ms(0.99),
        costs.per(orders)?
    );
    Ok(())
}

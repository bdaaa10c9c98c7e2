//! The part of the suite `domain` in which a real ε-ORC runs, with simulated nodes, a real Redis as mirror,
//! and datasets.

mod daemon;
mod loss;
mod mirror;
mod placing;
mod probe;
mod refresh;

use super::Options;

/// Takes a value by its name and unit.
pub(super) type Keep<'a> = dyn FnMut(&'static str, &'static str, f64) + Send + 'a;

/// Runs all of them, each with an ε-ORC of its own.
///
/// # Errors
/// Something does not start, fails or does not end in time.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    if options.wants(&["refresh_cpu_cores", "refresh_rss_mib", "refresh_p99_ms"]) {
        refresh::refreshes(options, keep).await?;
    }
    if options.wants(&["samples_per_s", "samples_lost"]) {
        refresh::samples(options, keep).await?;
    }
    if options.wants(&[
        "place_per_s",
        "place_last_over_first",
        "place_bytes_per_instance",
    ]) {
        placing::run(options, keep).await?;
    }
    if options.wants(&["mirror_lag_p99_ms"]) {
        mirror::lag(options, keep).await?;
    }
    if options.wants(&["mirror_rebuild_s"]) {
        mirror::rebuild(options, keep).await?;
    }
    if options.wants(&["dead_node_noticed_ms", "dead_node_replaced_ms"]) {
        loss::run(options, keep).await?;
    }
    Ok(())
}

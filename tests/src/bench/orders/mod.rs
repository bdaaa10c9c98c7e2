//! The suite `orders`: real daemons, and a load that sends orders of two tasks and checks every result.

mod load;
mod points;
mod resting;
mod system;
pub mod wire;

use super::Options;

/// Takes a value by its name and unit.
pub(super) type Keep<'a> = dyn FnMut(&'static str, &'static str, f64) + Send + 'a;

/// Measures everything that is wanted.
///
/// # Errors
/// A daemon does not start, an order is not answered or with a wrong result.
pub(super) async fn run(options: &Options, keep: &mut Keep<'_>) -> anyhow::Result<()> {
    points::run(options, keep).await?;
    resting::run(options, keep).await
}

//! Waiting for conditions, with a deadline.

use std::time::Duration;

use anyhow::bail;

/// How long a condition may take to hold.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Errors
/// There is none within [`DEADLINE`].
pub async fn until<T>(
    what: &str,
    ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    until_within(DEADLINE, what, ask).await
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// There is none within `limit`.
pub async fn until_within<T>(
    limit: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let asking = async {
        loop {
            if let Ok(Some(answer)) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(limit, asking).await {
        Ok(answer) => Ok(answer),
        Err(_) => bail!(
            "waited in vain: {what} (last answer: {:?})",
            ask().await.err()
        ),
    }
}

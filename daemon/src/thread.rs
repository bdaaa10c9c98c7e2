//! Work that keeps a processor busy for long, on a thread of its own: it holds up none of the tasks that answer
//! somebody.

use tokio::sync::oneshot;

/// Runs work on a thread with this name. What comes back waits for its end, and panics where the work did.
///
/// # Errors
/// The thread cannot be started.
pub fn on_thread<W: Future<Output = ()> + Send + 'static>(
    name: &str,
    work: W,
) -> std::io::Result<impl Future<Output = ()> + Send + use<W>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (done, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            runtime.block_on(work);
            // Nobody waits when all ends.
            done.send(()).ok();
        })?;
    Ok(async move {
        if ended.await.is_err()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_is_seen_also_of_work_that_panics() {
        let outer = std::thread::current().id();
        let ended = on_thread("test", async move {
            assert_ne!(std::thread::current().id(), outer);
        });
        ended.unwrap().await;
        let panics = on_thread("test", async { panic!("on purpose") });
        let waits = tokio::spawn(panics.unwrap());
        assert!(waits.await.unwrap_err().is_panic());
    }
}

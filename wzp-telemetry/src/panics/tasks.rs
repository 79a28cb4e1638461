//! Tasks that are begun again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// What failed may fail again at once; it must not take the whole machine.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs a task of the control plane, and begins it again a second after a panic.
pub async fn supervised<F: Future>(mut task: impl FnMut() -> F) -> F::Output {
    loop {
        match AssertUnwindSafe(task()).catch_unwind().await {
            Ok(result) => return result,
            // The hook has told of it.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

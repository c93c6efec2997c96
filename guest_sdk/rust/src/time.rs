//! Clocks and timers.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use crate::bindings::wall::wasi::clocks::wall_clock;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;
use crate::together::{select, Either};

/// Time since the beginning of 1970 (UTC). It may be set back: measure with [`monotonic`].
pub fn now() -> Duration {
    let now = wall_clock::now();
    Duration::new(now.seconds, now.nanoseconds)
}

/// Time since an arbitrary start. Never decreases.
pub fn monotonic() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

/// Suspend the calling future, not the others.
pub async fn sleep(time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    ready(&Rc::new(monotonic_clock::subscribe_duration(nanoseconds))).await;
}

/// The future's output, or `timed-out` if it takes longer; it is dropped then, which cancels what it has in flight. To go
/// on with it instead, give `&mut` of a pinned one.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output> {
    match select(pin!(future), sleep(limit)).await {
        Either::First(output) => Ok(output),
        Either::Second(()) => Err(Error::new(ErrorCode::TimedOut, format!("not done within {limit:?}"), "")),
    }
}

//! Clock and timers.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use crate::bindings::wasi::clocks::monotonic_clock;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::{race, ready};

/// Time since an arbitrary start. Never decreases.
pub fn now() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

/// Suspend the calling future, not the others.
pub async fn sleep(time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    ready(&Rc::new(monotonic_clock::subscribe_duration(nanoseconds))).await;
}

/// The future's output, or `timed-out` if it takes longer; it is dropped then, which cancels what it has in flight.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output> {
    let in_time = async { Ok(future.await) };
    let too_late = async {
        sleep(limit).await;
        Err(Error::new(ErrorCode::TimedOut, format!("not done within {limit:?}"), ""))
    };
    race(in_time, too_late).await
}

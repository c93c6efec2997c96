//! Advisory locks on KV files.

use std::rc::Rc;

use crate::bindings::symphony::lip::kvfs;
use crate::executor::ready;

pub use kvfs::LockKind;

/// An advisory lock that is held. Dropping it releases it.
pub struct Lock(#[allow(dead_code)] kvfs::Lock);

impl Lock {
    pub(crate) fn new(lock: kvfs::Lock) -> Self {
        Self(lock)
    }

    /// Stands in line; dropping the future leaves it.
    pub(crate) async fn wait(lock: kvfs::Lock) -> Self {
        if !lock.held() {
            let turn = Rc::new(lock.subscribe());
            ready(&turn).await;
        }
        Self(lock)
    }
}

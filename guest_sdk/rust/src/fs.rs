//! Names in the KV-cache file system; files themselves are [`crate::Context`]s.

use std::rc::Rc;

use crate::bindings::symphony::lip::kvfs;
use crate::error::{ErrorCode, Result};
use crate::executor::ready;
use crate::model::Model;

pub use kvfs::{Entry, Mode, Stat, Tier};

/// The names below a directory, sorted.
pub fn list(path: &str) -> Result<Vec<Entry>> {
    Ok(kvfs::list(path)?)
}

/// The paths of the files that match, sorted: `*`, `?`, `[a-z]` within a name, `**` for any number of directories.
pub fn glob(pattern: &str) -> Result<Vec<String>> {
    Ok(kvfs::glob(pattern)?)
}

/// Length, pages, owner, mode and times of a named file.
pub fn stat(path: &str) -> Result<Stat> {
    Ok(kvfs::stat_path(path)?)
}

/// Whether there is a file of this name.
pub fn exists(path: &str) -> Result<bool> {
    match stat(path) {
        Ok(_) => Ok(true),
        Err(error) if error.code == ErrorCode::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Make a directory, with those above it; it stays when it is empty. Others live while a name lies below them.
pub fn mkdir(path: &str) -> Result<()> {
    Ok(kvfs::mkdir(path)?)
}

/// Give a file another name, or a directory with all that lies below it; atomic, never replaces.
pub fn rename(old: &str, new: &str) -> Result<()> {
    Ok(kvfs::rename(old, new)?)
}

/// Remove a name; contexts that are open stay usable. Or an empty directory.
pub fn unlink(path: &str) -> Result<()> {
    Ok(kvfs::unlink(path)?)
}

/// Give a file of the default model a second name.
pub fn link(old: &str, new: &str) -> Result<()> {
    link_on(Model::open(None)?.as_ref(), old, new)
}

/// Give a file of a model a second name.
pub fn link_on(model: &Model, old: &str, new: &str) -> Result<()> {
    Ok(kvfs::KvFile::open(&model.handle, old, kvfs::OpenFlags::WRITE)?.link(new)?)
}

/// Make the file of this name outlive the host, as it is now: tokens, keys and values. See [`crate::Context::sync`].
pub async fn sync(path: &str) -> Result<()> {
    synced(kvfs::sync(path)?).await
}

/// Waits for the end of a sync.
pub(crate) async fn synced(running: kvfs::Syncing) -> Result<()> {
    let pollable = Rc::new(running.subscribe());
    loop {
        ready(&pollable).await;
        if let Some(outcome) = running.get() {
            return Ok(outcome?);
        }
    }
}

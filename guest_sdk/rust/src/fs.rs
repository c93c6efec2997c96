//! Names in the KV-cache file system; files themselves are [`crate::Context`]s.

use crate::bindings::symphony::lip::kvfs;
use crate::error::{ErrorCode, Result};

pub use kvfs::{Entry, Stat};

/// The names below a directory, sorted.
pub fn list(path: &str) -> Result<Vec<Entry>> {
    Ok(kvfs::list(path)?)
}

/// Length, pages, owner and times of a named file.
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

/// Give a file another name; atomic, never replaces.
pub fn rename(old: &str, new: &str) -> Result<()> {
    Ok(kvfs::rename(old, new)?)
}

/// Remove a name. Contexts that are open stay usable.
pub fn unlink(path: &str) -> Result<()> {
    Ok(kvfs::unlink(path)?)
}

//! What can go wrong: one struct with the code, the message and the hint of `wit/types.wit`.

use std::fmt;

use crate::bindings::symphony::lip::types;

pub use types::ErrorCode;

/// The result of everything that can fail; a program may use it for its own failures too.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Which kind of failure: match on this.
    pub code: ErrorCode,
    /// What failed and why, one sentence.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
}

impl Error {
    /// An error of the program's own making.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.hint.is_empty() {
            return Ok(());
        }
        write!(f, "\n  hint: {}", self.hint)
    }
}

impl std::error::Error for Error {}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        Self { code: error.code, message: error.message, hint: error.hint }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorCode::Invalid, error.to_string(), "")
    }
}

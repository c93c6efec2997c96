//! Write LLM inference programs (LIPs) in Rust. A program owns its generation loop and its KV files, and runs sandboxed
//! next to the model.
//!
//! ```ignore
//! use lip::*;
//!
//! #[derive(serde::Deserialize)]
//! struct Args { prompt: String }
//!
//! #[lip::main]
//! async fn app(args: Args) -> Result<String> {
//!     let mut ctx = Context::new()?;
//!     ctx.system("Be brief.").user(args.prompt);
//!     Ok(ctx.generate(Sampling { max_tokens: 64, ..default() }).await?.text)
//! }
//! ```
//!
//! The same nouns and verbs as the Python SDK, in Rust's habits; `docs/guest-rust.md` is the guide, and
//! `tools/build_rust.py` builds a crate into a component.

#![warn(missing_docs)]

mod base64;
#[doc(hidden)]
pub mod bindings;
mod chat;
mod child;
mod constraint;
mod context;
mod entry;
mod error;
mod executor;
pub mod fs;
mod input;
mod ipc;
mod lock;
mod model;
mod outside;
mod parts;
mod predict;
mod sampling;
mod stream;
mod time;
mod together;
mod turns;
mod web;

pub use child::{spawn, spawn_with, Child, Limits};
pub use constraint::{Allowed, Constraint, JsonSpacing};
pub use context::{Advice, Context, OpenFlags};
#[doc(hidden)]
pub use entry::NoArgs;
pub use error::{Error, ErrorCode, Result};
pub use input::Input;
pub use ipc::{receive, Channel};
pub use lock::{Lock, LockKind};
pub use model::{decode, encode, models, Model, ModelInfo, Token};
pub use outside::{emit, log, pid, tenant, tool, tools, usage, Level, Tool, Usage};
pub use parts::{ask, pred_all, KeptRow, Placement};
pub use sampling::{Distribution, Draft, Readings, Sampling};
/// JSON of any shape: a literal, a value, and a text that is passed on as it is.
pub use serde_json::{json, value::RawValue, Value};
pub use stream::{Chunk, Completion, FinishReason, Ranked, Stream};
pub use symphony_lip_macros::main;
pub use time::{monotonic, now, sleep, timeout};
pub use together::{join, join_all, select, try_join_all, Either, Tasks};
pub use web::{fetch, Request, Response};

/// `..default()` in struct literals.
pub fn default<T: Default>() -> T {
    T::default()
}

/// What `#[lip::main]` expands to uses this; nothing else should.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{self, export, Guest};
    pub use crate::entry::run;
}

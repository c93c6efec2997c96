//! Children: programs that a program starts, within its own limits.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::bindings::symphony::lip::process;
use crate::bindings::wasi::io::poll::Pollable;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;

/// What a child may do and use: at most what this program may, and has left. None: that much.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// From its start to its end.
    pub time: Option<Duration>,
    /// CPU time, which counts for this program too.
    pub cpu_time: Option<Duration>,
    /// How far it stands back behind the tenant's other programs, up to 19.
    pub nice: Option<i32>,
    /// The tools that it may call, and `fetch` if it may fetch.
    pub tools: Option<Vec<String>>,
    /// Whether it may change names below `/shared`.
    pub share: Option<bool>,
}

/// Start another program of this tenant, with this program's limits: the name or id of an uploaded one, the source of a
/// Python program, or, empty, this very program again. `args` must serialise to a JSON object.
///
/// The child is killed when what this returns is dropped, unless it is detached. Holds this program up while the child's
/// is made ready. Errors: not-found, invalid, limit-exceeded (64 children, 8 generations, no place for it).
pub async fn spawn(program: &str, args: impl Serialize) -> Result<Child> {
    spawn_with(program, args, Limits::default(), &mut []).await
}

/// `spawn`, with less than this program's limits, and with contexts: the child has a copy-on-write fork of each, which it
/// takes over with `Context::inherit(name)`. What they have buffered is computed first.
pub async fn spawn_with(
    program: &str,
    args: impl Serialize,
    limits: Limits,
    files: &mut [(&str, &mut Context)],
) -> Result<Child> {
    for (_, context) in files.iter_mut() {
        context.flush().await?;
    }
    let passed: Vec<_> =
        files.iter().map(|(name, context)| process::Passed { name: (*name).into(), file: &context.file }).collect();
    let limits = process::Limits {
        wall_us: limits.time.map(microseconds),
        cpu_us: limits.cpu_time.map(microseconds),
        nice: limits.nice,
        tools: limits.tools,
        share: limits.share,
    };
    let raw = process::spawn(program, &serde_json::to_string(&args)?, &limits, &passed)?;
    Ok(Child { ended: Rc::new(raw.subscribe()), raw, answer: RefCell::default() })
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A program that this one started.
pub struct Child {
    ended: Rc<Pollable>, // before `raw`, to which it belongs: fields are dropped in this order
    raw: process::Child,
    answer: RefCell<Option<Result<String>>>,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> u64 {
        self.raw.pid()
    }

    /// Its result; waiting again gives it again.
    ///
    /// Errors: unavailable (it failed; the message says why), cancelled (it was killed), timed-out and limit-exceeded (it
    /// reached a limit), invalid (the result is something else).
    pub async fn wait<T: DeserializeOwned>(&self) -> Result<T> {
        while self.answer.borrow().is_none() {
            ready(&self.ended).await;
            if self.answer.borrow().is_none() {
                *self.answer.borrow_mut() = self.raw.get().map(|answer| answer.map_err(Error::from));
            }
        }
        let answer = self.answer.borrow();
        match answer.as_ref().expect("it has ended") {
            Ok(text) => serde_json::from_str(text).map_err(|e| self.other(&e)),
            Err(error) => Err(error.clone()),
        }
    }

    fn other(&self, error: &serde_json::Error) -> Error {
        Error::new(ErrorCode::Invalid, format!("child {} returned something else: {error}", self.pid()), "")
    }

    /// Send it a text, which it gets by `receive`; waits while it is far behind. Errors: not-found (it has ended).
    pub async fn send(&self, text: impl AsRef<str>) -> Result<()> {
        loop {
            match self.raw.send(text.as_ref()) {
                Err(error) if error.code == ErrorCode::Busy => ready(&Rc::new(self.raw.room())).await,
                answer => return answer.map_err(Error::from),
            }
        }
    }

    /// End it, and what it started; `wait` is `cancelled` then. Nothing happens if it has ended.
    pub fn kill(&self) {
        self.raw.kill();
    }

    /// Let it go on when this is dropped, and when this program ends. Its deadline stays.
    pub fn detach(&self) {
        self.raw.detach();
    }
}

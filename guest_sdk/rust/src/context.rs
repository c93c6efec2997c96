//! A KV file with the conveniences of a conversation: what most programs work with.
//!
//! Text and turns only collect in a buffer of tokens; the next awaited call computes them together with its own, in one
//! step. Here is the file; `turns` has the conversation, `predict` and `parts` single steps, `stream` generations.

use std::rc::Rc;

use crate::bindings::symphony::lip::{kvfs, process, types};
use crate::bindings::wasi::io::poll::Pollable;
use crate::chat::Conversation;
use crate::error::{Error, ErrorCode, Result};
use crate::fs::{Mode, Stat};
use crate::lock::{Lock, LockKind};
use crate::model::{Model, ModelInfo, Token};

pub use kvfs::{Advice, OpenFlags};

/// An open KV file and what waits to be computed into it. Dropping it closes the file; what was not saved is gone.
///
/// One operation runs on a context at a time; forks run at the same time.
pub struct Context {
    pub(crate) idle: Rc<Pollable>, // before `file`, to which it belongs: fields are dropped in this order
    pub(crate) file: kvfs::KvFile,
    pub(crate) model: Rc<Model>,
    pub(crate) buffer: Vec<Token>,
    pub(crate) chat: Conversation,
    pub(crate) failed: Option<Error>,
}

impl Context {
    /// A new, empty, unnamed file for the default model.
    pub fn new() -> Result<Self> {
        Self::on(&Model::open(None)?)
    }

    /// A new, empty, unnamed file for a model.
    pub fn on(model: &Rc<Model>) -> Result<Self> {
        Ok(Self::begin(model.clone(), kvfs::KvFile::create(&model.handle)?))
    }

    /// A private copy-on-write fork of a named file of the default model. At once, whatever its length. Errors: not-found.
    pub fn open(path: &str) -> Result<Self> {
        Self::open_on(&Model::open(None)?, path, OpenFlags::empty())
    }

    /// A named file: with `OpenFlags::WRITE` the file itself (and with `CREATE` a new one if there is none), else a fork.
    pub fn open_on(model: &Rc<Model>, path: &str, how: OpenFlags) -> Result<Self> {
        Ok(Self::begin(model.clone(), kvfs::KvFile::open(&model.handle, path, how)?))
    }

    /// Take over a context of the default model that the program which started this one passed under that name; once.
    /// Errors: not-found (the message lists the names), invalid (it is of another model).
    pub fn inherit(name: &str) -> Result<Self> {
        Self::inherit_on(&Model::open(None)?, name)
    }

    /// `inherit`, of another model.
    pub fn inherit_on(model: &Rc<Model>, name: &str) -> Result<Self> {
        Ok(Self::begin(model.clone(), process::inherit(&model.handle, name)?))
    }

    fn begin(model: Rc<Model>, file: kvfs::KvFile) -> Self {
        let idle = Rc::new(file.idle());
        Self { idle, file, model, buffer: Vec::new(), chat: Conversation::default(), failed: None }
    }

    /// A copy-on-write clone: shares everything computed so far, carries the buffer along, then goes its own way.
    pub fn fork(&self) -> Result<Self> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut fork = Self::begin(self.model.clone(), self.file.fork()?);
        fork.buffer.clone_from(&self.buffer);
        fork.chat = self.chat.clone();
        Ok(fork)
    }

    /// The description of the model.
    pub fn model(&self) -> &ModelInfo {
        &self.model.info
    }

    /// Tokens, buffered ones included.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&mut self) -> Result<u32> {
        self.check()?;
        self.settle(false)?;
        Ok(self.length())
    }

    pub(crate) fn length(&self) -> u32 {
        self.file.length() + self.buffer.len() as u32
    }

    /// The token ids of `[start, end)`, buffered ones included.
    pub fn tokens(&mut self, start: u32, end: u32) -> Result<Vec<Token>> {
        let length = self.len()?;
        if start > end || end > length {
            let message = format!("tokens({start}, {end}) is outside the context, which has {length} tokens");
            return Err(Error::new(ErrorCode::Invalid, message, ""));
        }
        self.range(start, end)
    }

    pub(crate) fn range(&self, start: u32, end: u32) -> Result<Vec<Token>> {
        let held = self.length() - self.buffer.len() as u32;
        let mut ids = Vec::new();
        if start < held {
            ids = self.file.tokens(types::Span { start, end: end.min(held) })?;
        }
        let buffered = start.saturating_sub(held) as usize..end.saturating_sub(held) as usize;
        ids.extend_from_slice(&self.buffer[buffered]);
        Ok(ids)
    }

    /// Keep the first `length` tokens, buffered ones included; any depth.
    pub fn truncate(&mut self, length: u32) -> Result<()> {
        let now = self.len()?;
        if length > now {
            let message = format!("truncate({length}): the context has {now} tokens");
            return Err(Error::new(ErrorCode::Invalid, message, ""));
        }
        self.cut(length)?;
        self.chat.cut(length);
        Ok(())
    }

    pub(crate) fn cut(&mut self, length: u32) -> Result<()> {
        let held = self.file.length();
        if length < held {
            self.file.truncate(length)?;
        }
        self.buffer.truncate(length.saturating_sub(held) as usize);
        Ok(())
    }

    /// A new context of these ranges of tokens, `[start, end)`, with the keys and values that they have.
    ///
    /// They were computed after everything before them, and still know of it: this is cheaper than computing the joined
    /// tokens, and not the same. Positions are kept, and must ascend; with `rebase` they count up from 0. What is buffered
    /// is computed first. Holds up the whole program until it is done. Errors: invalid, busy, no-space.
    pub async fn extract(&mut self, ranges: &[(u32, u32)], rebase: bool) -> Result<Self> {
        self.flush().await?;
        let ranges: Vec<types::Span> = ranges.iter().map(|&(start, end)| types::Span { start, end }).collect();
        let mut part = Self::begin(self.model.clone(), self.file.extract(&ranges, rebase)?);
        part.chat = self.chat.anew();
        Ok(part)
    }

    /// Append a range of another context, with the keys and values that it has there; positions count on from this
    /// context's end. Otherwise as `extract`; both are computed first.
    pub async fn append(&mut self, other: &mut Self, start: u32, end: u32) -> Result<()> {
        self.settle(true)?;
        self.flush().await?;
        other.flush().await?;
        Ok(self.file.append_from(&other.file, types::Span { start, end })?)
    }

    /// Keep the keys and values on the device until `unpin`, or until the context is dropped. Errors: limit-exceeded.
    pub fn pin(&self) -> Result<()> {
        Ok(self.file.pin()?)
    }

    /// Let the host move them again.
    pub fn unpin(&self) {
        self.file.unpin();
    }

    /// Say that the file is used soon, or not for a while: a hint.
    pub fn advise(&self, what: Advice) {
        self.file.advise(what);
    }

    /// Give a snapshot of the context a name. It outlives the process; this context stays private.
    /// Errors: exists (unless `overwrite`), invalid (bad path).
    pub async fn save(&mut self, path: &str, overwrite: bool) -> Result<()> {
        self.flush().await?;
        Ok(self.file.save(path, overwrite)?)
    }

    /// As `save`, and returns once the snapshot is on disk: it outlives the host too. Errors: no-space, unavailable (the
    /// host keeps nothing).
    pub async fn save_durably(&mut self, path: &str, overwrite: bool) -> Result<()> {
        self.save(path, overwrite).await?;
        crate::fs::sync(path).await
    }

    /// Make the context's own file, which has a name (by `link`, or opened with `WRITE`), outlive the host as it is now:
    /// tokens, keys and values. Errors: no-space, invalid (no name), busy, unavailable (the host keeps nothing).
    pub async fn sync(&mut self) -> Result<()> {
        self.flush().await?;
        crate::fs::synced(self.file.sync()?).await
    }

    /// Give the context's own file a name, or one more: whoever opens that with `WRITE` edits this very file.
    pub async fn link(&mut self, path: &str) -> Result<()> {
        self.flush().await?;
        Ok(self.file.link(path)?)
    }

    /// Say who may do what from now on.
    pub fn chmod(&self, mode: Mode) -> Result<()> {
        Ok(self.file.set_mode(mode)?)
    }

    /// Let the file's names go so many seconds after its last use; `None`: never.
    pub fn ttl(&self, seconds: Option<u32>) -> Result<()> {
        Ok(self.file.set_ttl(seconds)?)
    }

    /// Wait for an advisory lock on the file. Errors: busy, at once, where the wait could never end.
    pub async fn lock(&self, kind: LockKind) -> Result<Lock> {
        Ok(Lock::wait(self.file.lock(kind)?).await)
    }

    /// An advisory lock on the file, now. Errors: busy.
    pub fn try_lock(&self, kind: LockKind) -> Result<Lock> {
        Ok(Lock::new(self.file.try_lock(kind)?))
    }

    /// Length, pages, owner, mode and times of the file, without what is buffered.
    pub fn stat(&self) -> Stat {
        self.file.stat()
    }
}

//! A KV file with the conveniences of a conversation: what most programs work with.
//!
//! Text and turns only collect in a buffer of tokens; the next awaited call computes them together with its own, in one
//! step. This module knows the host's `kvfs` and `infer`, and leaves the bookkeeping of turns to `chat`.

use std::borrow::Cow;
use std::rc::Rc;

use crate::bindings::symphony::lip::{infer, kvfs, types};
use crate::bindings::wasi::io::poll::Pollable;
use crate::chat::Conversation;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::{alone, ready};
use crate::fs::{Mode, Stat};
use crate::lock::{Lock, LockKind};
use crate::model::{Model, ModelInfo, Token};
use crate::sampling::{Distribution, Draft, Readings, Sampling};
use crate::stream::{Completion, Stream};

pub use kvfs::{Advice, OpenFlags};

/// What can be fed: text, a token id, token ids, or nothing, `()`.
pub enum Input<'a> {
    /// Ordinary text: special tokens written out in it are text too.
    Text(Cow<'a, str>),
    /// Token ids.
    Tokens(Cow<'a, [Token]>),
}

/// An open KV file and what waits to be computed into it. Dropping it closes the file; what was not saved is gone.
///
/// One operation runs on a context at a time; forks run at the same time.
pub struct Context {
    idle: Rc<Pollable>, // before `file`, to which it belongs: fields are dropped in this order
    pub(crate) file: kvfs::KvFile,
    model: Rc<Model>,
    pub(crate) buffer: Vec<Token>,
    chat: Conversation,
    failed: Option<Error>,
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

    // ---- text. These return the context, so that calls chain; what fails in them is reported by the next call that can.

    /// Add a system turn, in the words of the model's chat template.
    pub fn system(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.attempt(|ctx| ctx.say("system", text.as_ref()))
    }

    /// Add a user turn.
    pub fn user(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.attempt(|ctx| ctx.say("user", text.as_ref()))
    }

    /// Add an assistant turn that the program made up.
    pub fn assistant(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.attempt(|ctx| ctx.say("assistant", text.as_ref()))
    }

    /// Add raw text or token ids. After turns: the beginning of the assistant's reply.
    pub fn feed<'a>(&mut self, input: impl Into<Input<'a>>) -> &mut Self {
        self.attempt(|ctx| {
            ctx.settle(true)?;
            let tokens = ctx.tokens_of(input.into())?;
            ctx.buffer.extend(tokens);
            Ok(())
        })
    }

    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> Result<()>) -> &mut Self {
        if self.failed.is_none() {
            self.failed = action(self).err();
        }
        self
    }

    /// Report what failed in a chained call, once.
    fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn say(&mut self, role: &str, text: &str) -> Result<()> {
        if let Some(start) = self.chat.reply {
            self.close_reply(start)?;
        }
        if !self.chat.begun() {
            let length = self.length();
            let opening = if length > 0 && role != "system" { self.opening()? } else { None };
            self.chat.begin(length, opening);
        }
        self.chat.say(role, text);
        Ok(())
    }

    fn close_reply(&mut self, start: u32) -> Result<()> {
        let tokens = self.range(start, self.length())?;
        let content = match tokens.split_last() {
            Some((last, before)) if self.model.info.stop_tokens.contains(last) => before,
            _ => &tokens[..],
        };
        let content = self.model.decode(content)?;
        self.chat.close_reply(&self.model.decode(&tokens)?, content);
        Ok(())
    }

    /// What the template puts before the first turn, to be skipped when the file holds something already.
    fn opening(&self) -> Result<Option<String>> {
        match self.model.render_chat(r#"{"messages": [{"role": "system", "content": ""}]}"#) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.code == ErrorCode::Invalid => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Turn what was said into buffered tokens; with `reply`, open the assistant's reply if turns came last.
    fn settle(&mut self, reply: bool) -> Result<()> {
        if self.chat.unfed {
            self.step(false)?;
        }
        if reply && self.chat.begun() && self.chat.reply.is_none() {
            self.step(true)?;
        }
        Ok(())
    }

    fn step(&mut self, reply: bool) -> Result<()> {
        let length = self.length();
        let step = self.chat.step(|conversation| self.model.render_chat(conversation), length, reply)?;
        let tokens = if step.text.is_empty() { Vec::new() } else { self.model.encode(&step.text, true)? };
        if step.length < length {
            self.cut(step.length)?;
        }
        let now = step.length + tokens.len() as u32;
        self.buffer.extend(tokens);
        self.chat.fed(now, reply);
        Ok(())
    }

    fn tokens_of(&self, input: Input<'_>) -> Result<Vec<Token>> {
        match input {
            Input::Text(text) => self.model.encode(&text, false),
            Input::Tokens(tokens) => Ok(tokens.into_owned()),
        }
    }

    // ---- the file

    /// Tokens, buffered ones included.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&mut self) -> Result<u32> {
        self.check()?;
        self.settle(false)?;
        Ok(self.length())
    }

    fn length(&self) -> u32 {
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

    fn range(&self, start: u32, end: u32) -> Result<Vec<Token>> {
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

    fn cut(&mut self, length: u32) -> Result<()> {
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
        Ok(Self::begin(self.model.clone(), self.file.extract(&ranges, rebase)?))
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

    // ---- the model

    /// Compute what is buffered.
    pub async fn flush(&mut self) -> Result<()> {
        self.check()?;
        self.settle(false)?;
        if !self.buffer.is_empty() {
            self.predict(&[], infer::Outputs::None, &Readings::default().record()).await?;
        }
        Ok(())
    }

    /// Append `tokens` and run the model over them: the distribution of the token that follows.
    ///
    /// With `()` for tokens: over what is buffered, or once more about the last token. What is drawn is not appended.
    pub async fn pred<'a>(&mut self, tokens: impl Into<Input<'a>>, readings: Readings) -> Result<Distribution> {
        let tokens = self.prepare(tokens.into())?;
        let mut answer = self.predict(&tokens, infer::Outputs::Last, &readings.record()).await?;
        let raw = answer.pop().ok_or_else(|| Error::new(ErrorCode::Internal, "the host gave no distribution", ""))?;
        Ok(Distribution::new(raw, &readings.logprobs))
    }

    /// Append `tokens`: the distribution after each of them.
    pub async fn pred_every<'a>(
        &mut self,
        tokens: impl Into<Input<'a>>,
        readings: Readings,
    ) -> Result<Vec<Distribution>> {
        let tokens = self.prepare(tokens.into())?;
        let first = self.buffer.len() as u32;
        let wanted = (first..first + tokens.len() as u32).collect();
        let answer = self.predict(&tokens, infer::Outputs::At(wanted), &readings.record()).await?;
        Ok(answer.into_iter().map(|raw| Distribution::new(raw, &readings.logprobs)).collect())
    }

    pub(crate) fn prepare(&mut self, input: Input<'_>) -> Result<Vec<Token>> {
        self.check()?;
        self.settle(true)?;
        self.tokens_of(input)
    }

    /// Run the model over the buffer and `tokens`. If it fails, the buffer stays as it was.
    async fn predict(
        &mut self,
        tokens: &[Token],
        outputs: infer::Outputs,
        readings: &infer::Readings<'_>,
    ) -> Result<Vec<infer::Distribution>> {
        let all =
            if self.buffer.is_empty() { Cow::Borrowed(tokens) } else { Cow::Owned([&self.buffer, tokens].concat()) };
        let answer = if alone().await {
            infer::predict(&self.file, &all, &outputs, readings)?
        } else {
            let prediction = infer::pred(&self.file, &all, &outputs, readings)?;
            loop {
                ready(&self.idle).await;
                if let Some(answer) = prediction.get() {
                    break answer?;
                }
            }
        };
        self.buffer.clear();
        Ok(answer)
    }

    /// Let the model write until something stops it.
    pub async fn generate(&mut self, sampling: Sampling) -> Result<Completion> {
        let mut stream = self.stream(Sampling { chunk_tokens: 256, chunk_ms: 0, ..sampling })?;
        let mut completion = Completion::new();
        while let Some(chunk) = stream.next().await? {
            completion.add(chunk);
        }
        Ok(completion)
    }

    /// `generate`, with a context of a smaller model with the same vocabulary that guesses what comes (`sampling.draft`:
    /// how much). It is brought in line with the text first, and ends up with what the two have in common.
    pub async fn generate_with(&mut self, sampling: Sampling, writer: &mut Self) -> Result<Completion> {
        let draft = Some(sampling.draft.unwrap_or(Draft { tokens: 5, ..Draft::default() }));
        let sampling = Sampling { draft, chunk_tokens: 256, chunk_ms: 0, ..sampling };
        (writer.buffer, writer.chat) = (Vec::new(), Conversation::default());
        let mut stream = self.start(&sampling, Some(&writer.file))?;
        let mut completion = Completion::new();
        while let Some(chunk) = stream.next().await? {
            completion.add(chunk);
        }
        Ok(completion)
    }

    /// `generate`, piece by piece.
    pub fn stream(&mut self, sampling: Sampling) -> Result<Stream<'_>> {
        self.start(&sampling, None)
    }

    fn start(&mut self, sampling: &Sampling, writer: Option<&kvfs::KvFile>) -> Result<Stream<'_>> {
        self.check()?;
        self.settle(true)?;
        let held = if self.buffer.is_empty() { 0 } else { self.file.length() };
        let options = sampling.options(&self.model.info, writer);
        let generation = infer::generate(&self.file, &self.buffer, &options)?;
        let fed = std::mem::take(&mut self.buffer);
        Ok(Stream::new(self, generation, fed, held))
    }

    /// A generation ended early: keep what it did not compute of what was fed with it.
    pub(crate) fn give_back(&mut self, mut fed: Vec<Token>, held: u32) {
        let computed = self.file.length().saturating_sub(held) as usize;
        if computed < fed.len() {
            fed.drain(..computed);
            fed.append(&mut self.buffer);
            self.buffer = fed;
        }
    }
}

impl From<()> for Input<'_> {
    fn from((): ()) -> Self {
        Input::Tokens(Cow::Borrowed(&[]))
    }
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(text: &'a str) -> Self {
        Input::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Input<'a> {
    fn from(text: &'a String) -> Self {
        Input::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Input<'_> {
    fn from(text: String) -> Self {
        Input::Text(Cow::Owned(text))
    }
}

impl From<Token> for Input<'_> {
    fn from(token: Token) -> Self {
        Input::Tokens(Cow::Owned(vec![token]))
    }
}

impl<'a> From<&'a [Token]> for Input<'a> {
    fn from(tokens: &'a [Token]) -> Self {
        Input::Tokens(Cow::Borrowed(tokens))
    }
}

impl<'a> From<&'a Vec<Token>> for Input<'a> {
    fn from(tokens: &'a Vec<Token>) -> Self {
        Input::Tokens(Cow::Borrowed(tokens))
    }
}

impl From<Vec<Token>> for Input<'_> {
    fn from(tokens: Vec<Token>) -> Self {
        Input::Tokens(Cow::Owned(tokens))
    }
}

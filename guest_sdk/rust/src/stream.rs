//! A generation in flight, chunk by chunk, and what it has become.

use std::fmt;
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::bindings::symphony::lip::{infer, kvfs, types};
use crate::bindings::wasi::io::poll::Pollable;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;
use crate::model::Token;
use crate::sampling::{Draft, Sampling};

pub use infer::{Chunk, FinishReason};

/// Token ids with their log-probabilities, descending, in two lists of equal length.
pub use types::Ranked;

/// What was generated.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Without stop token and stop string.
    pub text: String,
    /// Exactly what the context now holds more.
    pub tokens: Vec<Token>,
    /// What ended it; `Cancelled` as long as nothing has.
    pub finish_reason: FinishReason,
    /// Of each token, where asked for; else empty.
    pub logprobs: Vec<f32>,
    /// The most probable tokens at each step, where asked for; else empty.
    pub alternatives: Vec<Ranked>,
}

impl Completion {
    /// The text as a JSON value, such as a generation under `Constraint::json_schema` writes. Errors: invalid, for example
    /// because `max_tokens` cut it off.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text).map_err(|error| {
            let cut = matches!(self.finish_reason, FinishReason::Length);
            let hint = if cut { "give it more max_tokens" } else { "generate with Constraint::json_schema" };
            Error::new(ErrorCode::Invalid, format!("the text is not the JSON that was expected: {error}"), hint)
        })
    }

    fn new() -> Self {
        Self {
            text: String::new(),
            tokens: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            logprobs: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    fn add(&mut self, chunk: &Chunk) {
        self.text += &chunk.text;
        self.tokens.extend(&chunk.tokens);
        self.logprobs.extend(&chunk.logprobs);
        self.alternatives.extend_from_slice(&chunk.alternatives);
        if let Some(reason) = chunk.finish {
            self.finish_reason = reason;
        }
    }
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// As in `wit/infer.wit`: `stop-token`, `length`.
impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StopToken(_) => "stop-token",
            Self::StopString(_) => "stop-string",
            Self::Length => "length",
            Self::ContextLimit => "context-limit",
            Self::Constraint => "constraint",
            Self::Cancelled => "cancelled",
        })
    }
}

impl Context {
    /// Let the model write until something stops it.
    pub async fn generate(&mut self, sampling: Sampling) -> Result<Completion> {
        self.stream(Sampling { chunk_tokens: 256, chunk_ms: 0, ..sampling })?.completion().await
    }

    /// `generate`, with a context of a smaller model with the same vocabulary that guesses what comes (`sampling.draft`:
    /// how much). It is brought in line with the text first, and ends up with what the two have in common.
    pub async fn generate_with(&mut self, sampling: Sampling, writer: &mut Self) -> Result<Completion> {
        self.stream_with(Sampling { chunk_tokens: 256, chunk_ms: 0, ..sampling }, writer)?.completion().await
    }

    /// `generate`, piece by piece.
    pub fn stream(&mut self, sampling: Sampling) -> Result<Stream<'_>> {
        self.start(&sampling, None)
    }

    /// `generate_with`, piece by piece.
    pub fn stream_with(&mut self, sampling: Sampling, writer: &mut Self) -> Result<Stream<'_>> {
        let draft = Some(sampling.draft.unwrap_or(Draft { tokens: 5, ..Draft::default() }));
        (writer.buffer, writer.chat) = (Vec::new(), writer.chat.anew());
        self.start(&Sampling { draft, ..sampling }, Some(&writer.file))
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
    fn give_back(&mut self, mut fed: Vec<Token>, held: u32) {
        let computed = self.file.length().saturating_sub(held) as usize;
        if computed < fed.len() {
            fed.drain(..computed);
            fed.append(&mut self.buffer);
            self.buffer = fed;
        }
    }
}

/// A generation in flight: `while let Some(chunk) = stream.next().await? { emit(&chunk.text)?; }`. Dropping it stops the
/// model; the context then holds what was delivered.
pub struct Stream<'a> {
    context: &'a mut Context,
    /// None once it ended. The pollable goes first: it belongs to the generation.
    running: Option<(Rc<Pollable>, infer::Generation)>,
    /// What was fed with the generation, and the file's length before: for what it did not compute.
    fed: Vec<Token>,
    held: u32,
    finished: bool,
    completion: Completion,
}

impl<'a> Stream<'a> {
    fn new(context: &'a mut Context, generation: infer::Generation, fed: Vec<Token>, held: u32) -> Self {
        let pollable = Rc::new(generation.subscribe());
        let running = Some((pollable, generation));
        Self { context, running, fed, held, finished: false, completion: Completion::new() }
    }

    /// The next piece; none after the last one, whose `finish` is set. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        let Some((pollable, generation)) = &self.running else {
            return Ok(None);
        };
        let answer = loop {
            ready(pollable).await;
            if let Some(answer) = generation.next() {
                break answer;
            }
        };
        if !matches!(&answer, Ok(chunk) if chunk.finish.is_none()) {
            self.finished = answer.is_ok();
            self.running = None;
        }
        let chunk = answer?;
        self.completion.add(&chunk);
        Ok(Some(chunk))
    }

    /// What came so far.
    pub fn text(&self) -> &str {
        &self.completion.text
    }

    /// All of it, once it has ended.
    pub async fn completion(mut self) -> Result<Completion> {
        while self.next().await?.is_some() {}
        Ok(std::mem::replace(&mut self.completion, Completion::new()))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.running = None;
        if !self.finished {
            self.context.give_back(std::mem::take(&mut self.fed), self.held);
        }
    }
}

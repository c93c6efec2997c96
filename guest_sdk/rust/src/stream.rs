//! A generation in flight, chunk by chunk, and what it has become.

use std::rc::Rc;

use crate::bindings::symphony::lip::{infer, types};
use crate::bindings::wasi::io::poll::Pollable;
use crate::context::Context;
use crate::error::Result;
use crate::executor::ready;
use crate::model::Token;

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
    /// What ended it.
    pub finish_reason: FinishReason,
    /// Of each token, where asked for; else empty.
    pub logprobs: Vec<f32>,
    /// The most probable tokens at each step, where asked for; else empty.
    pub alternatives: Vec<Ranked>,
}

impl Completion {
    pub(crate) fn new() -> Self {
        Self {
            text: String::new(),
            tokens: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            logprobs: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, chunk: Chunk) {
        self.text += &chunk.text;
        self.tokens.extend(chunk.tokens);
        self.logprobs.extend(chunk.logprobs);
        self.alternatives.extend(chunk.alternatives);
        if let Some(reason) = chunk.finish {
            self.finish_reason = reason;
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
}

impl<'a> Stream<'a> {
    pub(crate) fn new(context: &'a mut Context, generation: infer::Generation, fed: Vec<Token>, held: u32) -> Self {
        let pollable = Rc::new(generation.subscribe());
        Self { context, running: Some((pollable, generation)), fed, held, finished: false }
    }

    /// The next piece; none after the last one, whose `finish` is set.
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
        match answer {
            Ok(chunk) => {
                if chunk.finish.is_some() {
                    self.finished = true;
                    self.running = None;
                }
                Ok(Some(chunk))
            }
            Err(error) => {
                self.running = None;
                Err(error.into())
            }
        }
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

//! One choice of an answer: a generation, told as it comes as text, calls and log-probabilities.

use std::rc::Rc;

use lip::{Chunk, Context, Model, Result, Sampling, Token, Value};

use crate::calls::{Call, CallReader};
use crate::fields::Refused;
use crate::logprobs::{Entry, Logprobs};
use crate::wire::{finish, Wire};

/// A client that streams hears of so many tokens at once, or of fewer every so many milliseconds.
const STREAM_TOKENS: u32 = 16;
const STREAM_MS: u32 = 20;

/// Writes one reply. With a reader, calls are told from text, and its token is what announces them.
pub struct Choice<'a> {
    wire: &'a Wire,
    index: usize,
    model: Rc<Model>,
    reader: Option<(CallReader, Option<Token>)>,
    logprobs: Option<Logprobs>,
    entries: Vec<Entry>,
    echoed: usize,
    length: usize,
    text: String,
    calls: Vec<Call>,
    tokens: usize,
}

impl<'a> Choice<'a> {
    pub fn new(
        wire: &'a Wire,
        index: usize,
        model: Rc<Model>,
        reader: Option<(CallReader, Option<Token>)>,
        logprobs: Option<Logprobs>,
    ) -> Self {
        let (entries, calls, text) = (Vec::new(), Vec::new(), String::new());
        Self { wire, index, model, reader, logprobs, entries, echoed: 0, length: 0, text, calls, tokens: 0 }
    }

    /// Generate to the end; the choice as a whole answer has it, and how many tokens it took.
    pub async fn write(
        mut self,
        mut context: Context,
        sampling: Sampling,
        echoed: String,
    ) -> Result<(Value, usize), Refused> {
        let (chunk_tokens, chunk_ms) = if self.wire.stream { (STREAM_TOKENS, STREAM_MS) } else { (256, 0) };
        self.echoed = echoed.chars().count();
        self.tell(&echoed)?;
        let mut reason = "length";
        let mut stream = context.stream(Sampling { chunk_tokens, chunk_ms, ..sampling })?;
        while let Some(chunk) = stream.next().await? {
            self.take(&chunk)?;
            reason = chunk.finish.map_or(reason, finish);
        }
        if let Some((reader, _)) = &mut self.reader {
            let rest = reader.end();
            self.tell(&rest)?;
        }
        if !self.calls.is_empty() {
            reason = "tool_calls";
        }
        self.wire.end(self.index, reason)?;
        let shown = self.shown(&self.entries)?;
        Ok((self.wire.choice(self.index, self.text, &self.calls, shown, reason), self.tokens))
    }

    fn take(&mut self, chunk: &Chunk) -> Result<()> {
        self.tokens += chunk.tokens.len();
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.push(&chunk.tokens, &chunk.logprobs, &chunk.alternatives)?;
        }
        let Some((reader, marker)) = &mut self.reader else {
            return self.tell(&chunk.text);
        };
        let (text, calls) = reader.push(&spelt(&self.model, chunk, *marker)?);
        self.tell(&text)?;
        self.wire.calls(self.index, self.calls.len(), &calls)?;
        self.calls.extend(calls);
        Ok(())
    }

    fn tell(&mut self, text: &str) -> Result<()> {
        self.length += text.chars().count();
        self.text += text;
        let told = self.length.saturating_sub(self.echoed);
        let entries = self.logprobs.as_mut().map_or(Vec::new(), |logprobs| logprobs.take(told));
        if self.wire.stream {
            let shown = if entries.is_empty() { Value::Null } else { self.shown(&entries)? };
            self.wire.text(self.index, text, shown)?;
        }
        self.entries.extend(entries);
        Ok(())
    }

    fn shown(&self, entries: &[Entry]) -> Result<Value> {
        match &self.logprobs {
            None => Ok(Value::Null),
            Some(logprobs) if self.wire.chat => logprobs.chat(entries),
            Some(logprobs) => logprobs.completions(entries, self.echoed),
        }
    }
}

/// The chunk's text; where a special token announces calls, which is no text, it is written out.
fn spelt(model: &Model, chunk: &Chunk, marker: Option<Token>) -> Result<String> {
    let Some((marker, at)) = marker.and_then(|m| Some((m, chunk.tokens.iter().position(|token| *token == m)?))) else {
        return Ok(chunk.text.clone());
    };
    let stops = &model.info.stop_tokens;
    let behind: Vec<Token> = chunk.tokens[at + 1..].iter().copied().filter(|token| !stops.contains(token)).collect();
    let after = model.decode(&behind)?;
    let head = chunk.text.strip_suffix(&after).unwrap_or(&chunk.text);
    Ok(format!("{head}{}{}", model.decode(&[marker])?, &chunk.text[head.len()..]))
}

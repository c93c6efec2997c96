//! Log-probabilities beside the text: of a token when its text is out, and never of what a stop string cut off.

use std::collections::VecDeque;
use std::rc::Rc;

use lip::{json, Model, Ranked, Result, Token, Value};
use serde_json::Map;

/// OpenAI's word for impossible: JSON has no infinity.
const LEAST: f32 = -9999.0;
/// A character has at most so many tokens.
const MAX_SPLIT: usize = 4;

pub struct Entry {
    token: Token,
    logprob: f32,
    alternatives: Ranked,
    /// Of its text, in characters from the beginning of the reply.
    offset: usize,
}

/// Of one reply. A token that completes no character goes with the one that does.
pub struct Logprobs {
    model: Rc<Model>,
    waiting: VecDeque<Entry>,
    /// Tokens of a character that is not complete.
    pending: Vec<Token>,
    length: usize,
}

impl Logprobs {
    pub fn new(model: Rc<Model>) -> Self {
        Self { model, waiting: VecDeque::new(), pending: Vec::new(), length: 0 }
    }

    pub fn push(&mut self, tokens: &[Token], logprobs: &[f32], alternatives: &[Ranked]) -> Result<()> {
        for (index, (&token, &logprob)) in tokens.iter().zip(logprobs).enumerate() {
            let none = || Ranked { ids: Vec::new(), values: Vec::new() };
            let alternatives = alternatives.get(index).cloned().unwrap_or_else(none);
            self.waiting.push_back(Entry { token, logprob, alternatives, offset: self.length });
            self.pending.push(token);
            let text = self.model.decode(&self.pending)?;
            if !text.ends_with(char::REPLACEMENT_CHARACTER) || self.pending.len() == MAX_SPLIT {
                self.length += text.chars().count();
                self.pending.clear();
            }
        }
        Ok(())
    }

    /// Those that began in the first `length` characters, once each.
    pub fn take(&mut self, length: usize) -> Vec<Entry> {
        let ready = self.waiting.iter().take_while(|entry| entry.offset < length).count();
        self.waiting.drain(..ready).collect()
    }

    /// As chat completions have them.
    pub fn chat(&self, entries: &[Entry]) -> Result<Value> {
        let shown = |entry: &Entry| {
            let others = entry.alternatives.ids.iter().zip(&entry.alternatives.values);
            let mut shown = self.one(entry.token, entry.logprob)?;
            shown["top_logprobs"] = others.map(|(&id, &value)| self.one(id, value)).collect::<Result<_>>()?;
            Ok(shown)
        };
        let content: Vec<Value> = entries.iter().map(shown).collect::<Result<_>>()?;
        Ok(json!({"content": content, "refusal": null}))
    }

    /// As completions have them.
    pub fn completions(&self, entries: &[Entry], echoed: usize) -> Result<Value> {
        let text = |entry: &Entry| self.model.decode(&[entry.token]);
        let top = |entry: &Entry| {
            let others = entry.alternatives.ids.iter().zip(&entry.alternatives.values);
            others.map(|(&id, &value)| Ok((self.model.decode(&[id])?, finite(value)))).collect::<Result<Map<_, _>>>()
        };
        Ok(json!({
            "tokens": entries.iter().map(text).collect::<Result<Vec<_>>>()?,
            "token_logprobs": entries.iter().map(|entry| finite(entry.logprob)).collect::<Vec<_>>(),
            "top_logprobs": entries.iter().map(top).collect::<Result<Vec<_>>>()?,
            "text_offset": entries.iter().map(|entry| echoed + entry.offset).collect::<Vec<_>>(),
        }))
    }

    fn one(&self, token: Token, logprob: f32) -> Result<Value> {
        let text = self.model.decode(&[token])?;
        let whole = (!text.contains(char::REPLACEMENT_CHARACTER)).then(|| text.as_bytes().to_vec());
        Ok(json!({"token": text, "logprob": finite(logprob), "bytes": whole}))
    }
}

fn finite(value: f32) -> Value {
    json!(if value.is_finite() { value } else { LEAST })
}

//! The conversation in a context: turns in the words of the model's chat template, and raw text.
//!
//! These calls return the context, so that they chain; what fails in them is reported by the next call that can.

use serde::Serialize;

use crate::context::Context;
use crate::error::{ErrorCode, Result};
use crate::input::Input;
use crate::model::Token;

impl Context {
    /// Add a system turn, in the words of the model's chat template.
    pub fn system(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.message("system", text)
    }

    /// Add a user turn.
    pub fn user(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.message("user", text)
    }

    /// Add an assistant turn that the program made up.
    pub fn assistant(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.message("assistant", text)
    }

    /// Add a turn of any role that the template knows, such as `tool`.
    pub fn message(&mut self, role: &str, text: impl AsRef<str>) -> &mut Self {
        self.message_with(role, text, ())
    }

    /// The same with further fields, a struct or a map: `json!({"tool_calls": [..]})`.
    pub fn message_with(&mut self, role: &str, text: impl AsRef<str>, fields: impl Serialize) -> &mut Self {
        self.attempt(|ctx| ctx.say(role, text.as_ref(), &fields))
    }

    /// Set a further variable of the chat template, such as `tools`, for all that is rendered from now on: before the
    /// first turn, as a rule.
    pub fn template(&mut self, variable: &str, value: impl Serialize) -> &mut Self {
        self.attempt(|ctx| ctx.chat.set(variable, &value))
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

    /// `feed` of a text in which special tokens are written out (`<|im_end|>`): they become their ids.
    pub fn feed_special(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.attempt(|ctx| {
            ctx.settle(true)?;
            let tokens = ctx.model.encode(text.as_ref(), true)?;
            ctx.buffer.extend(tokens);
            Ok(())
        })
    }

    /// Open the assistant's reply now, so that `len` and `fork` see it; predicting does it by itself.
    pub fn assistant_start(&mut self) -> &mut Self {
        self.attempt(|ctx| ctx.settle(true))
    }

    fn attempt(&mut self, action: impl FnOnce(&mut Self) -> Result<()>) -> &mut Self {
        if self.failed.is_none() {
            self.failed = action(self).err();
        }
        self
    }

    /// Report what failed in a chained call, once.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn say(&mut self, role: &str, text: &str, fields: &impl Serialize) -> Result<()> {
        if let Some(start) = self.chat.reply {
            self.close_reply(start)?;
        }
        if !self.chat.begun() {
            let length = self.length();
            let opening = if length > 0 && role != "system" { self.opening()? } else { None };
            self.chat.begin(length, opening)?;
        }
        self.chat.say(role, text, fields)
    }

    fn close_reply(&mut self, start: u32) -> Result<()> {
        let tokens = self.range(start, self.length())?;
        let content = match tokens.split_last() {
            Some((last, before)) if self.model.info.stop_tokens.contains(last) => before,
            _ => &tokens[..],
        };
        let content = self.model.decode(content)?;
        self.chat.close_reply(&self.model.decode(&tokens)?, &content)
    }

    /// What the template puts before the first turn, to be skipped when the file holds something already.
    fn opening(&self) -> Result<Option<String>> {
        match self.model.render_chat(&self.chat.opening()?) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.code == ErrorCode::Invalid => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Turn what was said into buffered tokens; with `reply`, open the assistant's reply if turns came last.
    pub(crate) fn settle(&mut self, reply: bool) -> Result<()> {
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

    pub(crate) fn tokens_of(&self, input: Input<'_>) -> Result<Vec<Token>> {
        match input {
            Input::Text(text) => self.model.encode(&text, false),
            Input::Tokens(tokens) => Ok(tokens.into_owned()),
        }
    }
}

//! A conversation inside a KV file: which of the template's text the file holds, and what is to be fed next.
//!
//! The template always renders the whole conversation; what the file holds already is skipped, and where the template
//! changed its mind about earlier turns, the file is cut back to the last place where both agree. Places are known by
//! marks, set wherever text was fed. What the program generates or feeds after its turns is the assistant's reply; the
//! next turn closes it. The Python SDK does the same (`guest_sdk/python/lip/_chat.py`).
//!
//! Pure bookkeeping: it knows neither the host nor tokens, only lengths in tokens and text.

use serde::Serialize;

use crate::error::{Error, ErrorCode, Result};

#[derive(Serialize)]
struct Turn<'a> {
    role: &'a str,
    content: &'a str,
}

/// The first `length` tokens of the file are the first `text` bytes of the rendered `messages` messages.
#[derive(Clone, Copy)]
struct Mark {
    length: u32,
    text: usize,
    messages: usize,
}

/// What to do to the file: cut it to `length` tokens, then append `text`.
pub(crate) struct Step {
    pub length: u32,
    pub text: String,
}

/// Turns said so far, and how much of them is in the file.
#[derive(Clone, Default)]
pub(crate) struct Conversation {
    /// Further variables of the template, each `"name":value,`.
    template: String,
    /// JSON objects.
    messages: Vec<String>,
    text: String,
    marks: Vec<Mark>,
    /// The length at which the open reply began.
    pub reply: Option<u32>,
    /// Turns were said since the last step.
    pub unfed: bool,
}

impl Conversation {
    /// Whether a conversation has begun in the file.
    pub fn begun(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Set a variable of the template; the last value of a name counts.
    pub fn set(&mut self, variable: &str, value: &impl Serialize) -> Result<()> {
        self.template += &format!("{}:{},", serde_json::to_string(variable)?, serde_json::to_string(value)?);
        Ok(())
    }

    /// A new one in the words of the same template.
    pub fn anew(&self) -> Self {
        Self { template: self.template.clone(), ..Self::default() }
    }

    /// Add a turn, with the fields of a JSON object or of nothing, `()`; it is fed by the next `step`.
    pub fn say(&mut self, role: &str, content: &str, fields: &impl Serialize) -> Result<()> {
        let mut message = turn(role, content)?;
        match serde_json::to_string(fields)?.as_str() {
            "null" | "{}" => {}
            more if more.starts_with('{') => message.replace_range(message.len() - 1.., &format!(",{}", &more[1..])),
            more => {
                return Err(Error::new(ErrorCode::Invalid, format!("the fields of a turn are {more}"), "give a map"))
            }
        }
        self.messages.push(message);
        self.unfed = true;
        Ok(())
    }

    /// Start in a file that holds `length` tokens; `opening` is what the template renders before the first turn and the
    /// file does not need (its default system prompt, when the conversation goes on from a saved file).
    pub fn begin(&mut self, length: u32, opening: Option<String>) -> Result<()> {
        self.marks = vec![Mark { length, text: 0, messages: 0 }];
        if let Some(opening) = opening {
            self.messages = vec![turn("system", "")?];
            self.marks.push(Mark { length, text: opening.len(), messages: 1 });
            self.text = opening;
        }
        Ok(())
    }

    /// The conversation whose rendering is `begin`'s opening.
    pub fn opening(&self) -> Result<String> {
        Ok(format!("{{{}\"messages\":[{}]}}", self.template, turn("system", "")?))
    }

    /// What feeds the turns, and with `reply` the template's opening of the assistant's reply.
    ///
    /// `length` is the file's, in tokens. Call `fed` once the step was taken.
    pub fn step(&mut self, render: impl Fn(&str) -> Result<String>, length: u32, reply: bool) -> Result<Step> {
        let (template, messages) = (&self.template, self.messages.join(","));
        let rendered = render(&format!("{{{template}\"messages\":[{messages}],\"add_generation_prompt\":{reply}}}"))?;
        let (length, held) =
            if rendered.starts_with(&self.text) { (length, self.text.len()) } else { self.agree(&rendered) };
        let text = rendered[held..].to_owned();
        self.text = rendered;
        Ok(Step { length, text })
    }

    /// Go back to the last mark at which the file's text and the newly rendered one are the same.
    fn agree(&mut self, rendered: &str) -> (u32, usize) {
        while self.marks.len() > 1
            && self.marks.last().is_some_and(|mark| !rendered.starts_with(&self.text[..mark.text]))
        {
            self.marks.pop();
        }
        self.marks.last().map_or((0, 0), |mark| (mark.length, mark.text))
    }

    /// The step was taken; the file now holds `length` tokens.
    pub fn fed(&mut self, length: u32, reply: bool) {
        self.unfed = false;
        self.reply = reply.then_some(length);
        self.marks.push(Mark { length, text: self.text.len(), messages: self.messages.len() });
    }

    /// The reply is complete: `text` as the file holds it, `content` without the stop token.
    pub fn close_reply(&mut self, text: &str, content: &str) -> Result<()> {
        self.reply = None;
        if !text.is_empty() {
            self.text.push_str(text);
            self.messages.push(turn("assistant", content)?);
        }
        Ok(())
    }

    /// The file was truncated. In the middle of a turn there is no conversation left to go on with: the next turn starts
    /// a new one.
    pub fn cut(&mut self, length: u32) {
        if self.reply.is_some_and(|start| length >= start) {
            return;
        }
        self.marks.retain(|mark| mark.length <= length);
        self.reply = None;
        match self.marks.last() {
            Some(mark) if mark.length == length => {
                self.messages.truncate(mark.messages);
                self.text.truncate(mark.text);
            }
            _ => *self = self.anew(),
        }
    }
}

fn turn(role: &str, content: &str) -> Result<String> {
    Ok(serde_json::to_string(&Turn { role, content })?)
}

//! A conversation inside a KV file: which of the template's text the file holds, and what is to be fed next.
//!
//! The template always renders the whole conversation; what the file holds already is skipped, and where the template
//! changed its mind about earlier turns, the file is cut back to the last place where both agree. Places are known by
//! marks, set wherever text was fed. What the program generates or feeds after its turns is the assistant's reply; the
//! next turn closes it. The Python SDK does the same (`guest_sdk/python/lip/_chat.py`).
//!
//! Pure bookkeeping: it knows neither the host nor tokens, only lengths in tokens and text.

use serde::Serialize;

use crate::error::Result;

#[derive(Clone, Serialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Serialize)]
struct Rendering<'a> {
    messages: &'a [Message],
    add_generation_prompt: bool,
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
    messages: Vec<Message>,
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

    /// Add a turn; it is fed by the next `step`.
    pub fn say(&mut self, role: &str, content: &str) {
        self.messages.push(Message { role: role.into(), content: content.into() });
        self.unfed = true;
    }

    /// Start in a file that holds `length` tokens; `opening` is what the template renders before the first turn and the
    /// file does not need (its default system prompt, when the conversation goes on from a saved file).
    pub fn begin(&mut self, length: u32, opening: Option<String>) {
        self.marks = vec![Mark { length, text: 0, messages: 0 }];
        if let Some(opening) = opening {
            self.messages = vec![Message { role: "system".into(), content: String::new() }];
            self.marks.push(Mark { length, text: opening.len(), messages: 1 });
            self.text = opening;
        }
    }

    /// What feeds the turns, and with `reply` the template's opening of the assistant's reply.
    ///
    /// `length` is the file's, in tokens. Call `fed` once the step was taken.
    pub fn step(&mut self, render: impl Fn(&str) -> Result<String>, length: u32, reply: bool) -> Result<Step> {
        let conversation = Rendering { messages: &self.messages, add_generation_prompt: reply };
        let rendered = render(&serde_json::to_string(&conversation)?)?;
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
    pub fn close_reply(&mut self, text: &str, content: String) {
        self.reply = None;
        if !text.is_empty() {
            self.text.push_str(text);
            self.messages.push(Message { role: "assistant".into(), content });
        }
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
            _ => *self = Self::default(),
        }
    }
}

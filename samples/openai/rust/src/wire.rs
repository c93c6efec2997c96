//! The shapes of the answers: one object, or chunks that are emitted as lines of JSON. It knows nothing of models.

use lip::{emit, json, now, pid, FinishReason, Result, Value};

use crate::ask::Ask;
use crate::calls::Call;

/// Our finish reasons in OpenAI's words.
pub fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::StopToken(_) | FinishReason::StopString(_) | FinishReason::Constraint => "stop",
        FinishReason::Length | FinishReason::ContextLimit | FinishReason::Cancelled => "length",
    }
}

/// One answer.
pub struct Wire {
    pub chat: bool,
    pub stream: bool,
    include_usage: bool,
    model: String,
    id: String,
    created: u64,
}

impl Wire {
    pub fn new(ask: &Ask, model: &str) -> Self {
        let time = now();
        let id = format!("{:08x}{:016x}", pid() as u32, time.as_nanos() as u64);
        let (chat, stream, include_usage) = (ask.chat, ask.stream, ask.include_usage);
        Self { chat, stream, include_usage, model: model.into(), id, created: time.as_secs() }
    }

    pub fn whole(&self, choices: Vec<Value>, usage: Value) -> Value {
        let mut answer = self.head("");
        answer["choices"] = choices.into();
        answer["usage"] = usage;
        answer
    }

    pub fn begin(&self, index: usize) -> Result<()> {
        if !self.chat {
            return Ok(());
        }
        self.send(index, json!({"role": "assistant", "content": ""}), Value::Null, None)
    }

    pub fn text(&self, index: usize, text: &str, logprobs: Value) -> Result<()> {
        if text.is_empty() && logprobs.is_null() {
            return Ok(());
        }
        self.send(index, if self.chat { json!({"content": text}) } else { text.into() }, logprobs, None)
    }

    /// Each begins with its name, as clients expect; its arguments are whole by then.
    pub fn calls(&self, index: usize, first: usize, calls: &[Call]) -> Result<()> {
        for (number, call) in (first..).zip(calls) {
            let id = self.call_id(index, number);
            let function = json!({"name": call.name, "arguments": ""});
            let head = json!({"index": number, "id": id, "type": "function", "function": function});
            let rest = json!({"index": number, "function": {"arguments": call.arguments}});
            for part in [head, rest] {
                self.send(index, json!({"tool_calls": [part]}), Value::Null, None)?;
            }
        }
        Ok(())
    }

    pub fn end(&self, index: usize, reason: &str) -> Result<()> {
        self.send(index, if self.chat { json!({}) } else { "".into() }, Value::Null, Some(reason))
    }

    pub fn usage(&self, usage: &Value) -> Result<()> {
        if !self.stream || !self.include_usage {
            return Ok(());
        }
        let mut chunk = self.head(".chunk");
        chunk["choices"] = json!([]);
        chunk["usage"] = usage.clone();
        emit(format!("{chunk}\n"))
    }

    /// One choice of a `whole`.
    pub fn choice(&self, index: usize, text: String, calls: &[Call], logprobs: Value, reason: &str) -> Value {
        if !self.chat {
            return json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason});
        }
        let content = if text.is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !calls.is_empty() {
            let shown = |(number, call): (usize, &Call)| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": self.call_id(index, number), "type": "function", "function": function})
            };
            message["tool_calls"] = calls.iter().enumerate().map(shown).collect();
        }
        json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
    }

    fn call_id(&self, index: usize, number: usize) -> String {
        format!("call_{}{index:02}{number:02}", self.id)
    }

    /// Only where it streams.
    fn send(&self, index: usize, delta: Value, logprobs: Value, reason: Option<&str>) -> Result<()> {
        if !self.stream {
            return Ok(());
        }
        let mut chunk = self.head(".chunk");
        let what = if self.chat { "delta" } else { "text" };
        chunk["choices"] = json!([{"index": index, what: delta, "logprobs": logprobs, "finish_reason": reason}]);
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        emit(format!("{chunk}\n"))
    }

    fn head(&self, chunk: &str) -> Value {
        let (kind, prefix) = if self.chat {
            (format!("chat.completion{chunk}"), "chatcmpl-")
        } else {
            ("text_completion".into(), "cmpl-")
        };
        json!({"id": format!("{prefix}{}", self.id), "object": kind, "created": self.created, "model": self.model})
    }
}

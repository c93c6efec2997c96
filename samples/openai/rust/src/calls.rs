//! How a model writes tool calls: learnt from its chat template, which is asked to render some.
//!
//! ```text
//! opening  name  middle  arguments  between  name  middle  arguments  closing
//! <tool_call>{"name": " f ", "arguments":  {...} ... }</tool_call>
//! ```
//!
//! So one reader and one grammar serve every family whose calls are JSON objects with a name. Of a template that writes
//! them otherwise, replies are text.

use lip::{json, ErrorCode, Model, Result, Value};
use serde_json::{Deserializer, Map};

/// Of one reply.
const MAX_CALLS: usize = 32;
const NAMES: [&str; 2] = ["alpha_call", "omega_call"];
const TEXT: &str = "what-a-plain-reply-says";

/// The texts around the names and arguments of calls. `between` is none where a reply has one call only.
pub struct Format {
    opening: String,
    middle: String,
    between: Option<String>,
    closing: String,
}

impl Format {
    /// What tells that calls follow; empty where they are a reply that begins with a brace.
    pub fn marker(&self) -> String {
        before_head(&self.opening).unwrap_or(&self.opening).trim().to_owned()
    }

    /// A Lark grammar of replies that call these tools.
    pub fn grammar(&self, tools: &[&Value], parallel: bool) -> String {
        let more = match &self.between {
            Some(between) if parallel && !between.is_empty() => {
                format!(" ({} call){{0,{}}}", quoted(between), MAX_CALLS - 1)
            }
            _ => String::new(),
        };
        let names: Vec<String> = (0..tools.len()).map(|index| format!("call{index}")).collect();
        let mut lines = vec![
            format!("start: {} call{more} {}", quoted(&self.opening), quoted(&self.closing)).trim_end().to_owned(),
            format!("call: {}", names.join(" | ")),
        ];
        for (index, tool) in tools.iter().enumerate() {
            lines.push(format!("call{index}: {} args{index}", quoted(&(name_of(tool) + &self.middle))));
            lines.push(format!("args{index}: %json {}", object(tool)));
        }
        lines.join("\n")
    }
}

/// The name of a tool of a request.
pub fn name_of(tool: &Value) -> String {
    tool["function"]["name"].as_str().unwrap_or_default().to_owned()
}

fn object(tool: &Value) -> Value {
    let mut schema = Map::from_iter([("type".to_owned(), json!("object"))]);
    if let Value::Object(parameters) = &tool["function"]["parameters"] {
        schema.extend(parameters.clone());
    }
    schema.into()
}

/// A text as a Lark string; nothing for none.
fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        json!(text).to_string()
    }
}

/// The format of a model's calls; none where its template has none that can be read.
pub fn learn(model: &Model, tools: &[Value]) -> Result<Option<Format>> {
    let rendered = |reply: Option<Value>| {
        let user = json!({"role": "user", "content": "-"});
        let asked = reply.is_none();
        let messages: Vec<Value> = [user].into_iter().chain(reply).collect();
        let given = json!({"messages": messages, "tools": tools, "add_generation_prompt": asked});
        match model.render_chat(&given.to_string()) {
            Err(error) if error.code == ErrorCode::Invalid => Ok(None),
            other => other.map(Some),
        }
    };
    let plain = rendered(Some(json!({"role": "assistant", "content": TEXT})))?;
    let (Some(prompt), Some(plain)) = (rendered(None)?, plain) else {
        return Ok(None);
    };
    let ending = plain.split_once(TEXT).map_or("", |(_, ending)| ending);
    for names in [&NAMES[..], &NAMES[..1]] {
        // some templates refuse two calls at once
        let calls: Vec<Value> = names.iter().map(|name| sentinel(name)).collect();
        if let Some(text) = rendered(Some(json!({"role": "assistant", "content": "", "tool_calls": calls})))? {
            if let Some(found) = split(&prompt, &text, ending, names) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn sentinel(name: &str) -> Value {
    let function = json!({"name": name, "arguments": {"sentinel": 1}});
    json!({"id": "call00000", "type": "function", "function": function})
}

fn split(prompt: &str, text: &str, ending: &str, names: &[&str]) -> Option<Format> {
    let mut at = prompt.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let mut pieces = Vec::new();
    for name in names {
        let start = at + text[at..].find(name)?;
        let behind = &text[start + name.len()..];
        let (from, to) = arguments(behind)?;
        pieces.push(text[at..start].to_owned());
        pieces.push(behind[..from].to_owned());
        at = start + name.len() + to;
    }
    let closing = text[at..].strip_suffix(ending).unwrap_or(&text[at..]).to_owned();
    before_head(&pieces[0])?;
    let mut pieces = pieces.into_iter();
    let (opening, middle) = (pieces.next()?, pieces.next()?);
    Some(Format { opening, middle, between: pieces.next(), closing })
}

/// Where the sentinel's arguments are.
fn arguments(text: &str) -> Option<(usize, usize)> {
    let places = text.match_indices('{').map(|(at, _)| at);
    places.into_iter().find_map(|at| Some((at, text.len() - tokens_of_sentinel(&text[at..])?.len())))
}

/// What follows them, where the text begins with them.
fn tokens_of_sentinel(text: &str) -> Option<&str> {
    ["{", "\"sentinel\"", ":", "1", "}"].iter().try_fold(text, |rest, word| rest.trim_start().strip_prefix(word))
}

/// What stands before `{"name": "` at the end of the text, and before the bracket of a list of calls.
fn before_head(text: &str) -> Option<&str> {
    let rest = text.strip_suffix('"')?.trim_end().strip_suffix(':')?.trim_end();
    let rest = rest.strip_suffix("\"name\"")?.trim_end().strip_suffix('{')?.trim_end();
    Some(rest.strip_suffix('[').map_or(rest, str::trim_end))
}

/// One call of a reply; its arguments are the JSON of an object.
pub struct Call {
    pub name: String,
    pub arguments: String,
}

/// Tells calls from text in a reply that comes in pieces. Text that may begin a marker is withheld.
pub struct CallReader {
    marker: String,
    held: String,
    calling: bool,
    /// Calls have no marker: a reply that begins with a brace may be one, as a whole.
    bare: bool,
    found: usize,
}

impl CallReader {
    pub fn new(marker: String) -> Self {
        let bare = marker.is_empty();
        Self { marker, held: String::new(), calling: false, bare, found: 0 }
    }

    /// The text, and the calls, that became complete.
    pub fn push(&mut self, piece: &str) -> (String, Vec<Call>) {
        self.held += piece;
        if self.calling {
            return (String::new(), if piece.contains('}') { self.calls() } else { Vec::new() });
        }
        let text = self.until_calls();
        (text, if self.calling { self.calls() } else { Vec::new() })
    }

    /// What is left is text, where no call was found in it.
    pub fn end(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        if self.found > 0 {
            String::new()
        } else {
            rest
        }
    }

    fn until_calls(&mut self) -> String {
        if self.bare {
            let begun = self.held.trim_start();
            self.calling = begun.starts_with('{');
            self.bare = begun.is_empty() || self.calling;
            if self.bare {
                return String::new();
            }
        }
        let at = if self.marker.is_empty() { None } else { self.held.find(&self.marker) };
        self.calling = at.is_some();
        let cut = at.unwrap_or_else(|| self.held.len() - overlap(&self.held, &self.marker));
        let rest = self.held.split_off(cut);
        std::mem::replace(&mut self.held, rest)
    }

    fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        while self.found < MAX_CALLS {
            let Some(at) = self.held.find('{') else { break };
            let mut values = Deserializer::from_str(&self.held[at..]).into_iter::<Value>();
            let Some(call) = values.next().and_then(Result::ok).and_then(call_of) else { break };
            let end = at + values.byte_offset();
            self.held.drain(..end);
            self.found += 1;
            calls.push(call);
        }
        calls
    }
}

fn call_of(value: Value) -> Option<Call> {
    let name = value.get("name")?.as_str()?.to_owned();
    match value.get("arguments").or_else(|| value.get("parameters"))? {
        Value::String(arguments) => Some(Call { name, arguments: arguments.clone() }),
        arguments @ Value::Object(_) => Some(Call { name, arguments: arguments.to_string() }),
        _ => None,
    }
}

/// How many bytes at the end of the text begin the marker.
fn overlap(text: &str, marker: &str) -> usize {
    let most = text.len().min(marker.len().saturating_sub(1));
    let begins = |n: &usize| marker.is_char_boundary(*n) && text.ends_with(&marker[..*n]);
    (1..=most).rev().find(begins).unwrap_or(0)
}

//! The messages of a chat, checked, in the form that chat templates expect: text, and arguments of calls as objects.

use lip::{json, Value};
use serde_json::Map;

use crate::fields::{Checked, Fields, Kind, Refused};

const MAX_MESSAGES: usize = 4096;
const ROLES: &[&str] = &["system", "developer", "user", "assistant", "tool"];
const COMMON: &[&str] = &["role", "content", "name"];

/// One message, and what its role has beside the content.
pub struct Turn {
    pub role: String,
    pub content: String,
    pub fields: Map<String, Value>,
}

pub fn turns(messages: Option<&Value>) -> Checked<Vec<Turn>> {
    let messages = match messages {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        _ => return Err(Refused::new("'messages' must be a non-empty array.", "messages")),
    };
    if messages.len() > MAX_MESSAGES {
        let message = format!("'messages' has {} messages, at most {MAX_MESSAGES}.", messages.len());
        return Err(Refused::new(message, "messages"));
    }
    let one = |(index, message)| turn(&Fields::new(message, format!("messages[{index}]"))?);
    messages.iter().enumerate().map(one).collect()
}

fn turn(message: &Fields) -> Checked<Turn> {
    let role = message.needed("role")?;
    message.known("role", Some(role), ROLES)?;
    if role == "assistant" {
        return assistant(message);
    }
    message.only(&[COMMON, if role == "tool" { &["tool_call_id"] } else { &[] }])?;
    let content = content(message)?.ok_or_else(|| message.missing("content"))?;
    let mut fields = Map::new();
    if role == "tool" {
        fields.insert("tool_call_id".into(), json!(message.needed("tool_call_id")?));
    }
    if let Some(name) = message.text("name")? {
        fields.insert("name".into(), json!(name));
    }
    Ok(Turn { role: if role == "developer" { "system" } else { role }.into(), content, fields })
}

fn assistant(message: &Fields) -> Checked<Turn> {
    message.refuse(&[("function_call", "use 'tool_calls'"), ("audio", "this server serves text")])?;
    message.only(&[COMMON, &["tool_calls", "refusal", "function_call", "audio", "annotations"]])?;
    let (content, calls) = (content(message)?, message.array("tool_calls")?);
    if content.is_none() && calls.is_empty() {
        return Err(message.refused("content", "an assistant message needs 'content' or 'tool_calls'."));
    }
    let mut fields = Map::new();
    if !calls.is_empty() {
        let place = message.name("tool_calls");
        let one = |(index, given)| call(&Fields::new(given, format!("{place}[{index}]"))?);
        let calls: Vec<Value> = calls.iter().enumerate().map(one).collect::<Checked<_>>()?;
        fields.insert("tool_calls".into(), calls.into());
    }
    Ok(Turn { role: "assistant".into(), content: content.unwrap_or_default(), fields })
}

fn call(call: &Fields) -> Checked<Value> {
    call.choice("type", &["function"])?;
    let function = call.object("function", None)?;
    let text = function.needed("arguments")?;
    let arguments: Value = serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap_or_default();
    if !arguments.is_object() {
        let name = function.name("arguments");
        return Err(function.refused("arguments", format!("'{name}' must be the JSON of an object.")));
    }
    let function = json!({"name": function.needed("name")?, "arguments": arguments});
    Ok(json!({"id": call.needed("id")?, "type": "function", "function": function}))
}

fn content(message: &Fields) -> Checked<Option<String>> {
    let parts = match message.get("content", &[Kind::Text, Kind::Array])? {
        None => return Ok(None),
        Some(Value::Array(parts)) => parts,
        Some(text) => return Ok(text.as_str().map(str::to_owned)),
    };
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let part = Fields::new(part, format!("{}[{index}]", message.name("content")))?;
        if part.any("type").and_then(Value::as_str) != Some("text") {
            return Err(part.refused("type", "only parts of type 'text' are supported."));
        }
        text += part.needed("text")?;
    }
    Ok(Some(text))
}

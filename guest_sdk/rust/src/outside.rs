//! The world around the program: its client, its log, its tools, its own accounts.

use std::fmt::Display;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::bindings::symphony::lip::{ipc, log as host_log, process, tool as host_tool};
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;

pub use host_log::Level;
pub use process::Usage;

/// Send text to the client's stream. Suspends the whole program while the client is far behind.
pub fn emit(text: impl AsRef<str>) -> Result<()> {
    Ok(ipc::emit(text.as_ref())?)
}

/// Write a line to the process' log.
pub fn log(level: Level, text: impl Display) {
    host_log::write(level, &text.to_string());
}

/// Call a tool that the operator granted. `arguments` must serialise to a JSON object.
///
/// Errors: not-found (the message lists the tools), invalid, unavailable (the tool failed), timed-out, cancelled.
pub async fn tool<T: DeserializeOwned>(name: &str, arguments: impl Serialize) -> Result<T> {
    let call = host_tool::call(name, &serde_json::to_string(&arguments)?)?;
    let pollable = Rc::new(call.subscribe());
    loop {
        ready(&pollable).await;
        if let Some(answer) = call.get() {
            return read(name, &answer?);
        }
    }
}

fn read<T: DeserializeOwned>(name: &str, answer: &str) -> Result<T> {
    serde_json::from_str(answer)
        .map_err(|e| Error::new(ErrorCode::Invalid, format!("the tool {name} answered something else: {e}"), ""))
}

/// A tool on offer.
#[derive(Debug, Clone)]
pub struct Tool {
    /// What [`tool`] takes.
    pub name: String,
    /// What it does, one paragraph.
    pub summary: String,
    /// JSON schema of its arguments, as the host wrote it; `schema.get().parse::<Value>()` reads it.
    pub schema: Box<RawValue>,
}

impl Tool {
    /// The tool in the format that chat templates expect (OpenAI's): `ctx.template("tools", functions)`.
    pub fn as_function(&self) -> impl Serialize + '_ {
        let function = Function { name: &self.name, description: &self.summary, parameters: &self.schema };
        Offer { r#type: "function", function }
    }
}

#[derive(Serialize)]
struct Offer<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

/// The tools that this program may call, sorted by name.
pub fn tools() -> Result<Vec<Tool>> {
    let read = |raw: host_tool::Description| {
        Ok(Tool { name: raw.name, summary: raw.summary, schema: RawValue::from_string(raw.schema)? })
    };
    host_tool::list().into_iter().map(read).collect()
}

/// The process id, unique in the life of the host.
pub fn pid() -> u64 {
    process::pid()
}

/// The tenant that the process runs for.
pub fn tenant() -> String {
    process::tenant()
}

/// What the process has used so far.
pub fn usage() -> Usage {
    process::usage_so_far()
}

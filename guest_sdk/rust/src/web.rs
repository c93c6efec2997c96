//! Requests to places outside, as far as the operator lets this program go.

use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::base64;
use crate::bindings::symphony::lip::fetch as host_fetch;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;

/// What to ask for; a URL alone is one, too.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`.
    pub method: String,
    /// `https://` or `http://`.
    pub url: String,
    /// At most 64, of 16 KiB together.
    pub headers: Vec<(String, String)>,
    /// At most 1 MiB.
    pub body: Option<Vec<u8>>,
    /// From here to the end of the answer: at most 120 s; None: 30 s.
    pub time: Option<Duration>,
}

impl Request {
    /// Ask for what is there.
    pub fn get(url: impl Into<String>) -> Self {
        Self { method: "GET".into(), url: url.into(), ..Self::default() }
    }

    /// Send bytes, or text.
    pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".into(), url: url.into(), body: Some(body.into()), ..Self::default() }
    }

    /// Send a value as JSON.
    pub fn post_json(url: impl Into<String>, value: impl Serialize) -> Result<Self> {
        Ok(Self::post(url, serde_json::to_vec(&value)?).header("content-type", "application/json"))
    }

    /// One more header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl From<&str> for Request {
    fn from(url: &str) -> Self {
        Self::get(url)
    }
}

impl From<String> for Request {
    fn from(url: String) -> Self {
        Self::get(url)
    }
}

/// What was answered, whatever its status is.
#[derive(Debug, Clone)]
pub struct Response {
    /// Where it is from, after redirects.
    pub url: String,
    /// Such as 200 or 404.
    pub status: u16,
    /// In the order in which they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The bytes, unpacked.
    pub content: Vec<u8>,
}

impl Response {
    /// Whether the status is one of success, 200 to 299.
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The content as text: UTF-8, with question marks for what is not.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// The content as JSON. Errors: invalid.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let refused = |e| Error::new(ErrorCode::Invalid, format!("the answer of {} is not JSON: {e}", self.url), "");
        serde_json::from_slice(&self.content).map_err(refused)
    }
}

/// Ask for a URL and wait for the answer. Dropping the future closes the connection.
///
/// Errors: permission-denied (the operator granted no such place; an address that is not public), unavailable (no
/// answer), limit-exceeded (above 4 MiB), timed-out, invalid. A status such as 404 is no error: see `Response::ok`.
pub async fn fetch(request: impl Into<Request>) -> Result<Response> {
    let request = request.into();
    let exchange = host_fetch::send(&host_fetch::Request {
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(|(name, value)| host_fetch::Header { name, value }).collect(),
        body: request.body.map(crossing),
        timeout_us: request.time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    })?;
    let pollable = Rc::new(exchange.subscribe());
    loop {
        ready(&pollable).await;
        if let Some(answer) = exchange.get() {
            return Ok(response(answer?));
        }
    }
}

fn crossing(body: Vec<u8>) -> host_fetch::Content {
    match String::from_utf8(body) {
        Ok(text) => host_fetch::Content::Text(text),
        Err(bytes) => host_fetch::Content::Base64(base64::encode(bytes.as_bytes())),
    }
}

fn response(raw: host_fetch::Response) -> Response {
    let content = match raw.body {
        host_fetch::Content::Text(text) => text.into_bytes(),
        host_fetch::Content::Base64(text) => base64::decode(&text),
    };
    let headers = raw.headers.into_iter().map(|line| (line.name, line.value)).collect();
    Response { url: raw.url, status: raw.status, headers, content }
}

//! The members of a request, checked one by one: type before range, and every refusal names the member.
//!
//! It knows nothing of what they mean.

use lip::{json, ErrorCode, Value};
use serde_json::Map;

/// A request that cannot be answered, in OpenAI's words.
#[derive(Debug)]
pub struct Refused {
    message: String,
    param: Option<String>,
    code: Option<&'static str>,
    status: u16,
}

impl Refused {
    pub fn new(message: impl Into<String>, param: impl Into<String>) -> Self {
        let param = Some(param.into()).filter(|name| !name.is_empty());
        Self { message: message.into(), param, code: None, status: 400 }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The result of the program.
    pub fn answer(self) -> Value {
        let kind = if self.status < 500 { "invalid_request_error" } else { "server_error" };
        let error = json!({"message": self.message, "type": kind, "param": self.param, "code": self.code});
        json!({"status": self.status, "body": {"error": error}})
    }
}

/// What the host refuses.
impl From<lip::Error> for Refused {
    fn from(error: lip::Error) -> Self {
        let (status, code) = match error.code {
            ErrorCode::NotFound => (404, "not_found"),
            ErrorCode::PermissionDenied => (403, "permission_denied"),
            ErrorCode::NoSpace => (503, "no_space"),
            ErrorCode::Busy => (503, "busy"),
            ErrorCode::Unavailable => (503, "unavailable"),
            ErrorCode::TimedOut => (504, "timed_out"),
            ErrorCode::Internal => (500, "internal"),
            ErrorCode::Cancelled => (499, "cancelled"),
            ErrorCode::Exists => (400, "exists"),
            ErrorCode::LimitExceeded => (400, "limit_exceeded"),
            ErrorCode::Invalid => (400, "invalid"),
        };
        let hint = if error.hint.is_empty() { String::new() } else { format!(" ({})", error.hint) };
        Self { message: error.message + &hint, param: None, code: Some(code), status }
    }
}

pub type Checked<T> = Result<T, Refused>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Integer,
    Number,
    Text,
    Array,
    Object,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_f64() => Self::Number,
            Value::Number(_) => Self::Integer,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// An object of a request. Absent and null mean the same.
pub struct Fields<'a> {
    given: &'a Map<String, Value>,
    place: String,
}

impl<'a> Fields<'a> {
    /// `place`: what error messages call it; empty for the request itself.
    pub fn new(given: &'a Value, place: impl Into<String>) -> Checked<Self> {
        let place = place.into();
        match given {
            Value::Object(given) => Ok(Self { given, place }),
            _ => {
                let who = if place.is_empty() { "the request" } else { &place };
                let message = format!("{who} must be an object, not {}.", Kind::of(given).words());
                Err(Refused::new(message, place))
            }
        }
    }

    /// The object `member`; where it is absent, an error unless `fallback` stands for it.
    pub fn object(&self, member: &str, fallback: Option<&'a Value>) -> Checked<Self> {
        let given = self.get(member, &[Kind::Object])?;
        Self::new(given.or(fallback).unwrap_or(&Value::Null), self.name(member))
    }

    /// The member as error messages name it.
    pub fn name(&self, member: &str) -> String {
        if self.place.is_empty() {
            member.to_owned()
        } else {
            format!("{}.{member}", self.place)
        }
    }

    /// A refusal that names the member.
    pub fn refused(&self, member: &str, message: impl Into<String>) -> Refused {
        Refused::new(message, self.name(member))
    }

    /// Refuse members that are not known: a typing error is no default.
    pub fn only(&self, known: &[&[&str]]) -> Checked<()> {
        for member in self.given.keys() {
            if !known.iter().any(|names| names.contains(&member.as_str())) {
                let short: String = self.name(member).chars().take(200).collect();
                return Err(self.refused(member, format!("Unrecognized request argument supplied: {short}")));
            }
        }
        Ok(())
    }

    pub fn any(&self, member: &str) -> Option<&'a Value> {
        self.given.get(member).filter(|value| !value.is_null())
    }

    /// The member, of one of these kinds.
    pub fn get(&self, member: &str, kinds: &[Kind]) -> Checked<Option<&'a Value>> {
        let Some(value) = self.any(member) else {
            return Ok(None);
        };
        if kinds.contains(&Kind::of(value)) {
            return Ok(Some(value));
        }
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
        let (name, wanted, is) = (self.name(member), wanted.join(" or "), Kind::of(value).words());
        Err(self.refused(member, format!("'{name}' must be {wanted}, not {is}.")))
    }

    pub fn text(&self, member: &str) -> Checked<Option<&'a str>> {
        Ok(self.get(member, &[Kind::Text])?.and_then(Value::as_str))
    }

    /// A string that must be there.
    pub fn needed(&self, member: &str) -> Checked<&'a str> {
        self.text(member)?.ok_or_else(|| self.missing(member))
    }

    pub fn missing(&self, member: &str) -> Refused {
        self.refused(member, format!("Missing required parameter: '{}'.", self.name(member)))
    }

    pub fn array(&self, member: &str) -> Checked<&'a [Value]> {
        Ok(self.get(member, &[Kind::Array])?.and_then(Value::as_array).map_or(&[], Vec::as_slice))
    }

    pub fn flag(&self, member: &str) -> Checked<Option<bool>> {
        Ok(self.get(member, &[Kind::Bool])?.and_then(Value::as_bool))
    }

    pub fn integer(&self, member: &str, least: i128, most: i128) -> Checked<Option<i128>> {
        let Some(value) = self.get(member, &[Kind::Integer])? else {
            return Ok(None);
        };
        let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from)).unwrap_or(i128::MAX);
        self.within(member, value, least <= number && number <= most, (&least.to_string(), &most.to_string()))?;
        Ok(Some(number))
    }

    pub fn number(&self, member: &str, least: f64, most: f64) -> Checked<Option<f32>> {
        let Some(value) = self.get(member, &[Kind::Number, Kind::Integer])? else {
            return Ok(None);
        };
        let number = value.as_f64().unwrap_or(f64::NAN);
        self.within(member, value, least <= number && number <= most, (&least.to_string(), &most.to_string()))?;
        Ok(Some(number as f32))
    }

    fn within(&self, member: &str, value: &Value, holds: bool, (least, most): (&str, &str)) -> Checked<()> {
        if holds {
            return Ok(());
        }
        let name = self.name(member);
        Err(self.refused(member, format!("'{name}' is {value}; it must be from {least} to {most}.")))
    }

    pub fn choice(&self, member: &str, known: &[&str]) -> Checked<Option<&'a str>> {
        let value = self.text(member)?;
        self.known(member, value, known)?;
        Ok(value)
    }

    pub fn known(&self, member: &str, value: Option<&str>, known: &[&str]) -> Checked<()> {
        match value {
            Some(value) if !known.contains(&value) => {
                let listed: Vec<String> = known.iter().map(|one| format!("'{one}'")).collect();
                let (name, short) = (self.name(member), value.chars().take(100).collect::<String>());
                Err(self.refused(member, format!("'{name}' is '{short}'; supported are {}.", listed.join(", "))))
            }
            _ => Ok(()),
        }
    }

    /// Members that are known and not served, with what to do instead.
    pub fn refuse(&self, advice: &[(&str, &str)]) -> Checked<()> {
        for (member, instead) in advice {
            let nothing = match self.any(member) {
                None | Some(Value::Bool(false)) => true,
                Some(Value::Array(items)) => items.is_empty(),
                Some(Value::Object(items)) => items.is_empty(),
                _ => false,
            };
            if !nothing {
                let name = self.name(member);
                return Err(self.refused(member, format!("'{name}' is not supported: {instead}.")));
            }
        }
        Ok(())
    }
}

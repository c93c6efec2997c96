//! A request of OpenAI's chat or completions route, checked and in our terms. Every number has a bound.
//!
//! Source: https://platform.openai.com/docs/api-reference. It knows nothing of models: whether a prompt fits is seen later.

use lip::{default, json, Sampling, Token, Value};
use serde_json::Map;

use crate::fields::{Checked, Fields, Kind};
use crate::messages::{turns, Turn};

/// Of all prompts together: as many generations may be in flight in one process.
const MAX_CHOICES: usize = 64;
const MAX_STOPS: usize = 16;
const MAX_STOP_CHARS: usize = 1024;
const MAX_BIASES: usize = 1024;
const MAX_TOP_LOGPROBS: i128 = 20;
const MAX_TOOLS: usize = 128;
const MOST: i128 = (1 << 31) - 1;
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

#[rustfmt::skip]
const COMMON: &[&str] = &[
    "model", "max_tokens", "n", "stop", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "seed", "logprobs", "user",
];
#[rustfmt::skip]
const CHAT: &[&str] = &[
    "messages", "max_completion_tokens", "top_logprobs", "response_format", "tools", "tool_choice",
    "parallel_tool_calls", "functions", "function_call", "modalities", "audio", "web_search_options", "store", "metadata",
    "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction", "reasoning_effort",
    "verbosity",
];
const COMPLETIONS: &[&str] = &["prompt", "echo", "suffix", "best_of"];
const NOT_SERVED: &[(&str, &str)] = &[
    ("functions", "use 'tools'"),
    ("function_call", "use 'tool_choice'"),
    ("audio", "this server serves text"),
    ("web_search_options", "a program can search, with a tool"),
    ("suffix", "only continuations are served"),
];

/// Of completions.
pub enum Prompt {
    Text(String),
    Tokens(Vec<Token>),
}

/// What is wanted.
pub struct Ask {
    pub chat: bool,
    pub model: Option<String>,
    /// Of completions.
    pub prompts: Vec<Prompt>,
    /// Of a chat.
    pub messages: Vec<Turn>,
    pub n: usize,
    pub stream: bool,
    pub include_usage: bool,
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    /// So many alternatives a token; none: no log-probabilities.
    pub logprobs: Option<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    pub echo: bool,
    /// The reply is JSON of this schema.
    pub schema: Option<Value>,
    pub tools: Vec<Value>,
    /// The reply calls tools, and only these.
    pub forced: Vec<String>,
    pub parallel: bool,
    seed: Option<u64>,
}

impl Ask {
    pub fn parse(chat: bool, request: &Value) -> Checked<Self> {
        let fields = Fields::new(request, "")?;
        fields.only(&[COMMON, if chat { CHAT } else { COMPLETIONS }])?;
        fields.refuse(NOT_SERVED)?;
        let nothing = json!({});
        let options = fields.object("stream_options", Some(&nothing))?;
        options.only(&[&["include_usage", "include_obfuscation"]])?;
        let prompts = if chat { Vec::new() } else { prompts(&fields)? };
        let n = fields.integer("n", 1, MAX_CHOICES as i128)?.unwrap_or(1) as usize;
        if prompts.len().max(1) * n > MAX_CHOICES {
            let message = format!("{} prompts with n={n} are too many; at most {MAX_CHOICES} choices.", prompts.len());
            return Err(fields.refused("n", message));
        }
        let mut ask = Self {
            chat,
            model: fields.text("model")?.map(str::to_owned),
            prompts,
            messages: if chat { turns(fields.any("messages"))? } else { Vec::new() },
            n,
            stream: fields.flag("stream")?.unwrap_or(false),
            include_usage: options.flag("include_usage")?.unwrap_or(false),
            max_tokens: tokens(&fields, "max_tokens")?,
            stop: stops(&fields)?,
            logprobs: None,
            sampling: sampling(&fields)?,
            echo: false,
            schema: None,
            tools: Vec::new(),
            forced: Vec::new(),
            parallel: true,
            seed: fields.integer("seed", i64::MIN.into(), u64::MAX.into())?.map(|seed| seed as u64),
        };
        if chat {
            ask.chat_members(&fields)?;
        } else {
            ask.completion_members(&fields)?;
        }
        Ok(ask)
    }

    /// Choices of one request differ; the first is what the seed alone gives.
    pub fn seed_of(&self, index: usize) -> Option<u64> {
        self.seed.map(|seed| seed.wrapping_add((index as u64).wrapping_mul(SEED_STEP)))
    }

    fn chat_members(&mut self, fields: &Fields) -> Checked<()> {
        self.max_tokens = tokens(fields, "max_completion_tokens")?.or(self.max_tokens);
        let top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)?;
        if fields.flag("logprobs")?.unwrap_or(false) {
            self.logprobs = Some(top.unwrap_or(0) as u32);
        } else if top.is_some_and(|top| top > 0) {
            return Err(fields.refused("top_logprobs", "'top_logprobs' needs 'logprobs' to be true."));
        }
        if fields.array("modalities")?.iter().any(|modality| modality != "text") {
            return Err(fields.refused("modalities", "this server serves text only."));
        }
        self.schema = schema(fields)?;
        self.parallel = fields.flag("parallel_tool_calls")? != Some(false);
        self.tool_members(fields)?;
        if !self.forced.is_empty() && self.schema.is_some() {
            let message = "a reply that must call a tool has no 'response_format'.";
            return Err(fields.refused("response_format", message));
        }
        Ok(())
    }

    fn tool_members(&mut self, fields: &Fields) -> Checked<()> {
        let given = fields.array("tools")?;
        if given.len() > MAX_TOOLS {
            return Err(fields.refused("tools", format!("'tools' has {} tools, at most {MAX_TOOLS}.", given.len())));
        }
        let one = |(index, given)| tool(&Fields::new(given, format!("tools[{index}]"))?);
        let tools: Vec<Value> = given.iter().enumerate().map(one).collect::<Checked<_>>()?;
        let names: Vec<String> = tools.iter().map(crate::calls::name_of).collect();
        let wanted = fields.get("tool_choice", &[Kind::Text, Kind::Object])?;
        let word = wanted.and_then(Value::as_str);
        if let Some(object @ Value::Object(_)) = wanted {
            let named = Fields::new(object, "tool_choice")?;
            named.choice("type", &["function"])?;
            self.forced = vec![named.object("function", None)?.needed("name")?.to_owned()];
            self.parallel = false;
        } else if fields.choice("tool_choice", &["none", "auto", "required"])? == Some("required") {
            self.forced.clone_from(&names);
        }
        if wanted.is_some() && !matches!(word, Some("none" | "auto")) && tools.is_empty() {
            return Err(fields.refused("tool_choice", "'tool_choice' needs 'tools'."));
        }
        if let Some(name) = self.forced.iter().find(|name| !names.contains(name)) {
            let short: String = name.chars().take(100).collect();
            let message = format!("'tool_choice' names '{short}', which is not among 'tools'.");
            return Err(fields.refused("tool_choice", message));
        }
        self.tools = if word == Some("none") { Vec::new() } else { tools };
        Ok(())
    }

    fn completion_members(&mut self, fields: &Fields) -> Checked<()> {
        self.logprobs = fields.integer("logprobs", 0, MAX_TOP_LOGPROBS)?.map(|top| top as u32);
        self.echo = fields.flag("echo")?.unwrap_or(false);
        if self.echo && self.logprobs.is_some() {
            return Err(fields.refused("echo", "'logprobs' of the prompt ('echo') are not supported."));
        }
        if fields.integer("best_of", 1, MAX_CHOICES as i128)?.is_some_and(|best| best as usize != self.n) {
            let message = "'best_of' must equal 'n': a program can score choices as it likes.";
            return Err(fields.refused("best_of", message));
        }
        self.max_tokens = Some(self.max_tokens.unwrap_or(16));
        Ok(())
    }
}

fn tokens(fields: &Fields, member: &str) -> Checked<Option<u32>> {
    Ok(fields.integer(member, 1, MOST)?.map(|tokens| tokens as u32))
}

fn prompts(fields: &Fields) -> Checked<Vec<Prompt>> {
    let given = fields.get("prompt", &[Kind::Text, Kind::Array])?.filter(|given| *given != &json!([]));
    let given = given.ok_or_else(|| fields.missing("prompt"))?;
    let several = match given {
        Value::Array(items) if ids(given).is_none() => &items[..],
        one => std::slice::from_ref(one),
    };
    if several.len() > MAX_CHOICES {
        let message = format!("'prompt' has {} prompts, at most {MAX_CHOICES}.", several.len());
        return Err(fields.refused("prompt", message));
    }
    let one = |given: &Value| match given.as_str() {
        Some(text) if !text.is_empty() => Some(Prompt::Text(text.to_owned())),
        Some(_) => None,
        None => ids(given).filter(|ids| !ids.is_empty()).map(Prompt::Tokens),
    };
    let message = "'prompt' must be a non-empty string or array of token ids, or an array of them.";
    several.iter().map(|given| one(given).ok_or_else(|| fields.refused("prompt", message))).collect()
}

/// The value as token ids, if it is an array of them.
fn ids(value: &Value) -> Option<Vec<Token>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| id.try_into().ok())).collect()
}

fn stops(fields: &Fields) -> Checked<Vec<String>> {
    let given = match fields.get("stop", &[Kind::Text, Kind::Array])? {
        None => &[],
        Some(Value::Array(stops)) => &stops[..],
        Some(one) => std::slice::from_ref(one),
    };
    if given.len() > MAX_STOPS {
        return Err(fields.refused("stop", format!("'stop' has {} strings, at most {MAX_STOPS}.", given.len())));
    }
    let message = format!("'stop' must be strings of 1 to {MAX_STOP_CHARS} characters.");
    let fits = |stop: &&str| (1..=MAX_STOP_CHARS).contains(&stop.chars().count());
    let one = |stop: &Value| stop.as_str().filter(fits).map(str::to_owned);
    given.iter().map(|stop| one(stop).ok_or_else(|| fields.refused("stop", &message))).collect()
}

/// OpenAI's default temperature is 1.
fn sampling(fields: &Fields) -> Checked<Sampling> {
    let mut sampling = Sampling {
        temperature: Some(fields.number("temperature", 0.0, 2.0)?.unwrap_or(1.0)),
        top_k: fields.integer("top_k", -1, MOST)?.filter(|k| *k > 0).map(|k| k as u32),
        top_p: fields.number("top_p", 0.0, 1.0)?,
        min_p: fields.number("min_p", 0.0, 1.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
        repetition_penalty: fields.number("repetition_penalty", 0.01, 10.0)?,
        logit_bias: bias(fields)?,
        ..default()
    };
    if sampling.top_p == Some(0.0) {
        // the most probable token alone
        (sampling.top_p, sampling.temperature) = (None, Some(0.0));
    }
    Ok(sampling)
}

fn bias(fields: &Fields) -> Checked<Vec<(Token, f32)>> {
    let Some(given) = fields.get("logit_bias", &[Kind::Object])? else {
        return Ok(Vec::new());
    };
    let (members, named) = (given.as_object().into_iter().flat_map(Map::keys), Fields::new(given, "logit_bias")?);
    let count = given.as_object().map_or(0, Map::len);
    if count > MAX_BIASES {
        return Err(fields.refused("logit_bias", format!("'logit_bias' has {count} tokens, at most {MAX_BIASES}.")));
    }
    let one = |token: &String| match token.parse::<Token>() {
        Ok(id) if token.len() < 10 && token.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((id, named.number(token, -100.0, 100.0)?.unwrap_or(0.0)))
        }
        _ => {
            let short: String = token.chars().take(50).collect();
            let message = format!("'logit_bias' maps token ids to numbers; '{short}' is no token id.");
            Err(fields.refused("logit_bias", message))
        }
    };
    members.map(one).collect()
}

fn schema(fields: &Fields) -> Checked<Option<Value>> {
    if fields.any("response_format").is_none() {
        return Ok(None);
    }
    let form = fields.object("response_format", None)?;
    form.only(&[&["type", "json_schema"]])?;
    form.needed("type")?;
    match form.choice("type", &["text", "json_object", "json_schema"])? {
        Some("json_schema") => {}
        Some("json_object") => return Ok(Some(json!({"type": "object"}))),
        _ => return Ok(None),
    }
    let named = form.object("json_schema", None)?;
    named.only(&[&["name", "description", "schema", "strict"]])?;
    let schema = named.get("schema", &[Kind::Object])?;
    Ok(Some(schema.cloned().unwrap_or_else(|| json!({"type": "object"}))))
}

fn tool(tool: &Fields) -> Checked<Value> {
    tool.needed("type")?;
    tool.choice("type", &["function"])?;
    let function = tool.object("function", None)?;
    function.only(&[&["name", "description", "parameters", "strict"]])?;
    let name = function.needed("name")?;
    let fits = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    if !(1..=64).contains(&name.chars().count()) || !name.chars().all(fits) {
        let message = "a function's name has 1 to 64 letters, digits, '_', '-' and '.'.";
        return Err(function.refused("name", message));
    }
    let given = function.get("parameters", &[Kind::Object])?.filter(|given| *given != &json!({}));
    let parameters = given.cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    let description = function.text("description")?.unwrap_or_default();
    let function = json!({"name": name, "description": description, "parameters": parameters});
    Ok(json!({"type": "function", "function": function}))
}

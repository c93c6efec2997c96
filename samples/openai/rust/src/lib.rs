//! OpenAI's completions and chat completions as a compiled program: `symphony serve --openai openai.wasm`.
//!
//! The contract with the host, and what is served, is that of the program that ships (`lip.openai` of the Python SDK, whose
//! tests this passes too): chunks are emitted as lines of JSON, the result is `{"status": .., "body": ..}`.

mod ask;
mod calls;
mod choice;
mod fields;
mod logprobs;
mod messages;
mod wire;

use std::rc::Rc;

use lip::{
    json, models, try_join_all, usage, Constraint, Context, ErrorCode, JsonSpacing, Model, Result, Sampling, Value,
};

use ask::{Ask, Prompt};
use calls::{CallReader, Format};
use choice::Choice;
use fields::Refused;
use logprobs::Logprobs;
use wire::Wire;

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    route: String,
    request: Value,
}

impl Default for Args {
    fn default() -> Self {
        let hello = json!([{"role": "user", "content": "Hello!"}]);
        Self { route: "chat".into(), request: json!({"messages": hello, "max_tokens": 32, "temperature": 0}) }
    }
}

#[lip::main]
async fn openai(args: Args) -> Result<Value> {
    Ok(match answer(args.route == "chat", &args.request).await {
        Ok(body) => json!({"status": 200, "body": body}),
        Err(refused) => refused.answer(),
    })
}

async fn answer(chat: bool, request: &Value) -> Result<Value, Refused> {
    let ask = Ask::parse(chat, request)?;
    let model = wanted(ask.model.as_deref())?;
    let wire = Wire::new(&ask, &model.info.name);
    let mut prompts = prompts(&ask, &model)?;
    let calls = if ask.tools.is_empty() { None } else { calls::learn(&model, &ask.tools)? };
    let sampling = sampling(&ask, &model, calls.as_ref())?;
    let mut prompt_tokens = 0;
    for prompt in &mut prompts {
        prompt_tokens += fitting(prompt)?;
    }
    for index in 0..prompts.len() * ask.n {
        wire.begin(index)?;
    }
    if ask.n > 1 {
        // computed once, shared by all choices
        try_join_all(prompts.iter_mut().map(Context::flush)).await?;
    }
    let shared = usage().reused_tokens;
    let mut contexts = Vec::new();
    for prompt in prompts {
        for _ in 1..ask.n {
            contexts.push(prompt.fork()?);
        }
        contexts.push(prompt);
    }
    let write = |(index, context)| {
        let reader = calls.as_ref().map(|format| reader(format, &model));
        let logprobs = ask.logprobs.map(|_| Logprobs::new(model.clone()));
        let sampling = Sampling { seed: ask.seed_of(index % ask.n), ..sampling.clone() };
        let echoed = if ask.echo { text_of(&ask.prompts[index / ask.n], &model) } else { Ok(String::new()) };
        let choice = Choice::new(&wire, index, model.clone(), reader, logprobs);
        async move { choice.write(context, sampling, echoed?).await }
    };
    let written = try_join_all(contexts.into_iter().enumerate().map(write)).await?;
    let tokens: usize = written.iter().map(|(_, tokens)| tokens).sum();
    let reused = if ask.n > 1 { shared } else { usage().reused_tokens };
    let used = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": prompt_tokens as usize + tokens,
        "prompt_tokens_details": {"cached_tokens": reused.min(prompt_tokens)},
    });
    wire.usage(&used)?;
    let choices = written.into_iter().map(|(choice, _)| choice).collect();
    Ok(if ask.stream { Value::Null } else { wire.whole(choices, used) })
}

fn wanted(name: Option<&str>) -> Result<Rc<Model>, Refused> {
    let known: Vec<String> = models()?.into_iter().map(|info| info.name).collect();
    match name {
        Some(name) if !known.iter().any(|one| one == name) => {
            let listed: Vec<String> = known.iter().map(|one| format!("'{one}'")).collect();
            let short: String = name.chars().take(200).collect();
            let message = format!("The model '{short}' does not exist; there are {}.", listed.join(", "));
            Err(Refused::new(message, "model").code("model_not_found").status(404))
        }
        _ => Ok(Model::open(name)?),
    }
}

/// A context for each prompt, with nothing computed.
fn prompts(ask: &Ask, model: &Rc<Model>) -> Result<Vec<Context>, Refused> {
    if !ask.chat {
        let fed = |prompt: &Prompt| {
            let mut context = Context::on(model)?;
            match prompt {
                Prompt::Text(text) => context.feed(text),
                Prompt::Tokens(tokens) => context.feed(tokens),
            };
            Ok(context)
        };
        return ask.prompts.iter().map(fed).collect();
    }
    let mut context = Context::on(model)?;
    if !ask.tools.is_empty() {
        context.template("tools", &ask.tools);
    }
    for turn in &ask.messages {
        context.message_with(&turn.role, &turn.content, &turn.fields);
    }
    match context.assistant_start().len() {
        Err(error) if error.code == ErrorCode::Invalid => Err(Refused::new(format!("{}.", error.message), "messages")),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(vec![context]),
    }
}

/// The prompt's length, if there is room for more.
fn fitting(context: &mut Context) -> Result<u32, Refused> {
    let (length, limit) = (context.len()?, context.model().context_limit);
    if length < limit {
        return Ok(length);
    }
    let message = format!("This model's maximum context length is {limit} tokens, and the prompt has {length}.");
    Err(Refused::new(message, "messages").code("context_length_exceeded"))
}

/// What all choices share.
fn sampling(ask: &Ask, model: &Model, calls: Option<&Format>) -> Result<Sampling, Refused> {
    let most = model.info.context_limit;
    let constraint = if !ask.forced.is_empty() {
        let Some(format) = calls else {
            let message = "the model's chat template has no tool calls that could be required.";
            return Err(Refused::new(message, "tool_choice"));
        };
        let wanted: Vec<&Value> = ask.tools.iter().filter(|tool| ask.forced.contains(&calls::name_of(tool))).collect();
        let grammar = format.grammar(&wanted, ask.parallel);
        Some(allowed("tools", Constraint::grammar_on(model, &grammar))?)
    } else if let Some(schema) = &ask.schema {
        Some(allowed("response_format", Constraint::json_schema_on(model, schema, JsonSpacing::Spaced))?)
    } else {
        None
    };
    Ok(Sampling {
        max_tokens: ask.max_tokens.map_or(most, |tokens| tokens.min(most)),
        stop: ask.stop.clone(),
        logprobs: ask.logprobs,
        constraint,
        ..ask.sampling.clone()
    })
}

fn allowed(param: &str, made: Result<Constraint>) -> Result<Rc<Constraint>, Refused> {
    made.map(Constraint::shared).map_err(|error| match error.code {
        ErrorCode::Invalid | ErrorCode::LimitExceeded => {
            Refused::new(format!("Invalid schema: {}", error.message), param)
        }
        _ => error.into(),
    })
}

/// What tells calls from text, and the special token that announces them, if it is one.
fn reader(format: &Format, model: &Model) -> (CallReader, Option<u32>) {
    let marker = format.marker();
    let tokens = if marker.is_empty() { Vec::new() } else { model.encode(&marker, true).unwrap_or_default() };
    (CallReader::new(marker), if tokens.len() == 1 { Some(tokens[0]) } else { None })
}

fn text_of(prompt: &Prompt, model: &Model) -> Result<String> {
    match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Tokens(tokens) => model.decode(tokens),
    }
}

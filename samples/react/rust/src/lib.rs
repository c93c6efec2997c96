//! ReAct: the model thinks aloud, acts, reads what came of it, and thinks again, until it has the answer.
//!
//! Every turn is a thought and an action, in a form that a regular expression holds the model to: an action is one of the
//! tools on offer, or `finish`. The program calls the tool and says what it answered. The conversation stays in one KV
//! file, so that answer costs its own tokens; a client that sends everything again after each tool pays for all of it.

use lip::{default, emit, json, tool, tools, usage, Constraint, Context, Result, Sampling, Tool, Value};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    question: String,
    r#use: Vec<String>,
    max_steps: usize,
    max_tokens: u32,
}

impl Default for Args {
    fn default() -> Self {
        let question = "What is 12 plus the age of Nora Brandt?".into();
        Self { question, r#use: vec!["lookup".into(), "calc".into()], max_steps: 6, max_tokens: 80 }
    }
}

/// The name of the tool's first parameter.
fn parameter(tool: &Tool) -> Result<String> {
    let schema: Value = tool.schema.get().parse()?;
    Ok(schema["properties"].as_object().and_then(|properties| properties.keys().next()).cloned().unwrap_or_default())
}

/// Thought, action and argument; none where `max_tokens` cut them off.
fn parse(text: &str) -> Option<(&str, &str, &str)> {
    let (thought, act) = text.strip_prefix("Thought: ")?.split_once("\nAction: ")?;
    let (action, argument) = act.strip_suffix(']')?.split_once('[')?;
    Some((thought, action, argument))
}

async fn observe(action: &str, parameter: &str, argument: &str) -> String {
    match tool::<Value>(action, json!({ parameter: argument })).await {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(error) => error.message, // the model may know what to do about it
    }
}

#[lip::main]
async fn react(args: Args) -> Result<Value> {
    let mut offered = Vec::new();
    for tool in tools()?.iter().filter(|tool| args.r#use.contains(&tool.name)) {
        offered.push((tool.name.clone(), parameter(tool)?));
    }
    let usual: Vec<String> = offered.iter().map(|(name, parameter)| format!("{name}[{parameter}]")).collect();
    let names: Vec<&str> = offered.iter().map(|(name, _)| name.as_str()).chain(["finish"]).collect();
    let form = format!(r"Thought: [^\n]{{1,80}}\nAction: ({})\[[^\[\]\n]{{1,60}}\]", names.join("|"));
    let form = Constraint::regex(&form)?.shared();
    let (mut steps, mut answer, mut resent) = (Vec::new(), None, 0);

    let mut ctx = Context::new()?;
    let tools = usual.join(", ");
    ctx.user(format!("Answer the question with the tools {tools} and finish[answer].\nQuestion: {}", args.question));
    while steps.len() < args.max_steps {
        let sampling = Sampling { max_tokens: args.max_tokens, constraint: Some(form.clone()), ..default() };
        let out = ctx.generate(sampling).await?;
        resent += ctx.len()?;
        let Some((thought, action, argument)) = parse(&out.text) else { break };
        emit(format!("{}\n", out.text))?;
        if action == "finish" {
            answer = Some(argument.to_owned());
            break;
        }
        let parameter = offered.iter().find(|(name, _)| name == action).map_or("", |(_, parameter)| parameter);
        let observation = observe(action, parameter, argument).await;
        emit(format!("Observation: {observation}\n"))?;
        let did = format!("{action}[{argument}]");
        steps.push(json!({ "thought": thought, "action": did, "observation": observation }));
        ctx.user(format!("Observation: {observation}"));
    }

    let used = usage();
    let computed = used.prompt_tokens + used.generated_tokens;
    emit(format!("{computed} tokens computed; sending the conversation again at every step, {resent}\n"))?;
    Ok(json!({ "answer": answer, "steps": steps, "tokens": computed, "tokens_resent": resent }))
}

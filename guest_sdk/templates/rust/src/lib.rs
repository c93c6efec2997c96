//! An agent: the model asks for tools, the program calls them and hands back what they say, until the model answers.

use lip::{default, json, tool, tools, Context, Result, Sampling, Value};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    question: String,
    rounds: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { question: "What is the weather in Paris?".into(), rounds: 4 }
    }
}

#[lip::main]
async fn app(args: Args) -> Result<String> {
    let offered = tools()?;
    let mut ctx = Context::new()?;
    ctx.template("tools", offered.iter().map(|one| one.as_function()).collect::<Vec<_>>()).user(args.question);
    for _ in 0..args.rounds {
        let reply = ctx.generate(Sampling { max_tokens: 256, ..default() }).await?;
        let calls = calls(&reply.text);
        if calls.is_empty() {
            return Ok(reply.text);
        }
        for call in calls {
            ctx.message("tool", answer(call).await);
        }
    }
    Ok(format!("No answer after {} rounds of tools.", args.rounds))
}

/// What the model asks for.
#[derive(Debug, Deserialize, PartialEq)]
struct Call {
    name: String,
    arguments: Value,
}

/// The calls in a reply, or what is wrong with one. Other models than the one that ships have other words for them.
fn calls(reply: &str) -> Vec<std::result::Result<Call, String>> {
    let parts = reply.split("<tool_call>").skip(1);
    parts
        .filter_map(|part| part.split_once("</tool_call>"))
        .map(|(call, _)| serde_json::from_str(call).map_err(|error| error.to_string()))
        .collect()
}

/// What a tool said, as JSON. The model's mistakes come back to it, so that it can do better.
async fn answer(call: std::result::Result<Call, String>) -> String {
    let result = match call {
        Ok(call) => tool::<Value>(&call.name, call.arguments).await.map_err(|error| error.to_string()),
        Err(mistake) => Err(mistake),
    };
    result.unwrap_or_else(|error| json!({ "error": error })).to_string()
}

/// `cargo test --release` runs these on your machine: there is no model in them. `test_app.py` runs the whole program.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_without_calls_is_the_answer() {
        assert!(calls("It is clear in Paris.").is_empty());
    }

    #[test]
    fn calls_are_found_in_order() {
        let reply = concat!(
            r#"<tool_call>{"name": "a", "arguments": {"x": 1}}</tool_call> and "#,
            r#"<tool_call>{"name": "b", "arguments": {}}</tool_call>"#
        );
        let found: Vec<Call> = calls(reply).into_iter().map(|call| call.unwrap()).collect();
        assert_eq!(found[0], Call { name: "a".into(), arguments: json!({ "x": 1 }) });
        assert_eq!(found[1].name, "b");
    }

    #[test]
    fn what_is_not_json_is_a_mistake_that_the_model_hears_of() {
        assert!(calls("<tool_call>get the weather</tool_call>")[0].is_err());
    }
}

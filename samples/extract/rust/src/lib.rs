//! JSON extraction: from text to a value that fits a schema, every time.
//!
//! The schema goes along with the generation. A token that would leave it is never drawn, and what it forces anyway
//! (braces, keys, quotes) is appended without asking the model: fewer forward passes than tokens. Beside it, for
//! comparison, the same question without a schema.

use lip::{default, emit, json, usage, Constraint, Context, Error, ErrorCode, Result, Sampling, Value};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    text: String,
    schema: Value,
}

impl Default for Args {
    fn default() -> Self {
        let person = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string", "maxLength": 40 },
                "age": { "type": "integer", "minimum": 0, "maximum": 150 },
                "city": { "type": "string", "maxLength": 40 },
            },
            "required": ["name", "age", "city"],
            "additionalProperties": false,
        });
        Self { text: "Nora Brandt is 34 years old and lives in Lisbon.".into(), schema: person }
    }
}

#[lip::main]
async fn extract(args: Args) -> Result<Value> {
    let properties = args.schema["properties"].as_object();
    let properties = properties.ok_or_else(|| Error::new(ErrorCode::Invalid, "the schema has no properties", ""))?;
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let mut ctx = Context::new()?;
    ctx.user(format!("Extract {} as JSON.\n{}", names.join(", "), args.text)).assistant_start().flush().await?;
    let mut free = ctx.fork()?;
    let limited = Sampling { max_tokens: 200, ..default() };

    let start = usage().forwards;
    let rule = Some(Constraint::json_schema(&args.schema)?.shared());
    let out = ctx.generate(Sampling { constraint: rule, ..limited.clone() }).await?;
    let middle = usage().forwards;
    let plain = free.generate(limited).await?;
    let end = usage().forwards;

    let (tokens, forwards) = (out.tokens.len(), middle - start);
    emit(format!("with the schema: {tokens} tokens in {forwards} forward passes\n"))?;
    emit(format!("without:         {} tokens in {}, {:?}\n", plain.tokens.len(), end - middle, plain.text))?;
    Ok(json!({ "value": out.json::<Value>()?, "tokens": tokens, "forwards": forwards }))
}

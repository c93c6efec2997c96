//! Completion: one chat turn, streamed to the client as it is generated.

use lip::{default, emit, Context, Result, Sampling};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: String,
    max_tokens: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: "Hello, who are you?".into(), max_tokens: 48 }
    }
}

#[lip::main]
async fn completion(args: Args) -> Result<String> {
    let mut ctx = Context::new()?;
    ctx.user(args.prompt);
    let mut stream = ctx.stream(Sampling { max_tokens: args.max_tokens, ..default() })?;
    let mut text = String::new();
    while let Some(chunk) = stream.next().await? {
        emit(&chunk.text)?;
        text += &chunk.text;
    }
    Ok(text)
}

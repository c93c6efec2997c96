//! Branches: one prompt computed once, then n continuations in parallel from copy-on-write forks of it.

use lip::{default, join_all, Context, Result, Sampling};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: String,
    n: usize,
    max_tokens: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: "Tell me about the fox.".into(), n: 3, max_tokens: 24 }
    }
}

async fn branch(ctx: &Context, i: usize, max_tokens: u32) -> Result<String> {
    let mut child = ctx.fork()?;
    child.feed(format!("({i}) "));
    Ok(child.generate(Sampling { max_tokens, ..default() }).await?.text)
}

#[lip::main]
async fn branches(args: Args) -> Result<Vec<String>> {
    let mut ctx = Context::new()?;
    ctx.user(args.prompt);
    ctx.flush().await?;
    let children = (0..args.n).map(|i| branch(&ctx, i, args.max_tokens));
    join_all(children).await.into_iter().collect()
}

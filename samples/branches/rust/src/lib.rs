//! Branches: one prompt computed once, then n continuations in parallel from copy-on-write forks of it.
//!
//! `try_join_all` starts them together and joins them at the end; meanwhile they share the steps of the model, a row each.

use lip::{default, emit, try_join_all, usage, Context, Result, Sampling};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: String,
    n: u32,
    max_tokens: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: "Tell a story about Nora the fox.".into(), n: 3, max_tokens: 24 }
    }
}

async fn branch(ctx: &Context, seed: u32, max_tokens: u32) -> Result<String> {
    let sampling = Sampling { max_tokens, temperature: Some(1.0), seed: Some(seed.into()), ..default() };
    Ok(ctx.fork()?.generate(sampling).await?.text)
}

#[lip::main]
async fn branches(args: Args) -> Result<Vec<String>> {
    let mut ctx = Context::new()?;
    ctx.user(args.prompt).assistant_start().flush().await?;
    let texts = try_join_all((0..args.n).map(|seed| branch(&ctx, seed, args.max_tokens))).await?;
    let (cost, length) = (usage(), ctx.len()?);
    emit(format!("{} tokens in {} forward passes; ", cost.generated_tokens, cost.forwards))?;
    emit(format!("{length} prompt tokens for all, {} requests on their own have {}\n", args.n, args.n * length))?;
    Ok(texts)
}

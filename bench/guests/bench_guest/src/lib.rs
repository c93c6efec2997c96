//! The guest of the benchmarks: chooses `n` tokens by hand, has the host write them, or makes `n` calls that do nothing.

use lip::{pid, Context, Readings, Result, Sampling, Token};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: Vec<Token>,
    n: usize,
    syscalls: bool,
    generate: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: vec![98, 101, 110, 99, 104], n: 1, syscalls: false, generate: false }
    }
}

#[lip::main]
async fn guest(args: Args) -> Result<Vec<Token>> {
    if args.syscalls {
        for _ in 0..args.n {
            pid();
        }
        return Ok(vec![]);
    }
    let mut ctx = Context::new()?;
    if args.generate {
        ctx.feed(args.prompt);
        let sampling = Sampling { max_tokens: args.n as u32, stop_tokens: Some(vec![]), ..lip::default() };
        return Ok(ctx.generate(sampling).await?.tokens);
    }
    let mut tokens = Vec::with_capacity(args.n);
    let mut dist = ctx.pred(args.prompt, Readings { top_k: Some(1), ..lip::default() }).await?;
    loop {
        tokens.push(dist.argmax()?);
        if tokens.len() >= args.n {
            return Ok(tokens);
        }
        dist = ctx.pred(tokens[tokens.len() - 1], Readings { top_k: Some(1), ..lip::default() }).await?;
    }
}

//! The guest of the benchmarks: chooses `n` tokens by hand, or makes `n` calls that do nothing.

use lip::{pid, Context, Readings, Result, Token};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: Vec<Token>,
    n: usize,
    syscalls: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: vec![98, 101, 110, 99, 104], n: 1, syscalls: false }
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

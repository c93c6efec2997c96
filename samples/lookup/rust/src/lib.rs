//! Prompt lookup: much of what a model writes stands in its text already, so what followed last time is a good guess.
//!
//! The guesses are verified together, in one step of the model: those that it would have written itself stand, the others
//! are forgotten. The text is that of a plain run, to the token. The host has this built in (`draft: Some(..)`); beside it
//! stands the same technique as a loop of the program's own, over `ctx.verify`.

use lip::{default, emit, json, usage, Context, Draft, Result, Sampling, Token, Value};

const TEXT: &str = "Write to nora.brandt@example.com. We went to Lisbon. Write to support@example.org. \
                    The code is B4411. Write to ben.okafor@mail.net.";

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: String,
    max_tokens: u32,
    ngram: u32,
    guesses: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: format!("List all emails in the text.\n{TEXT}"), max_tokens: 96, ngram: 3, guesses: 8 }
    }
}

/// What followed the last time that the last `ngram` tokens stood in the text, or fewer of them if need be.
fn guess(text: &[Token], ngram: usize, count: usize) -> &[Token] {
    for n in (1..=ngram.min(text.len() - 1)).rev() {
        let (before, last) = text.split_at(text.len() - n);
        if let Some(at) = (0..before.len()).rev().find(|&at| text[at..].starts_with(last)) {
            return &text[at + n..text.len().min(at + n + count)];
        }
    }
    &[]
}

/// Greedy generation, several tokens a step.
async fn by_hand(mut ctx: Context, max_tokens: usize, ngram: usize, guesses: usize) -> Result<Vec<Token>> {
    let stops = ctx.model().stop_tokens.clone();
    let length = ctx.len()?;
    let mut text = ctx.tokens(0, length)?;
    let prompt = text.len();
    let mut last = ctx.pred((), default()).await?.argmax()?;
    text.push(last);
    while !stops.contains(&last) && text.len() - prompt < max_tokens {
        let room = max_tokens - (text.len() - prompt) - 1;
        let drafted = [&[last], guess(&text, ngram, guesses.min(room))].concat();
        for token in ctx.verify(&drafted, None).await? {
            last = token;
            text.push(token);
            if stops.contains(&token) {
                break;
            }
        }
    }
    Ok(text.split_off(prompt))
}

#[lip::main]
async fn lookup(args: Args) -> Result<Value> {
    let Args { prompt, max_tokens, ngram, guesses } = args;
    let mut ctx = Context::new()?;
    ctx.user(prompt).assistant_start().flush().await?;
    let sampling = Sampling { max_tokens, ..default() };
    let drafted = Sampling { draft: Some(Draft { tokens: guesses, ngram }), ..sampling.clone() };
    let mut marks = vec![usage().forwards];
    let plain = ctx.fork()?.generate(sampling).await?;
    marks.push(usage().forwards);
    let built_in = ctx.fork()?.generate(drafted).await?;
    marks.push(usage().forwards);
    let own = by_hand(ctx.fork()?, max_tokens as usize, ngram as usize, guesses as usize).await?;
    marks.push(usage().forwards);

    emit(format!("{}\n\n", plain.text))?;
    let costs: Vec<u32> = marks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (name, forwards) in ["one token a step", "draft=Draft(...)", "a loop over verify"].iter().zip(&costs) {
        emit(format!("{name:20} {} tokens in {forwards} forward passes\n", plain.tokens.len()))?;
    }
    let same = built_in.tokens == plain.tokens && plain.tokens == own;
    Ok(json!({ "text": plain.text, "same": same, "tokens": plain.tokens.len(), "forwards": costs }))
}

//! Beam search: follow the `width` most probable texts at once, instead of the most probable next token.
//!
//! A beam is a copy-on-write fork and the text that it has written. All of them go on by one token in one `pred_all`: a
//! level of the search is one step of the model. What ends with a stop token is set aside, and the search is over when
//! `width` texts have ended.

use lip::{decode, default, emit, json, pred_all, usage, Context, Distribution, Readings, Result, Token, Value};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    prompt: String,
    width: usize,
    depth: usize,
    /// Longer texts are less probable. 0 leaves it at that, 1 compares by the mean of a token.
    penalty: f64,
}

impl Default for Args {
    fn default() -> Self {
        Self { prompt: "Tell a story about Nora the fox.".into(), width: 4, depth: 24, penalty: 0.7 }
    }
}

#[derive(Default)]
struct Text {
    tokens: Vec<Token>,
    score: f64, // log-probability of the tokens
}

impl Text {
    fn ways(&self, dist: &Distribution) -> Vec<Text> {
        let likely = dist.top().into_iter().filter(|(_, p)| *p > 0.0);
        let way = |(token, p): (Token, f64)| Text {
            tokens: [&self.tokens[..], &[token]].concat(),
            score: self.score + p.ln(),
        };
        likely.map(way).collect()
    }

    fn ended(&self, stops: &[Token]) -> bool {
        self.tokens.last().is_some_and(|token| stops.contains(token))
    }
}

struct Beam {
    ctx: Context, // what is computed: the prompt, and all tokens but the last
    text: Text,
}

/// The texts that have ended, and those that had to stop after `depth` tokens.
async fn search(root: &Context, width: usize, depth: usize) -> Result<Vec<Text>> {
    let stops = &root.model().stop_tokens;
    let mut ended = Vec::new();
    let mut beams = vec![Beam { ctx: root.fork()?, text: Text::default() }];
    for _ in 0..depth {
        let rows = beams.iter_mut().map(|beam| (&mut beam.ctx, beam.text.tokens.last().copied()));
        let dists = pred_all(rows, Readings { top_k: Some(width as u32), ..default() }).await?;
        let grown = beams.iter().zip(&dists).map(|(beam, dist)| (beam, beam.text.ways(dist)));
        let mut ways: Vec<_> =
            grown.flat_map(|(beam, texts)| texts.into_iter().map(move |text| (beam, text))).collect();
        ways.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        let mut next = Vec::new();
        for (parent, text) in ways.into_iter().take(width) {
            if text.ended(stops) {
                ended.push(text);
            } else {
                next.push(Beam { ctx: parent.ctx.fork()?, text });
            }
        }
        beams = next;
        if ended.len() >= width || beams.is_empty() {
            break;
        }
    }
    ended.extend(beams.into_iter().map(|beam| beam.text));
    Ok(ended)
}

#[lip::main]
async fn beam(args: Args) -> Result<Vec<Value>> {
    let mut root = Context::new()?;
    root.user(args.prompt).assistant_start();
    let mut found = search(&root, args.width, args.depth).await?;
    let rank = |text: &Text| -text.score / (text.tokens.len() as f64).powf(args.penalty);
    found.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
    let levels = found.iter().map(|text| text.tokens.len()).max().unwrap_or(0);
    found.truncate(args.width);
    let mut results = Vec::new();
    for Text { tokens, score } in found {
        let shown: Vec<Token> =
            tokens.iter().copied().filter(|token| !root.model().stop_tokens.contains(token)).collect();
        let text = decode(&shown)?;
        emit(format!("{score:8.3}  {text}\n"))?;
        results.push(json!({ "text": text, "score": (score * 1000.0).round() / 1000.0, "tokens": tokens }));
    }

    let (cost, length, width) = (usage(), root.len()? as usize, args.width);
    let each = 1 + width * (levels - 1);
    let read = length + width * (1..levels).map(|level| length + level).sum::<usize>();
    let computed = cost.prompt_tokens + cost.reused_tokens;
    emit(format!("{levels} levels: {} forward passes, {computed} tokens read\n", cost.forwards))?;
    emit(format!("one request a beam and level, each with its whole text: {each} passes, {read} tokens\n"))?;
    Ok(results)
}

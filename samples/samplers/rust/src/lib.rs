//! Samplers: the program reads the distribution and draws by rules of its own, seven of them, each a small function.
//!
//! A rule looks at the most probable tokens and says what weight each has in the draw. Adding one of yours means adding a
//! function: neither the engine nor the host has to know it. All texts go on by one token in one `pred_all`.

use lip::{decode, default, emit, json, pred_all, usage, Context, Readings, Result, Token, Value};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    start: String,
    seed: u64,
    length: u32,
    candidates: u32,
}

impl Default for Args {
    fn default() -> Self {
        Self { start: "<|im_start|>user\nRead this text.\n".into(), seed: 1, length: 32, candidates: 128 }
    }
}

/// Tokens with their probabilities, or weights.
type Ranked = Vec<(Token, f64)>;

struct Now<'a> {
    ranked: &'a [(Token, f64)], // best first
    entropy: f64,               // of the whole distribution, in nats
    surprise: Option<f64>,      // of the token drawn last
}

type Rule = Box<dyn FnMut(&Now<'_>) -> Ranked>;

/// Sharper below 1, flatter above.
fn temperature(value: f64) -> Rule {
    Box::new(move |now: &Now<'_>| now.ranked.iter().map(|&(token, p)| (token, p.powf(1.0 / value))).collect())
}

/// The k most probable (Fan et al. 2018).
fn top_k(k: usize) -> Rule {
    Box::new(move |now: &Now<'_>| now.ranked.iter().copied().take(k).collect())
}

/// The fewest that have this much of the probability (Holtzman et al. 2020).
fn top_p(mass: f64) -> Rule {
    Box::new(move |now: &Now<'_>| fewest(now.ranked, mass))
}

/// What has at least this share of the best one's probability (Nguyen et al. 2024).
fn min_p(share: f64) -> Rule {
    Box::new(move |now: &Now<'_>| above(now.ranked, share * now.ranked[0].1))
}

/// What is above a floor that sinks where the model is unsure (Hewitt et al. 2022).
fn eta(epsilon: f64) -> Rule {
    Box::new(move |now: &Now<'_>| above(now.ranked, epsilon.min(epsilon.sqrt() * (-now.entropy).exp())))
}

/// Those whose surprise is nearest to the expected one, as few as have this mass (Meister et al. 2023).
fn typical(mass: f64) -> Rule {
    Box::new(move |now: &Now<'_>| {
        let distance = |p: f64| (-p.ln() - now.entropy).abs();
        let mut ranked = now.ranked.to_vec();
        ranked.sort_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
        fewest(&ranked, mass)
    })
}

/// Keeps the surprise of what is drawn near `target`: a rule with a memory (Basu et al. 2021, version 2).
fn mirostat(target: f64, rate: f64) -> Rule {
    let mut limit = 2.0 * target;
    Box::new(move |now: &Now<'_>| {
        limit -= now.surprise.map_or(0.0, |surprise| rate * (surprise - target));
        above(now.ranked, (-limit).exp())
    })
}

fn fewest(ranked: &[(Token, f64)], mass: f64) -> Ranked {
    let mut before = 0.0;
    let within = ranked.iter().take_while(|(_, p)| {
        let enough = before >= mass;
        before += p;
        !enough
    });
    within.copied().collect()
}

fn above(ranked: &[(Token, f64)], floor: f64) -> Ranked {
    let found: Ranked = ranked.iter().copied().filter(|(_, p)| *p >= floor).collect();
    if found.is_empty() {
        vec![ranked[0]]
    } else {
        found
    }
}

/// One rule and what it has written.
struct Text {
    ctx: Context,
    rule: Rule,
    seed: u64,
    tokens: Vec<Token>,
    surprises: Vec<f64>,
}

impl Text {
    fn draw(&mut self, ranked: &[(Token, f64)], entropy: f64) {
        let weights = (self.rule)(&Now { ranked, entropy, surprise: self.surprises.last().copied() });
        let point = self.roll() * weights.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut end = 0.0;
        let drawn = weights.iter().find(|(_, weight)| {
            end += weight;
            point < end
        });
        let token = drawn.unwrap_or(&weights[weights.len() - 1]).0;
        self.tokens.push(token);
        self.surprises.extend(ranked.iter().find(|(id, _)| *id == token).map(|(_, p)| -p.ln()));
    }

    /// The next number in [0, 1), the same in every language: splitmix64 (Steele et al. 2014).
    fn roll(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn suite() -> [(&'static str, Rule); 7] {
    [
        ("temperature 1.5", temperature(1.5)),
        ("top-k 5", top_k(5)),
        ("top-p 0.8", top_p(0.8)),
        ("min-p 0.1", min_p(0.1)),
        ("eta 0.01", eta(0.01)),
        ("typical 0.8", typical(0.8)),
        ("mirostat 2.0", mirostat(2.0, 0.1)),
    ]
}

#[lip::main]
async fn samplers(args: Args) -> Result<Value> {
    let mut ctx = Context::new()?;
    ctx.feed_special(args.start);
    let (mut names, mut texts) = (Vec::new(), Vec::new());
    for (name, rule) in suite() {
        names.push(name);
        texts.push(Text { ctx: ctx.fork()?, rule, seed: args.seed, tokens: Vec::new(), surprises: Vec::new() });
    }
    for _ in 0..args.length {
        let rows = texts.iter_mut().map(|text| (&mut text.ctx, text.tokens.last().copied()));
        let dists = pred_all(rows, Readings { top_k: Some(args.candidates), entropy: true, ..default() }).await?;
        for (text, dist) in texts.iter_mut().zip(&dists) {
            let ranked: Ranked = dist.top().into_iter().filter(|(_, p)| *p > 0.0).collect();
            text.draw(&ranked, dist.entropy()?);
        }
    }

    let mut found = json!({});
    for (name, Text { tokens, surprises, .. }) in names.into_iter().zip(&texts) {
        let mean = surprises.iter().sum::<f64>() / f64::from(args.length);
        let (text, surprise) = (decode(tokens)?, (mean * 100.0).round() / 100.0);
        emit(format!("{name:15} {surprise:.2} nats a token  {text:?}\n"))?;
        found[name] = json!({ "text": text, "tokens": tokens, "surprise": surprise });
    }
    emit(format!("{} tokens in {} forward passes\n", texts.len() as u32 * args.length, usage().forwards))?;
    Ok(found)
}

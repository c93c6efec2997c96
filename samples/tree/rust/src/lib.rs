//! Tree of thought: the model proposes steps, judges where each leads, and the program keeps the most promising.
//!
//! The puzzle: reach the target from all the numbers, one step at a time. The program knows the rules, so every step drawn
//! is legal and its sum is right; the model knows, more or less, which are promising. A branch of the tree is a fork of its
//! parent's KV file. All branches of a level draw side by side, and one step of the model judges them all.

use std::cell::RefCell;

use lip::{
    default, emit, encode, json, pred_all, try_join_all, usage, Constraint, Context, Error, ErrorCode, Readings,
    Result, Sampling, Value,
};

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Args {
    numbers: Vec<i64>,
    target: i64,
    draws: u64,
    width: usize,
}

impl Default for Args {
    fn default() -> Self {
        Self { numbers: vec![1, 5, 6, 9], target: 24, draws: 6, width: 4 }
    }
}

/// A branch: the file in which the model read how it came there, the numbers left, the steps.
struct State {
    ctx: Context,
    numbers: Vec<i64>,
    steps: Vec<String>,
}

/// What each call would cost by itself, in tokens.
type Alone = RefCell<Vec<u32>>;

fn spaced(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

/// Every legal step, as the model writes it, with the numbers after it.
fn moves(numbers: &[i64]) -> Vec<(String, Vec<i64>)> {
    let mut found: Vec<(String, Vec<i64>)> = Vec::new();
    for i in 0..numbers.len() {
        for j in i + 1..numbers.len() {
            let (x, y) = (numbers[i].max(numbers[j]), numbers[i].min(numbers[j]));
            let rest = (0..numbers.len()).filter(|k| *k != i && *k != j).map(|k| numbers[k]);
            for (sign, value) in [('+', x + y), ('-', x - y), ('*', x * y)] {
                let left: Vec<i64> = std::iter::once(value).chain(rest.clone()).collect();
                let text = format!("{x} {sign} {y} = {value} (left: {})", spaced(&left));
                if found.iter().all(|(known, _)| *known != text) {
                    found.push((text, left));
                }
            }
        }
    }
    found
}

/// The steps that the model draws here, each once, as new branches.
async fn propose(state: &mut State, draws: u64, alone: &Alone) -> Result<Vec<State>> {
    let legal = moves(&state.numbers);
    state.ctx.user(format!("Numbers: {}\nPropose a step.", spaced(&state.numbers)));
    state.ctx.assistant_start().flush().await?; // computed once, shared by all draws

    let rule = Constraint::choice(&legal.iter().map(|(text, _)| text).collect::<Vec<_>>())?.shared();
    let (parent, rule) = (&state.ctx, &rule);
    let draw = |seed| async move {
        let mut fork = parent.fork()?;
        let (constraint, seed) = (Some(rule.clone()), Some(seed));
        let sampling = Sampling { max_tokens: 100, temperature: Some(1.0), seed, constraint, ..default() };
        let text = fork.generate(sampling).await?.text;
        let length = fork.len()?;
        alone.borrow_mut().push(length);
        Ok::<_, Error>((text, fork))
    };
    let mut children: Vec<(String, State)> = Vec::new();
    for (text, ctx) in try_join_all((0..draws).map(draw)).await? {
        if let Some((_, child)) = children.iter_mut().find(|(known, _)| *known == text) {
            child.ctx = ctx;
            continue;
        }
        let Some((_, left)) = legal.iter().find(|(known, _)| *known == text) else {
            return Err(Error::new(ErrorCode::Invalid, format!("not a whole step: {text}"), ""));
        };
        let step = text.split(" (").next().unwrap_or_default().to_owned();
        let steps = [&state.steps[..], &[step]].concat();
        children.push((text, State { ctx, numbers: left.clone(), steps }));
    }
    Ok(children.into_iter().map(|(_, child)| child).collect())
}

/// How much more probable than "no" the model finds "yes", in nats, for each state.
async fn judge(states: &[State], target: i64, alone: &Alone) -> Result<Vec<f64>> {
    let mut forks = Vec::new();
    for state in states {
        let mut fork = state.ctx.fork()?;
        fork.user(format!("Numbers: {}\nTarget: {target}\nCan one step reach it?", spaced(&state.numbers)));
        forks.push(fork);
    }
    let (yes, no) = (encode("yes")?[0], encode("no")?[0]);
    let readings = Readings { logprobs: vec![yes, no], ..default() };
    let dists = pred_all(forks.iter_mut().map(|fork| (fork, ())), readings).await?;
    for fork in &mut forks {
        alone.borrow_mut().push(fork.len()?);
    }
    dists.iter().map(|dist| Ok(dist.logprob(yes)? - dist.logprob(no)?)).collect()
}

#[lip::main]
async fn tree(args: Args) -> Result<Value> {
    let Args { numbers, target, draws, width } = args;
    let mut level = vec![State { ctx: Context::new()?, numbers, steps: Vec::new() }];
    let alone = Alone::default();
    let mut states = 0;
    while level[0].numbers.len() > 1 {
        let families = try_join_all(level.iter_mut().map(|state| propose(state, draws, &alone))).await?;
        let grown: Vec<State> = families.into_iter().flatten().collect();
        states += grown.len();
        let values = if grown[0].numbers.len() > 1 {
            judge(&grown, target, &alone).await?
        } else {
            grown.iter().map(|state| if state.numbers == [target] { 1.0 } else { 0.0 }).collect()
        };
        let mut ranked: Vec<(f64, State)> = values.into_iter().zip(grown).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(width);
        for (value, State { numbers, steps, .. }) in &ranked {
            let (indent, step) = ("    ".repeat(steps.len() - 1), &steps[steps.len() - 1]);
            emit(format!("{indent}{step:<12} {numbers:?} {value:+.1}\n"))?;
        }
        level = ranked.into_iter().map(|(_, state)| state).collect();
    }
    let (used, alone) = (usage(), alone.take());
    let (tokens, apart) = (used.prompt_tokens + used.generated_tokens, alone.iter().sum::<u32>());
    emit(format!("{states} states: {tokens} tokens in {} forwards; ", used.forwards))?;
    emit(format!("{} calls alone: {apart} tokens\n", alone.len()))?;
    Ok(json!({
        "solved": level[0].numbers == [target],
        "steps": level[0].steps,
        "states": states,
        "forwards": used.forwards,
        "tokens": tokens,
        "tokens_alone": apart,
    }))
}

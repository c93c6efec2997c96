//! Several contexts a step, several guesses a step, and tokens that do not see everything before them.

use std::rc::Rc;

use crate::bindings::symphony::lip::infer;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::{alone, ready};
use crate::input::Input;
use crate::model::Token;
use crate::predict::nothing;
use crate::sampling::{Distribution, Readings};

/// A distribution that more can be asked about (`ask`), however its file changes; dropping it forgets it. At most 256.
pub use infer::KeptRow;

/// How tokens are computed where not as usual. What is computed so, and what follows, is not what the same text would
/// give: `stat().plain` says how much still is.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// What they see: everything (no list), the same for all (one), or a list for each. A list holds ranges
    /// `[start, end)` of entries, of the new tokens too, ascending. A token always sees itself, never what comes after it.
    pub masks: Vec<Vec<(u32, u32)>>,
    /// Where each of them is; else each follows the one before it.
    pub positions: Option<Vec<u32>>,
}

/// `pred` for each of several contexts, in one step where they fit; the same is asked of all. Beam and tree search take a
/// step a level with it, at about the price of one call.
///
/// `pred_all(beams.iter_mut().map(|beam| (&mut beam.ctx, beam.token)), readings)`. All of them start or none. Where some fail after that, the first error is returned, and the others hold their tokens.
/// Errors: those of `pred`.
pub async fn pred_all<'c, 't, I: Into<Input<'t>>>(
    parts: impl IntoIterator<Item = (&'c mut Context, I)>,
    readings: Readings,
) -> Result<Vec<Distribution>> {
    let (mut contexts, mut tokens) = (Vec::new(), Vec::new());
    for (context, new) in parts {
        let new = context.prepare(new.into())?;
        tokens.push([&context.buffer[..], &new].concat());
        contexts.push(context);
    }
    let wishes = contexts.iter().zip(tokens).map(|(context, tokens)| infer::Part {
        file: &context.file,
        tokens,
        outputs: infer::Outputs::Last,
        positions: None,
        masks: Vec::new(),
        keep: false,
    });
    let answers = predict(&wishes.collect::<Vec<_>>(), &readings.record()).await?;
    for (context, answer) in contexts.iter_mut().zip(&answers) {
        if answer.is_ok() {
            context.buffer.clear();
        }
    }
    let one = |mut answer: Vec<infer::Distribution>| answer.pop().ok_or_else(nothing);
    let found = answers.into_iter().map(|answer| Ok(Distribution::new(answer.and_then(one)?, &readings.logprobs)));
    found.collect()
}

impl Context {
    /// Append `tokens`, placed as told: the distribution after each of them. What is buffered is computed first, as usual.
    pub async fn pred_placed<'a>(
        &mut self,
        tokens: impl Into<Input<'a>>,
        placement: Placement,
        readings: Readings,
    ) -> Result<Vec<Distribution>> {
        let tokens = self.prepare(tokens.into())?;
        self.flush().await?;
        let total = self.file.length() + tokens.len() as u32;
        let masks = placement.masks.iter().map(|visible| runs(visible, total)).collect::<Result<_>>()?;
        let outputs = infer::Outputs::Every;
        let part =
            infer::Part { file: &self.file, tokens, outputs, positions: placement.positions, masks, keep: false };
        let mut answers = predict(&[part], &readings.record()).await?;
        let answer = answers.pop().ok_or_else(nothing)??;
        Ok(answer.into_iter().map(|raw| Distribution::new(raw, &readings.logprobs)).collect())
    }

    /// Append `tokens`: the distribution after each of them, and what it takes to ask more about it later.
    pub async fn pred_kept<'a>(
        &mut self,
        tokens: impl Into<Input<'a>>,
        readings: Readings,
    ) -> Result<Vec<(Distribution, KeptRow)>> {
        let tokens = self.prepare(tokens.into())?;
        self.flush().await?;
        let (outputs, positions, masks) = (infer::Outputs::Every, None, Vec::new());
        let part = infer::Part { file: &self.file, tokens, outputs, positions, masks, keep: true };
        let (mut answers, rows) = wait(infer::pred_all(&[part], &readings.record())?).await;
        let answer = answers.pop().ok_or_else(nothing)??;
        let found = answer.into_iter().map(|raw| Distribution::new(raw, &readings.logprobs));
        Ok(found.zip(rows).collect())
    }

    /// Append a tree of tokens: the distribution after each, in one step, as separate forks would give it.
    ///
    /// `parents[i]` is the index of the token that token i follows, or none for the end of the context; parents come
    /// first. Go on with one branch by `extract`, or `truncate`.
    pub async fn pred_tree(
        &mut self,
        tokens: &[Token],
        parents: &[Option<usize>],
        readings: Readings,
    ) -> Result<Vec<Distribution>> {
        self.flush().await?;
        let (length, first) = (self.file.length(), self.file.stat().next_position);
        let mut paths: Vec<Vec<u32>> = Vec::new();
        for (index, parent) in parents.iter().enumerate() {
            let mut path = match parent {
                Some(parent) if *parent < index => paths[*parent].clone(),
                Some(parent) => return Err(invalid(format!("parents[{index}] is {parent}, which comes later"))),
                None => Vec::new(),
            };
            path.push(index as u32);
            paths.push(path);
        }
        let shown = |path: &Vec<u32>| {
            let own = path.iter().map(|i| (length + i, length + i + 1));
            std::iter::once((0, length)).chain(own).collect()
        };
        let masks = paths.iter().map(shown).collect();
        let positions = Some(paths.iter().map(|path| first + path.len() as u32 - 1).collect());
        self.pred_placed(tokens, Placement { masks, positions }, readings).await
    }
}

type Answers = Vec<std::result::Result<Vec<infer::Distribution>, Error>>;

async fn predict(parts: &[infer::Part<'_>], readings: &infer::Readings<'_>) -> Result<Answers> {
    let answers = if alone().await {
        infer::predict_all(parts, readings)?
    } else {
        return Ok(wait(infer::pred_all(parts, readings)?).await.0);
    };
    Ok(answers.into_iter().map(|answer| answer.map_err(Error::from)).collect())
}

/// The answers, and what was kept.
async fn wait(predictions: infer::Predictions) -> (Answers, Vec<KeptRow>) {
    let pollable = Rc::new(predictions.subscribe());
    loop {
        ready(&pollable).await;
        if let Some(answers) = predictions.get() {
            break (answers.into_iter().map(|answer| answer.map_err(Error::from)).collect(), predictions.kept());
        }
    }
}

/// More of distributions that were kept, without running the model again. Holds up the whole program for a moment.
/// Errors: invalid (rows of several models, penalties).
pub fn ask(rows: &[&KeptRow], readings: &Readings) -> Result<Vec<Distribution>> {
    let found = infer::ask(rows, &readings.record())?;
    Ok(found.into_iter().map(|raw| Distribution::new(raw, &readings.logprobs)).collect())
}

/// The lengths of the stretches of `total` entries that are in turn visible and hidden.
fn runs(visible: &[(u32, u32)], total: u32) -> Result<Vec<u32>> {
    let (mut lengths, mut at) = (vec![0], 0);
    for &(start, end) in visible {
        if start < at || end < start || total < end {
            return Err(invalid(format!("a mask shows entries {start} to {end}; there are {total}")));
        }
        if start == at {
            *lengths.last_mut().expect("it has one") += end - start;
        } else {
            lengths.extend([start - at, end - start]);
        }
        at = end;
    }
    if at < total {
        lengths.push(total - at);
    }
    Ok(lengths)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorCode::Invalid, message, "")
}

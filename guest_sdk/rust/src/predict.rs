//! One step of the model over a context.

use std::borrow::Cow;

use crate::bindings::symphony::lip::infer;
use crate::context::Context;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::{alone, ready};
use crate::input::Input;
use crate::model::Token;
use crate::sampling::{Distribution, Readings, Sampling};

impl Context {
    /// Compute what is buffered.
    pub async fn flush(&mut self) -> Result<()> {
        self.check()?;
        self.settle(false)?;
        if !self.buffer.is_empty() {
            self.predict(&[], infer::Outputs::None, &Readings::default().record()).await?;
        }
        Ok(())
    }

    /// Append `tokens` and run the model over them: the distribution of the token that follows.
    ///
    /// With `()` for tokens: over what is buffered, or once more about the last token. What is drawn is not appended.
    pub async fn pred<'a>(&mut self, tokens: impl Into<Input<'a>>, readings: Readings) -> Result<Distribution> {
        let tokens = self.prepare(tokens.into())?;
        let mut answer = self.predict(&tokens, infer::Outputs::Last, &readings.record()).await?;
        let raw = answer.pop().ok_or_else(nothing)?;
        Ok(Distribution::new(raw, &readings.logprobs))
    }

    /// Append `tokens`: the distribution after each of them.
    pub async fn pred_every<'a>(
        &mut self,
        tokens: impl Into<Input<'a>>,
        readings: Readings,
    ) -> Result<Vec<Distribution>> {
        let tokens = self.prepare(tokens.into())?;
        if tokens.is_empty() {
            let hint = "name the tokens after which a distribution is wanted";
            return Err(Error::new(ErrorCode::Invalid, "a distribution after each of no tokens", hint));
        }
        let first = self.buffer.len() as u32;
        let wanted = (first..first + tokens.len() as u32).collect();
        let answer = self.predict(&tokens, infer::Outputs::At(wanted), &readings.record()).await?;
        Ok(answer.into_iter().map(|raw| Distribution::new(raw, &readings.logprobs)).collect())
    }

    /// The tokens that a prediction computes behind the buffer.
    pub(crate) fn prepare(&mut self, input: Input<'_>) -> Result<Vec<Token>> {
        self.check()?;
        self.settle(true)?;
        self.tokens_of(input)
    }

    /// Run the model over the buffer and `tokens`. If it fails, the buffer stays as it was.
    async fn predict(
        &mut self,
        tokens: &[Token],
        outputs: infer::Outputs,
        readings: &infer::Readings<'_>,
    ) -> Result<Vec<infer::Distribution>> {
        let all =
            if self.buffer.is_empty() { Cow::Borrowed(tokens) } else { Cow::Owned([&self.buffer, tokens].concat()) };
        let answer = if alone().await {
            infer::predict(&self.file, &all, &outputs, readings)?
        } else {
            let prediction = infer::pred(&self.file, &all, &outputs, readings)?;
            loop {
                ready(&self.idle).await;
                if let Some(answer) = prediction.get() {
                    break answer?;
                }
            }
        };
        self.buffer.clear();
        Ok(answer)
    }

    /// Append `tokens[0]`, and as many of the others as the model would write behind it; all in one step. Greedy, or with
    /// `sample` drawn so; with a seed the tokens are those of a loop without guesses.
    ///
    /// What it writes: the accepted ones, and one more of its own, which is not appended.
    pub async fn verify(&mut self, tokens: &[Token], sample: Option<Sampling>) -> Result<Vec<Token>> {
        let sampled = sample.is_some();
        let found = self.pred_every(tokens, Readings { sample, ..Readings::default() }).await?;
        let draw = |dist: &Distribution| if sampled { dist.sampled() } else { dist.argmax() };
        let mut drawn = found.iter().map(draw).collect::<Result<Vec<_>>>()?;
        let right = drawn.iter().zip(&tokens[1..]).take_while(|(own, guess)| own == guess).count();
        self.cut(self.length() - (tokens.len() - 1 - right) as u32)?;
        drawn.truncate(right + 1);
        Ok(drawn)
    }
}

pub(crate) fn nothing() -> Error {
    Error::new(ErrorCode::Internal, "the host gave no distribution", "")
}

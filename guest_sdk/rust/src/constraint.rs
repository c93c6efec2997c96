//! Constraints: what may be written at all, as a JSON schema, a regular expression, a Lark grammar or a list of choices.

use std::rc::Rc;

use serde::Serialize;

use crate::bindings::symphony::lip::constraint;
use crate::error::Result;
use crate::model::{Model, Token};

pub use constraint::JsonSpacing;

/// A grammar, and a place in it: behind the tokens consumed so far. It belongs to the vocabulary of one model.
///
/// Pass it to a generation (`Sampling { constraint: Some(rule.shared()), .. }`: a copy of it goes along) or step it by
/// hand (`Readings { allowed: Some(Allowed::By(..)), .. }`, then `consume`).
#[derive(Debug)]
pub struct Constraint {
    pub(crate) handle: constraint::Constraint,
}

impl Constraint {
    /// JSON that fits a schema (`json!({..})`, or anything that serialises to one), for the default model, spaced like
    /// `{"a": 1, "b": 2}`, properties in the schema's order. Errors: invalid, limit-exceeded.
    pub fn json_schema(schema: impl Serialize) -> Result<Self> {
        Self::json_schema_on(Model::open(None)?.as_ref(), schema, JsonSpacing::Spaced)
    }

    /// The same for a model, spaced as wished.
    pub fn json_schema_on(model: &Model, schema: impl Serialize, spacing: JsonSpacing) -> Result<Self> {
        let text = serde_json::to_string(&schema)?;
        Ok(Self { handle: constraint::Constraint::json_schema(&model.handle, &text, Some(spacing))? })
    }

    /// Text that a regular expression matches as a whole. Errors: invalid (with the place), limit-exceeded.
    pub fn regex(pattern: &str) -> Result<Self> {
        Self::regex_on(Model::open(None)?.as_ref(), pattern)
    }

    /// The same for a model.
    pub fn regex_on(model: &Model, pattern: &str) -> Result<Self> {
        Ok(Self { handle: constraint::Constraint::regex(&model.handle, pattern)? })
    }

    /// Text that a Lark grammar derives from its rule `start`. Errors: invalid (with line and column), limit-exceeded.
    pub fn grammar(lark: &str) -> Result<Self> {
        Self::grammar_on(Model::open(None)?.as_ref(), lark)
    }

    /// The same for a model.
    pub fn grammar_on(model: &Model, lark: &str) -> Result<Self> {
        Ok(Self { handle: constraint::Constraint::grammar(&model.handle, lark)? })
    }

    /// One of several texts. Errors: invalid, limit-exceeded.
    pub fn choice<S: AsRef<str>>(options: &[S]) -> Result<Self> {
        Self::choice_on(Model::open(None)?.as_ref(), options)
    }

    /// The same for a model.
    pub fn choice_on<S: AsRef<str>>(model: &Model, options: &[S]) -> Result<Self> {
        let options: Vec<String> = options.iter().map(|option| option.as_ref().to_owned()).collect();
        Ok(Self { handle: constraint::Constraint::choice(&model.handle, &options)? })
    }

    /// For `Sampling` and `Readings`, which are cloned.
    pub fn shared(self) -> Rc<Self> {
        Rc::new(self)
    }

    /// Go on behind these tokens. Errors: invalid (one that is forbidden; the place is unchanged).
    pub fn consume(&self, tokens: &[Token]) -> Result<()> {
        Ok(self.handle.consume(tokens)?)
    }

    /// Take back the last `n` tokens. Errors: invalid.
    pub fn rollback(&self, n: u32) -> Result<()> {
        Ok(self.handle.rollback(n)?)
    }

    /// One more at the same place, which goes its own way. Errors: limit-exceeded.
    pub fn fork(&self) -> Result<Self> {
        Ok(Self { handle: self.handle.fork()? })
    }

    /// The tokens that may come next: bit j of word w is token 32 w + j. Errors: limit-exceeded.
    pub fn mask(&self) -> Result<Vec<u32>> {
        Ok(self.handle.mask()?)
    }

    /// Whether this token may come next. Errors: those of `mask`.
    pub fn allows(&self, token: Token) -> Result<bool> {
        let words = self.mask()?;
        Ok(words.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1))
    }

    /// Tokens that come next whatever the model says; may be empty.
    pub fn forced(&self) -> Vec<Token> {
        self.handle.forced()
    }

    /// What was consumed satisfies the grammar; something may still follow.
    pub fn complete(&self) -> bool {
        self.handle.is_complete()
    }

    /// Nothing can follow but a stop token, or one was consumed.
    pub fn done(&self) -> bool {
        self.handle.is_done()
    }
}

/// The tokens that there are for a prediction; all readings are of the distribution restricted to them.
#[derive(Debug, Clone)]
pub enum Allowed {
    /// Those whose bit is set: bit j of word w is token 32 w + j.
    Mask(Vec<u32>),
    /// Those that the constraint allows where it is. It stays there.
    By(Rc<Constraint>),
}

//! How to pick tokens, and when to stop. The host checks the ranges.

use std::rc::Rc;

use crate::bindings::symphony::lip::{infer, kvfs, types};
use crate::constraint::{Allowed, Constraint};
use crate::error::{Error, ErrorCode, Result};
use crate::model::{ModelInfo, Token};

/// Options of [`crate::Context::generate`] and [`crate::Context::stream`]:
/// `Sampling { max_tokens: 64, temperature: Some(0.7), ..default() }`. The default is greedy, 256 tokens.
#[derive(Debug, Clone)]
pub struct Sampling {
    /// Tokens to write at most.
    pub max_tokens: u32,
    /// Strings that end the text; it ends before the string.
    pub stop: Vec<String>,
    /// Token ids that end the text; the model's own where none are given.
    pub stop_tokens: Option<Vec<Token>>,
    /// Log-probabilities of each token and of this many alternatives.
    pub logprobs: Option<u32>,
    /// 0 or none is greedy; 1 is the model's own distribution.
    pub temperature: Option<f32>,
    /// Keep the k most probable tokens.
    pub top_k: Option<u32>,
    /// Keep the smallest set of tokens whose probability reaches this.
    pub top_p: Option<f32>,
    /// Keep tokens at least this fraction as probable as the most probable one.
    pub min_p: Option<f32>,
    /// Divides positive and multiplies negative logits of every token that the file already holds.
    pub repetition_penalty: Option<f32>,
    /// Subtracted from the logits of tokens generated so far.
    pub presence_penalty: Option<f32>,
    /// Subtracted once per occurrence, likewise.
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(Token, f32)>,
    /// Same seed, file and model: same tokens. None: a fresh seed.
    pub seed: Option<u64>,
    /// Write only what this allows from where it is on; a copy of it goes along.
    pub constraint: Option<Rc<Constraint>>,
    /// Guesses, verified several at a step, for the same text in fewer steps.
    pub draft: Option<Draft>,
    /// A stream's chunk comes when this many tokens are there (1 to 256).
    pub chunk_tokens: u32,
    /// Or when the oldest token in it is this many milliseconds old; 0: no such limit.
    pub chunk_ms: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            stop: Vec::new(),
            stop_tokens: None,
            logprobs: None,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: None,
            presence_penalty: None,
            frequency_penalty: None,
            logit_bias: Vec::new(),
            seed: None,
            constraint: None,
            draft: None,
            chunk_tokens: 16,
            chunk_ms: 50,
        }
    }
}

impl Sampling {
    /// How a token is drawn, without what concerns whole texts.
    pub(crate) fn draw(&self) -> infer::Sampling {
        let (ids, values) = self.logit_bias.iter().copied().unzip();
        infer::Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: (!self.logit_bias.is_empty()).then_some(types::Ranked { ids, values }),
            seed: self.seed,
        }
    }

    /// `writer`: the file of the model that writes the guesses.
    pub(crate) fn options<'a>(
        &'a self,
        model: &ModelInfo,
        writer: Option<&'a kvfs::KvFile>,
    ) -> infer::GenerateOptions<'a> {
        infer::GenerateOptions {
            sampling: self.draw(),
            max_tokens: self.max_tokens,
            stop_tokens: self.stop_tokens.as_ref().unwrap_or(&model.stop_tokens).clone(),
            stop_strings: self.stop.clone(),
            logprobs: self.logprobs,
            chunk_tokens: self.chunk_tokens,
            chunk_ms: self.chunk_ms,
            constraint: self.constraint.as_ref().map(|rule| &rule.handle),
            draft: self.draft.map(|draft| infer::Draft {
                source: writer.map_or(infer::DraftSource::PromptLookup(draft.ngram), infer::DraftSource::Model),
                tokens: draft.tokens,
            }),
        }
    }
}

/// Guesses that the model verifies several at a step. They change no token.
#[derive(Debug, Clone, Copy)]
pub struct Draft {
    /// At most so many a step, 1 to 32; fewer while they turn out wrong.
    pub tokens: u32,
    /// The guess is what followed the last time that so many last tokens, or a few less, stood in the text (1 to 8). Of no
    /// meaning where another model writes them: `Context::generate_with`.
    pub ngram: u32,
}

impl Default for Draft {
    fn default() -> Self {
        Self { tokens: 8, ngram: 3 }
    }
}

/// What will be asked of a distribution: `Readings { top_k: Some(5), ..default() }`. Nothing named: its most probable token.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// The k most probable tokens, at most 1,024.
    pub top_k: Option<u32>,
    /// Draw one token; `max_tokens`, `stop`, `logprobs` and the chunk limits have no meaning here.
    pub sample: Option<Sampling>,
    /// The log-probabilities of these tokens.
    pub logprobs: Vec<Token>,
    /// The entropy.
    pub entropy: bool,
    /// Some tokens only.
    pub allowed: Option<Allowed>,
}

impl Readings {
    pub(crate) fn record(&self) -> infer::Readings<'_> {
        let named = self.top_k.is_some() || self.sample.is_some() || !self.logprobs.is_empty() || self.entropy;
        infer::Readings {
            sample: self.sample.as_ref().map(Sampling::draw),
            top_k: if named { self.top_k } else { Some(1) },
            logprobs: (!self.logprobs.is_empty()).then(|| self.logprobs.clone()),
            entropy: self.entropy,
            allowed: self.allowed.as_ref().map(|allowed| match allowed {
                Allowed::Mask(words) => infer::AllowedTokens::Mask(words.clone()),
                Allowed::By(rule) => infer::AllowedTokens::Constraint(&rule.handle),
            }),
        }
    }
}

/// The next-token distribution, as far as it was read. Log-probabilities are natural, at temperature 1.
#[derive(Debug, Clone)]
pub struct Distribution {
    raw: infer::Distribution,
    asked: Vec<Token>,
}

impl Distribution {
    pub(crate) fn new(raw: infer::Distribution, asked: &[Token]) -> Self {
        Self { raw, asked: asked.to_vec() }
    }

    /// The token drawn. Needs `sample`.
    pub fn sampled(&self) -> Result<Token> {
        self.raw.sampled.ok_or_else(|| unread("a sampled token", "sample: Some(Sampling::default())"))
    }

    /// The most probable token. Needs `top_k`, or no reading at all.
    pub fn argmax(&self) -> Result<Token> {
        Ok(self.top_k(1)?[0].0)
    }

    /// The k most probable tokens with their probabilities, descending. Needs `top_k`.
    pub fn top_k(&self, k: usize) -> Result<Vec<(Token, f64)>> {
        match &self.raw.top {
            Some(top) if top.ids.len() >= k => Ok(self.top().into_iter().take(k).collect()),
            _ => Err(unread(&format!("the {k} most probable tokens"), &format!("top_k: Some({k})"))),
        }
    }

    /// All of the most probable tokens that were read, likewise.
    pub fn top(&self) -> Vec<(Token, f64)> {
        let read = self.raw.top.iter().flat_map(|top| top.ids.iter().zip(&top.values));
        read.map(|(id, value)| (*id, f64::from(*value).exp())).collect()
    }

    /// The log-probability of a token. Needs it in `logprobs`, or a `top_k` that holds it.
    pub fn logprob(&self, token: Token) -> Result<f64> {
        let asked = self.raw.logprobs.iter().flat_map(|values| self.asked.iter().zip(values));
        let top = self.raw.top.iter().flat_map(|top| top.ids.iter().zip(&top.values));
        let mut known = asked.chain(top);
        let found = known.find(|(id, _)| **id == token).map(|(_, value)| f64::from(*value));
        found.ok_or_else(|| {
            unread(&format!("the log-probability of token {token}"), &format!("logprobs: vec![{token}]"))
        })
    }

    /// In nats. Needs `entropy`.
    pub fn entropy(&self) -> Result<f64> {
        self.raw.entropy.map(f64::from).ok_or_else(|| unread("the entropy", "entropy: true"))
    }
}

fn unread(what: &str, field: &str) -> Error {
    let message = format!("{what} was not read with this distribution");
    Error::new(ErrorCode::Invalid, message, format!("ask in advance: Readings {{ {field}, ..default() }}"))
}

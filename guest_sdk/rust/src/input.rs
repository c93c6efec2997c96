//! What can be fed to a context. It knows nothing of one.

use std::borrow::Cow;

use crate::model::Token;

/// What can be fed: text, a token id, token ids, or nothing, `()`.
pub enum Input<'a> {
    /// Ordinary text: special tokens written out in it are text too.
    Text(Cow<'a, str>),
    /// Token ids.
    Tokens(Cow<'a, [Token]>),
}

impl From<()> for Input<'_> {
    fn from((): ()) -> Self {
        Input::Tokens(Cow::Borrowed(&[]))
    }
}

impl<'a> From<&'a str> for Input<'a> {
    fn from(text: &'a str) -> Self {
        Input::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Input<'a> {
    fn from(text: &'a String) -> Self {
        Input::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Input<'_> {
    fn from(text: String) -> Self {
        Input::Text(Cow::Owned(text))
    }
}

impl From<Token> for Input<'_> {
    fn from(token: Token) -> Self {
        Input::Tokens(Cow::Owned(vec![token]))
    }
}

impl<'a> From<&'a [Token]> for Input<'a> {
    fn from(tokens: &'a [Token]) -> Self {
        Input::Tokens(Cow::Borrowed(tokens))
    }
}

impl<'a> From<&'a Vec<Token>> for Input<'a> {
    fn from(tokens: &'a Vec<Token>) -> Self {
        Input::Tokens(Cow::Borrowed(tokens))
    }
}

impl From<Vec<Token>> for Input<'_> {
    fn from(tokens: Vec<Token>) -> Self {
        Input::Tokens(Cow::Owned(tokens))
    }
}

impl<'a, const N: usize> From<&'a [Token; N]> for Input<'a> {
    fn from(tokens: &'a [Token; N]) -> Self {
        Input::Tokens(Cow::Borrowed(tokens))
    }
}

impl From<Option<Token>> for Input<'_> {
    fn from(token: Option<Token>) -> Self {
        Input::Tokens(Cow::Owned(token.into_iter().collect()))
    }
}

//! The models of this process: opened once each, described once each.

use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::symphony::lip::model;
use crate::error::Result;

pub use model::Info as ModelInfo;

/// A token id of a model's vocabulary.
pub type Token = u32;

thread_local! {
    static OPEN: RefCell<Vec<(Option<String>, Rc<Model>)>> = const { RefCell::new(Vec::new()) };
}

/// An open model: its tokenizer, its chat template and its description.
pub struct Model {
    pub(crate) handle: model::Model,
    /// What a program may want to know about it.
    pub info: ModelInfo,
}

impl Model {
    /// The named model, or the default one. Errors: not-found.
    pub fn open(name: Option<&str>) -> Result<Rc<Self>> {
        let known =
            OPEN.with_borrow(|open| open.iter().find(|(key, _)| key.as_deref() == name).map(|(_, m)| m.clone()));
        if let Some(model) = known {
            return Ok(model);
        }
        let handle = model::Model::open(name)?;
        let info = handle.info();
        let model = Rc::new(Self { handle, info });
        OPEN.with_borrow_mut(|open| open.push((name.map(str::to_owned), model.clone())));
        Ok(model)
    }

    /// Token ids of a text. With `special`, special tokens written out in it (`<|im_end|>`) become their ids.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<Token>> {
        Ok(self.handle.tokenize(text, special)?)
    }

    /// Text of token ids, special tokens written out.
    pub fn decode(&self, tokens: &[Token]) -> Result<String> {
        Ok(self.handle.detokenize(tokens)?)
    }

    /// The chat template applied to a conversation, a JSON object (see `render-chat` in `docs/syscalls.md`).
    pub fn render_chat(&self, conversation: &str) -> Result<String> {
        Ok(self.handle.render_chat(conversation)?)
    }
}

/// The models that are loaded, the default first.
pub fn models() -> Result<Vec<ModelInfo>> {
    model::list_models().iter().map(|name| Ok(Model::open(Some(name))?.info.clone())).collect()
}

/// Token ids of a text in the default model; special tokens written out in it are ordinary text.
pub fn encode(text: &str) -> Result<Vec<Token>> {
    Model::open(None)?.encode(text, false)
}

/// Text of token ids of the default model, special tokens written out.
pub fn decode(tokens: &[Token]) -> Result<String> {
    Model::open(None)?.decode(tokens)
}

//! Messages: from the client, and over channels between the programs of one tenant.
//!
//! A message is text; put JSON in it where it has structure.

use std::rc::Rc;

use crate::bindings::symphony::lip::ipc;
use crate::error::{Error, ErrorCode, Result};
use crate::executor::ready;

/// The next text that the client sent to this program, or, to a child, the program that started it. Dropping the future
/// takes nothing away. Errors: limit-exceeded (64 wait already).
pub async fn receive() -> Result<String> {
    arrival(ipc::receive()?).await
}

/// An open channel of the tenant. It is there as long as some program has it open; what nobody received by then is gone.
pub struct Channel(ipc::Channel);

impl Channel {
    /// Open a queue, where each text goes to one of those who receive. Errors: invalid (the name, or it is a broadcast),
    /// limit-exceeded (64 in one program, 256 of one tenant).
    pub fn open(name: &str) -> Result<Self> {
        Ok(Self(ipc::Channel::open(name, ipc::Delivery::One)?))
    }

    /// Open a broadcast, where each text goes to all others who had it open. Errors as `open`.
    pub fn broadcast(name: &str) -> Result<Self> {
        Ok(Self(ipc::Channel::open(name, ipc::Delivery::All)?))
    }

    /// Send a text, of at most 1 MiB. To a queue: as soon as less than 1,024 texts and 1 MiB lie there untaken.
    pub async fn send(&self, text: impl AsRef<str>) -> Result<()> {
        loop {
            match self.0.send(text.as_ref()) {
                Err(error) if error.code == ErrorCode::Busy => ready(&Rc::new(self.0.room())).await,
                answer => return answer.map_err(Error::from),
            }
        }
    }

    /// The next text; who waits first is served first, and dropping the future takes nothing away.
    ///
    /// Errors: limit-exceeded, where a broadcast lost texts because this program was more than 1,024 of them, or 1 MiB,
    /// behind; the next call goes on with the oldest that is still there.
    pub async fn receive(&self) -> Result<String> {
        arrival(self.0.receive()?).await
    }
}

async fn arrival(message: ipc::Message) -> Result<String> {
    if let Some(answer) = message.get() {
        return Ok(answer?);
    }
    let pollable = Rc::new(message.subscribe());
    loop {
        ready(&pollable).await;
        if let Some(answer) = message.get() {
            return Ok(answer?);
        }
    }
}

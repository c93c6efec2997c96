//! From the export `run` to the program's function and back.

use std::fmt::Display;
use std::future::Future;
use std::panic;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::executor::block_on;
use crate::outside::{log, Level};

/// The arguments of a program that takes none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoArgs {}

/// Run a program: JSON arguments in, a JSON value or an error text out.
pub fn run<A, F, T, E>(args: &str, app: impl FnOnce(A) -> F) -> Result<String, String>
where
    A: DeserializeOwned,
    F: Future<Output = Result<T, E>>,
    T: Serialize,
    E: Display,
{
    log_panics();
    let args = serde_json::from_str(args).map_err(|error| format!("arguments: {error}"))?;
    let value = block_on(app(args)).map_err(|error| error.to_string())?;
    serde_json::to_string(&value).map_err(|error| format!("the result is not a JSON value: {error}"))
}

/// A panic cannot be caught on these targets (it ends in a trap), so its message goes to the log first, on one line.
fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, |location| format!(" at {location}"));
        let payload = info.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        log(Level::Error, format_args!("panicked{place}: {}", text.unwrap_or("no message").replace('\n', " ")));
    }));
}

//! Several futures at once: all of them, the first of two, one after the other as they complete.
//!
//! Only what became ready is polled again: each child has a waker of its own, so that a thousand branches cost no more a
//! wake than one. Dropping a future cancels what it has in flight in the host. It knows nothing of the host itself.

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::executor::Flag;

/// Run all futures concurrently; their outputs, in the order given.
///
/// ```ignore
/// let lengths = join_all(contexts.iter_mut().map(|ctx| async { ctx.flush().await.is_ok() })).await;
/// ```
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut children: Vec<Child<F>> = futures.into_iter().map(Child::new).collect();
    poll_fn(|cx| {
        let mut done = true;
        for child in &mut children {
            done &= child.advance(cx);
        }
        if done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    children.into_iter().filter_map(|child| child.output).collect()
}

/// Run all futures concurrently; their values, in the order given, or the first error, which drops the others.
///
/// ```ignore
/// let texts: Vec<String> = try_join_all((0..3).map(|i| branch(&ctx, i))).await?;
/// ```
pub async fn try_join_all<T, E, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut tasks = Tasks::new();
    let mut values = Vec::new();
    for (index, future) in futures.into_iter().enumerate() {
        values.push(None);
        tasks.push(async move { (index, future.await) });
    }
    while let Some((index, outcome)) = tasks.next().await {
        values[index] = Some(outcome?);
    }
    Ok(values.into_iter().flatten().collect())
}

/// Both, concurrently.
pub async fn join<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (Child::new(first), Child::new(second));
    poll_fn(|cx| {
        let done = first.advance(cx);
        if !second.advance(cx) || !done {
            return Poll::Pending;
        }
        match (first.output.take(), second.output.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// One of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first one.
    First(A),
    /// Of the second one.
    Second(B),
}

/// Whichever completes first, the first one where both have; the other one is dropped. To go on with it later, give
/// `&mut` of a pinned one:
///
/// ```ignore
/// let mut weather = std::pin::pin!(tool::<Weather>("weather", json!({ "city": "Paris" })));
/// loop {
///     match select(&mut weather, stream.next()).await {
///         Either::First(weather) => break weather?,
///         Either::Second(chunk) => { /* the model goes on writing meanwhile */ }
///     }
/// }
/// ```
pub async fn select<A: Future, B: Future>(first: A, second: B) -> Either<A::Output, B::Output> {
    let mut first = pin!(first);
    let mut second = pin!(second);
    poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Either::First(output)),
        Poll::Pending => second.as_mut().poll(cx).map(Either::Second),
    })
    .await
}

/// Futures of one output that run whenever [`Tasks::next`] is awaited, which gives the outputs as they come. Dropping it
/// drops those that have not completed.
pub struct Tasks<'a, T> {
    children: Vec<Child<dyn Future<Output = T> + 'a>>,
}

impl<'a, T> Tasks<'a, T> {
    /// None yet.
    pub fn new() -> Self {
        Self { children: Vec::new() }
    }

    /// One more; also while others run.
    pub fn push(&mut self, future: impl Future<Output = T> + 'a) {
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), parent: Mutex::new(None) });
        self.children.push(Child { future: Box::pin(future), output: None, flag });
    }

    /// How many have not been given.
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether `next` would give none.
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// The next output; none where no future is left. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| {
            for index in 0..self.children.len() {
                if self.children[index].advance(cx) {
                    return Poll::Ready(self.children.remove(index).output);
                }
            }
            if self.children.is_empty() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

impl<T> Default for Tasks<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

struct Child<F: Future + ?Sized> {
    output: Option<F::Output>,
    flag: Arc<Flag>,
    future: Pin<Box<F>>,
}

impl<F: Future> Child<F> {
    fn new(future: F) -> Self {
        let flag = Flag { woken: AtomicBool::new(true), parent: Mutex::new(None) };
        Self { output: None, flag: Arc::new(flag), future: Box::pin(future) }
    }
}

impl<F: Future + ?Sized> Child<F> {
    /// Poll it if it was woken; true once its output is there.
    fn advance(&mut self, cx: &Context<'_>) -> bool {
        if self.output.is_some() {
            return true;
        }
        if let Ok(mut parent) = self.flag.parent.lock() {
            *parent = Some(cx.waker().clone());
        }
        if !self.flag.woken.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(self.flag.clone());
        if let Poll::Ready(output) = self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.output = Some(output);
        }
        self.output.is_some()
    }
}

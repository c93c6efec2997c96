//! Futures over the one call that can wait, `wasi:io/poll.poll`.
//!
//! A program is one tree of futures. [`block_on`] polls it while something in it was woken, and then waits in the host for
//! everything that its leaves ([`ready`]) wait for.
//!
//! A leaf that could hold up the whole program in one call of the host asks first ([`alone`]): when all futures wait and
//! nothing but that leaf could go on, it may.
//!
//! It knows nothing of models or files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::bindings::wasi::io::poll::{poll, Pollable};

thread_local! {
    /// What somebody waits for, by a number that is never used twice. An entry leaves when it became ready.
    static WAITS: RefCell<Waits> = const { RefCell::new(Waits { next: 0, alone: 0, entries: BTreeMap::new() }) };
}

struct Waits {
    next: u64,
    /// The entry that was last found to be the only one.
    alone: u64,
    /// Without a pollable: a leaf that wants to know whether it is alone.
    entries: BTreeMap<u64, (Option<Rc<Pollable>>, Waker)>,
}

impl Waits {
    fn add(&mut self, pollable: Option<Rc<Pollable>>, waker: Waker) -> u64 {
        self.next += 1;
        self.entries.insert(self.next, (pollable, waker));
        self.next
    }

    /// Tell those who want to know whether they are alone; returns whom to wake.
    fn answer(&mut self) -> Vec<Waker> {
        let asking: Vec<u64> = self.entries.iter().filter(|(_, entry)| entry.0.is_none()).map(|(n, _)| *n).collect();
        self.alone = if self.entries.len() == 1 { asking.first().copied().unwrap_or(0) } else { 0 };
        asking.into_iter().filter_map(|number| self.entries.remove(&number)).map(|(_, waker)| waker).collect()
    }
}

/// Completes once the pollable is ready, which it always finds out by waiting: it never asks the host first.
pub(crate) async fn ready(pollable: &Rc<Pollable>) {
    Leaf { pollable: Some(pollable.clone()), number: None }.await;
}

/// Completes once every future of the program waits. True: the caller is the only one that anything could wake, so it
/// may hold up the program until it has its answer.
pub(crate) async fn alone() -> bool {
    let number = Leaf { pollable: None, number: None }.await;
    WAITS.with_borrow(|waits| waits.alone == number)
}

/// Completes, with its number, when its entry has left `WAITS`.
struct Leaf {
    pollable: Option<Rc<Pollable>>,
    number: Option<u64>,
}

impl Future for Leaf {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        WAITS.with_borrow_mut(|waits| match self.number {
            None => {
                self.number = Some(waits.add(self.pollable.take(), cx.waker().clone()));
                Poll::Pending
            }
            Some(number) => match waits.entries.get_mut(&number) {
                None => Poll::Ready(number),
                Some((_, waker)) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
            },
        })
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            WAITS.with_borrow_mut(|waits| waits.entries.remove(&number));
        }
    }
}

/// Run a future to its end. Panics if it waits for something that nothing can bring about.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    loop {
        flag.woken.store(false, Ordering::Relaxed);
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        if !flag.woken.load(Ordering::Relaxed) {
            wait();
        }
    }
}

/// Suspend the program until something that a future waits for is ready, and wake those that wait for it.
fn wait() {
    let asking = WAITS.with_borrow_mut(Waits::answer);
    if !asking.is_empty() {
        asking.into_iter().for_each(Waker::wake);
        return;
    }
    let (numbers, pollables): (Vec<u64>, Vec<Rc<Pollable>>) =
        WAITS.with_borrow(|waits| waits.entries.iter().filter_map(|(n, entry)| Some((*n, entry.0.clone()?))).unzip());
    assert!(!pollables.is_empty(), "every future of the program waits for another one: nothing can wake them");
    let borrowed: Vec<&Pollable> = pollables.iter().map(Rc::as_ref).collect();
    for index in poll(&borrowed) {
        let entry = WAITS.with_borrow_mut(|waits| waits.entries.remove(&numbers[index as usize]));
        if let Some((_, waker)) = entry {
            waker.wake();
        }
    }
}

/// Whether a future was woken since it was last polled; passes the news on to who polls it.
#[derive(Default)]
pub(crate) struct Flag {
    pub(crate) woken: AtomicBool,
    pub(crate) parent: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        let parent = self.parent.lock().ok().and_then(|mut parent| parent.take());
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

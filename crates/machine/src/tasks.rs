//! The threads of the machine: coroutines on one thread of the system, of which one runs at a time, until it comes to a
//! seam at which another gets the turn.
#![allow(unsafe_code)] // A coroutine suspends itself by a reference that only its body has: deep calls need a pointer.

use crate::state::{State, with};
use corosensei::{Coroutine, CoroutineResult, Yielder, stack::DefaultStack};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

/// Bytes of a thread's stack: what zstd and a debug build take, with some to spare.
const STACK_BYTES: usize = 1 << 20;

type Body = Box<dyn FnOnce()>;
type Thread = Coroutine<(), (), ()>;

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The main thread has returned.
    Done,
    /// It was killed.
    Killed,
    /// Every thread waits for another.
    Stuck,
    /// It still ran at the time that it had until.
    Late,
    /// A thread panicked, with this message.
    Panicked(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Ready,
    /// Until a moment, or until the event, whichever comes first.
    For {
        until_ns: Option<u64>,
        event: Option<u64>,
    },
    Over,
}

/// The state of the threads of the process.
#[derive(Default)]
pub(crate) struct Tasks {
    waits: Vec<Wait>,
    started: Vec<Body>,
}

enum Pick {
    Task(usize),
    Stuck,
    Late,
    Killed,
}

thread_local! {
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
    static YIELDERS: RefCell<Vec<*const Yielder<(), ()>>> = const { RefCell::new(Vec::new()) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The number of the thread that has the turn; `None` outside of a process.
pub(crate) fn current() -> Option<usize> {
    CURRENT.get()
}

impl State {
    /// Adds a thread. Returns its number.
    pub fn start(&mut self, body: Body) -> usize {
        self.tasks.waits.push(Wait::Ready);
        self.tasks.started.push(body);
        self.tasks.waits.len() - 1
    }

    /// Makes the threads that wait for `event` ready.
    pub fn ring(&mut self, event: u64) {
        for wait in &mut self.tasks.waits {
            if matches!(wait, Wait::For { event: Some(other), .. } if *other == event) {
                *wait = Wait::Ready;
            }
        }
    }

    pub fn is_over(&self, task: usize) -> bool {
        self.tasks.waits.get(task).is_none_or(|wait| *wait == Wait::Over)
    }

    fn pick(&mut self, late_ns: u64) -> Pick {
        if self.events >= self.kill_at {
            return Pick::Killed;
        }
        loop {
            if self.now_ns > late_ns {
                return Pick::Late;
            }
            let (mut ready, mut chosen, mut next_ns) = (0_u64, None, None::<u64>);
            for (task, wait) in self.tasks.waits.iter().enumerate() {
                let is_ready = match *wait {
                    Wait::Ready => true,
                    Wait::For { until_ns: Some(until_ns), .. } if until_ns > self.now_ns => {
                        next_ns = Some(next_ns.map_or(until_ns, |next_ns| next_ns.min(until_ns)));
                        false
                    }
                    Wait::For { until_ns, .. } => until_ns.is_some(),
                    Wait::Over => false,
                };
                if is_ready {
                    ready += 1;
                    // Each of those seen so far with the same chance.
                    if ready == 1 || self.random.below(ready) == 0 {
                        chosen = Some(task);
                    }
                }
            }
            if let Some(task) = chosen {
                self.tasks.waits[task] = Wait::Ready;
                return Pick::Task(task);
            }
            match next_ns {
                Some(next_ns) => self.now_ns = next_ns,
                None => return Pick::Stuck,
            }
        }
    }
}

/// Gives the turn away until `until_ns` or until `event` rings. Without either the thread does not come back.
pub(crate) fn wait(until_ns: Option<u64>, event: Option<u64>) {
    let Some(task) = current() else { return };
    with(|state| state.tasks.waits[task] = Wait::For { until_ns, event });
    let yielder = YIELDERS.with_borrow(|yielders| yielders[task]);
    // SAFETY: the body of the coroutine that runs is on this stack, and its yielder outlives it.
    unsafe { (*yielder).suspend(()) };
}

/// Gives the turn away for some nanoseconds.
pub(crate) fn sleep(ns: u64) {
    let until_ns = with(|state| state.now_ns.saturating_add(ns));
    wait(until_ns, None);
}

fn coroutine(number: usize, body: Body) -> Thread {
    let stack = STACKS.with_borrow_mut(Vec::pop);
    let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
    Coroutine::with_stack(stack, move |yielder, ()| {
        YIELDERS.with_borrow_mut(|yielders| {
            yielders.resize(yielders.len().max(number + 1), std::ptr::null());
            yielders[number] = yielder;
        });
        body();
    })
}

/// Keeps the message of a panic in a thread of a machine, which its machine reports, instead of printing it.
fn watch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = take_hook();
        set_hook(Box::new(move |panic| match current() {
            Some(_) => PANIC.set(Some(panic.to_string())),
            None => others(panic),
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    PANIC.take().or(text).or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Runs a process whose main thread is `main`, until it ends or `late_ns` has come.
pub(crate) fn run(main: Body, late_ns: u64) -> End {
    watch_panics();
    with(|state| {
        state.tasks = Tasks::default();
        state.is_dead = false;
        state.start(main);
    });
    let mut threads: Vec<Thread> = Vec::new();
    let end = loop {
        let (started, pick) = with(|state| {
            let is_any = !state.tasks.started.is_empty();
            (is_any.then(|| std::mem::take(&mut state.tasks.started)), state.pick(late_ns))
        })
        .expect("a machine");
        for body in started.into_iter().flatten() {
            threads.push(coroutine(threads.len(), body));
        }
        let task = match pick {
            Pick::Task(task) => task,
            Pick::Killed => break End::Killed,
            Pick::Late => break End::Late,
            Pick::Stuck => break End::Stuck,
        };
        CURRENT.set(Some(task));
        let turn = catch_unwind(AssertUnwindSafe(|| threads[task].resume(())));
        CURRENT.set(None);
        match turn {
            Ok(CoroutineResult::Yield(())) => {}
            Ok(CoroutineResult::Return(())) => {
                with(|state| {
                    state.tasks.waits[task] = Wait::Over;
                    state.ring(over_event(task));
                });
                if task == 0 {
                    break End::Done;
                }
            }
            Err(payload) => break End::Panicked(message(&*payload)),
        }
    };
    with(|state| state.is_dead = true);
    let unstarted = with(|state| std::mem::take(&mut state.tasks.started));
    for (task, mut thread) in threads.into_iter().enumerate() {
        if thread.started() && !thread.done() {
            CURRENT.set(Some(task));
            thread.force_unwind();
            CURRENT.set(None);
        }
        if thread.done() {
            STACKS.with_borrow_mut(|stacks| stacks.push(thread.into_stack()));
        }
    }
    drop(unstarted);
    end
}

/// The event that rings when a thread is over.
pub(crate) fn over_event(task: usize) -> u64 {
    u64::MAX - task as u64
}

//! Time off a core, by the stack that left it, from the scheduler's tracepoints.
//!
//! A thread is away from the sched_switch that takes it off its core to the one that puts it on a core again. What it
//! waited for is in the innermost frame: until its sched_wakeup it was `[blocked]`, from then on, or all the time if it
//! was pushed off while it could have gone on (state R), it was `[waits for a core]`.
//!
//! A thread that slept through the whole recording has no event at all, and one that slept at its beginning has no
//! event for that. So a snapshot of the threads is taken before the recording: who sleeps in it is away from the first
//! moment on, with the kernel's stack of proc_pid_stack(5), as nothing else is known of it.

use crate::{
    samples::{Frame, Sample},
    stacks::Stacks,
};
use std::{
    collections::{HashMap, HashSet},
    io,
};

/// The innermost frame of a thread that waits to be woken.
pub const BLOCKED: &str = "[blocked]";
/// The innermost frame of a thread that could run and has no core.
pub const WAITS_FOR_A_CORE: &str = "[waits for a core]";

/// Follows some threads through the events, which must come in the order of time.
#[derive(Debug)]
pub struct OffCpu {
    threads: HashSet<u32>,
    away: HashMap<u32, Away>,
    stacks: NanoStacks,
    /// When the recording began: the time of its first event.
    began_ns: Option<u64>,
    now_ns: u64,
}

/// A thread without a core.
#[derive(Debug)]
struct Away {
    thread: String,
    stack: Vec<Frame>,
    /// `None`: since before the recording.
    since_ns: Option<u64>,
    /// When it could go on again.
    ready_ns: Option<u64>,
}

/// Weights in nanoseconds until the end, so that many short waits do not round to nothing.
type NanoStacks = HashMap<(String, Vec<Frame>, &'static str), u64>;

impl OffCpu {
    /// Follows these.
    pub fn new(threads: &[u32]) -> Self {
        Self {
            threads: threads.iter().copied().collect(),
            away: HashMap::new(),
            stacks: NanoStacks::new(),
            began_ns: None,
            now_ns: 0,
        }
    }

    /// Takes in who slept before the recording began: for each thread a line `TID STATE NAME`, then, each behind a tab,
    /// the lines of its `/proc/PID/task/TID/stack`, if they can be read.
    ///
    /// # Errors
    /// A line of another form.
    pub fn snapshot(&mut self, text: &str) -> io::Result<()> {
        let mut asleep = None;
        for line in text.lines() {
            if let Some(frame) = line.strip_prefix('\t') {
                let stack = asleep.and_then(|tid| self.away.get_mut(&tid)).map(|away: &mut Away| &mut away.stack);
                stack.into_iter().for_each(|stack| stack.extend(kernel_frame(frame)));
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let tid = words.next().and_then(|word| word.parse().ok());
            let (Some(tid), Some(state), Some(name)) = (tid, words.next(), words.next()) else {
                return Err(io::Error::other(format!("not a line of a snapshot: {line}")));
            };
            // What runs will be seen when it leaves its core.
            asleep = (state != "R" && self.threads.contains(&tid)).then_some(tid);
            if asleep.is_some() {
                let away = Away { thread: name.to_owned(), stack: Vec::new(), since_ns: None, ready_ns: None };
                self.away.insert(tid, away);
            }
        }
        Ok(())
    }

    /// The next event.
    pub fn event(&mut self, sample: Sample) {
        self.began_ns.get_or_insert(sample.time_ns);
        self.now_ns = self.now_ns.max(sample.time_ns);
        match sample.event.as_str() {
            "sched:sched_switch" => {
                let Some((leaves, gets)) = sample.trace.split_once(" ==> ") else { return };
                if let Some(away) = number(gets, " next_pid=").and_then(|next| self.away.remove(&next)) {
                    self.count(away);
                }
                if let Some(tid) = number(leaves, " prev_pid=").filter(|tid| self.threads.contains(tid)) {
                    let runnable = leaves.contains(" prev_state=R");
                    let away = Away {
                        thread: sample.thread,
                        stack: sample.stack,
                        since_ns: Some(sample.time_ns),
                        ready_ns: runnable.then_some(sample.time_ns),
                    };
                    self.away.insert(tid, away);
                }
            }
            "sched:sched_wakeup" => {
                let woken = number(&sample.trace, " pid=").and_then(|tid| self.away.get_mut(&tid));
                if let Some(away) = woken {
                    away.ready_ns.get_or_insert(sample.time_ns);
                }
            }
            _ => {}
        }
    }

    /// The sums in microseconds. Who is still away was so until the end: the last event, or `span_ns` after the first
    /// one if that is later.
    pub fn finish(mut self, span_ns: u64) -> Stacks {
        self.now_ns = self.now_ns.max(self.began_ns.unwrap_or(0).saturating_add(span_ns));
        for away in std::mem::take(&mut self.away).into_values() {
            self.count(away);
        }
        let mut stacks = Stacks::default();
        for ((thread, stack, leaf), weight_ns) in self.stacks {
            stacks.add(&thread, &stack, leaf, weight_ns / 1000);
        }
        stacks
    }

    fn count(&mut self, away: Away) {
        let ready_ns = away.ready_ns.unwrap_or(self.now_ns);
        let since_ns = away.since_ns.or(self.began_ns).unwrap_or(0);
        for (leaf, from_ns, to_ns) in [(BLOCKED, since_ns, ready_ns), (WAITS_FOR_A_CORE, ready_ns, self.now_ns)] {
            let key = (away.thread.clone(), away.stack.clone(), leaf);
            *self.stacks.entry(key).or_default() += to_ns.saturating_sub(from_ns);
        }
    }
}

/// `[<0>] futex_wait_queue+0x60/0x90`, or the bare name of proc_pid_wchan(5).
fn kernel_frame(line: &str) -> Option<Frame> {
    let name = line.rsplit(' ').next()?.split('+').next().filter(|name| !name.is_empty() && *name != "0")?;
    Some(Frame { address: u64::MAX, symbol: name.to_owned(), object: "[kernel.kallsyms]".to_owned() })
}

/// The number behind ` key=`. A thread's name comes before it and may hold anything, so the last place counts.
fn number(trace: &str, key: &str) -> Option<u32> {
    let digits = &trace[trace.rfind(key)? + key.len()..];
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

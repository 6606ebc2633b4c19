//! Time off a core, by the stack that left it, from the scheduler's tracepoints.
//!
//! A thread is away from the sched_switch that takes it off its core to the one that puts it on a core again. What it waited
//! for is told by the innermost frame: until its sched_wakeup it was `[blocked]`, from then on, or all the time if it was
//! pushed off while it could have gone on (state R), it was `[waits for a core]`.

use crate::{
    samples::{Frame, Sample},
    stacks::Stacks,
};
use std::collections::{HashMap, HashSet};

const BLOCKED: &str = "[blocked]";
const WAITS_FOR_A_CORE: &str = "[waits for a core]";

/// Follows some threads through the events, which must come in the order of time.
#[derive(Debug)]
pub struct OffCpu {
    threads: HashSet<u32>,
    away: HashMap<u32, Away>,
    stacks: NanoStacks,
    now_ns: u64,
}

/// A thread without a core.
#[derive(Debug)]
struct Away {
    thread: String,
    stack: Vec<Frame>,
    since_ns: u64,
    /// When it could go on again.
    ready_ns: Option<u64>,
}

/// Weights in nanoseconds until the end, so that many short waits do not round to nothing.
type NanoStacks = HashMap<(String, Vec<Frame>, &'static str), u64>;

impl OffCpu {
    /// Follows these.
    pub fn new(threads: &[u32]) -> Self {
        Self { threads: threads.iter().copied().collect(), away: HashMap::new(), stacks: NanoStacks::new(), now_ns: 0 }
    }

    /// The next event.
    pub fn event(&mut self, sample: Sample) {
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
                        since_ns: sample.time_ns,
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

    /// The sums in microseconds. Who is still away was so until the last event.
    pub fn finish(mut self) -> Stacks {
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
        for (leaf, from_ns, to_ns) in [(BLOCKED, away.since_ns, ready_ns), (WAITS_FOR_A_CORE, ready_ns, self.now_ns)] {
            let key = (away.thread.clone(), away.stack.clone(), leaf);
            *self.stacks.entry(key).or_default() += to_ns.saturating_sub(from_ns);
        }
    }
}

/// The number behind ` key=`. A thread's name comes before it and may hold anything, so the last place counts.
fn number(trace: &str, key: &str) -> Option<u32> {
    let digits = &trace[trace.rfind(key)? + key.len()..];
    digits.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

//! Scheduling: waiting queries, in a lane for each client, and responses that wait for their clients.
//! Behind one lock, which only the pool's threads take.

use super::{
    delivery::Delivery,
    routes::RawQuery,
    shares::{Sharer, Taken, source_max},
};
use crate::query_pool::response_channel::Writer;
use log::LogPosition;
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// A query on its way to a thread.
#[derive(Debug)]
pub(super) struct Job {
    pub query: Box<RawQuery>,
    pub arrived: Instant,
    pub response: Writer,
    /// Names its response.
    pub number: u64,
    /// Permit to wait.
    pub waiting: Taken,
    /// Set once it has waited for the log.
    pub resume: Option<Resume>,
}

/// The state with which a request resumes after its wait for the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resume {
    /// The position that it waited at.
    pub at: LogPosition,
    /// The end of its wait.
    pub until: Instant,
}

/// The next work of a thread.
#[derive(Debug)]
pub(super) enum Work {
    Evaluate(Job),
    /// A response, by its number.
    Deliver(u64, Box<Delivery>),
}

/// One client's queries.
#[derive(Debug)]
struct Lane {
    sharer: Sharer,
    waiting: VecDeque<Job>,
    running: usize,
    /// Number of the last turn of its source; of one that had none, of the last before it came.
    source_turn: u64,
}

/// The pending work.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Clients with a waiting or running query. Sources take turns, so that nobody gets more of them by inventing
    /// names; the clients of one source do in the order of these lanes.
    lanes: VecDeque<Lane>,
    /// Number of the last turn.
    turn: u64,
    threads: usize,
    /// Responses with space for more, in turn.
    ready: VecDeque<(u64, Box<Delivery>)>,
    /// Responses without space.
    parked: HashMap<u64, Box<Delivery>>,
}

impl Schedule {
    pub fn new(threads: usize) -> Self {
        Self { lanes: VecDeque::new(), turn: 0, threads, ready: VecDeque::new(), parked: HashMap::new() }
    }

    pub fn add(&mut self, job: Job) {
        let sharer = job.query.sharer;
        match self.lanes.iter_mut().find(|lane| lane.sharer == sharer) {
            Some(lane) => lane.waiting.push_back(job),
            None => {
                let of_source = self.lanes.iter().find(|lane| lane.sharer.source == sharer.source);
                let source_turn = of_source.map_or(self.turn, |lane| lane.source_turn);
                self.lanes.push_back(Lane { sharer, waiting: VecDeque::from([job]), running: 0, source_turn });
            }
        }
    }

    /// Takes the next work. Responses that have begun come first: handing over is short, and frees memory.
    pub fn next(&mut self) -> Option<Work> {
        if let Some((number, delivery)) = self.ready.pop_front() {
            return Some(Work::Deliver(number, delivery));
        }
        let at = self.next_lane()?;
        let mut lane = self.lanes.remove(at)?;
        let job = lane.waiting.pop_front()?;
        lane.running += 1;
        self.turn += 1;
        let source = lane.sharer.source;
        self.lanes.push_back(lane);
        let of_source = self.lanes.iter_mut().filter(|lane| lane.sharer.source == source);
        of_source.for_each(|lane| lane.source_turn = self.turn);
        Some(Work::Evaluate(job))
    }

    /// Returns true if there is work.
    pub fn has_next(&self) -> bool {
        !self.ready.is_empty() || self.next_lane().is_some()
    }

    /// The lane whose turn it is. One client has half of the threads at most, and one source three quarters.
    fn next_lane(&self) -> Option<usize> {
        let running_of = |source| {
            self.lanes.iter().filter(|lane| lane.sharer.source == source).map(|lane| lane.running).sum::<usize>()
        };
        let may_run = |lane: &Lane| {
            !lane.waiting.is_empty()
                && lane.running < self.threads.div_ceil(2)
                && running_of(lane.sharer.source) < source_max(self.threads)
        };
        // The first of equals.
        let lanes = self.lanes.iter().enumerate().filter(|(_, lane)| may_run(lane));
        lanes.min_by_key(|(_, lane)| lane.source_turn).map(|(at, _)| at)
    }

    /// A query of this client has left its thread.
    pub fn finish(&mut self, sharer: Sharer) {
        if let Some(at) = self.lanes.iter().position(|lane| lane.sharer == sharer) {
            self.lanes[at].running -= 1;
            if self.lanes[at].running == 0 && self.lanes[at].waiting.is_empty() {
                self.lanes.remove(at);
            }
        }
    }

    /// Queues a response behind those that wait for a thread as well.
    pub fn deliver_next(&mut self, number: u64, delivery: Box<Delivery>) {
        self.ready.push_back((number, delivery));
    }

    /// Puts a response aside until its client has taken some, or has left.
    pub fn park(&mut self, number: u64, delivery: Box<Delivery>) {
        let waits = delivery.response.wait_for_space();
        if waits {
            self.parked.insert(number, delivery);
        } else {
            self.ready.push_back((number, delivery));
        }
    }

    /// Queues the response with this number, as there is space for it.
    pub fn unpark(&mut self, number: u64) {
        if let Some(delivery) = self.parked.remove(&number) {
            self.ready.push_back((number, delivery));
        }
    }

    /// Responses that are put aside.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }
}

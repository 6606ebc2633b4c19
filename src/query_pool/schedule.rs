//! Scheduling: waiting queries, in a lane for each client, and responses that wait for their clients.
//! Behind one lock, which only the pool's threads take.

use super::{delivery::Delivery, routes::RawQuery, shares::Taken};
use crate::query_pool::response_channel::Writer;
use log::LogPosition;
use rate::ClientKey;
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// A query on its way to a thread.
#[derive(Debug)]
pub(super) struct Job {
    pub client: ClientKey,
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
    client: ClientKey,
    waiting: VecDeque<Job>,
    running: usize,
}

/// The pending work.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Clients with a waiting or running query, in the order of their turns.
    lanes: VecDeque<Lane>,
    /// Threads that one client may have: half of them.
    running_max: usize,
    /// Responses with space for more, in turn.
    ready: VecDeque<(u64, Box<Delivery>)>,
    /// Responses without space.
    parked: HashMap<u64, Box<Delivery>>,
}

impl Schedule {
    pub fn new(threads: usize) -> Self {
        Self {
            lanes: VecDeque::new(),
            running_max: threads.div_ceil(2),
            ready: VecDeque::new(),
            parked: HashMap::new(),
        }
    }

    pub fn add(&mut self, job: Job) {
        match self.lanes.iter_mut().find(|lane| lane.client == job.client) {
            Some(lane) => lane.waiting.push_back(job),
            None => {
                let client = job.client;
                self.lanes.push_back(Lane { client, waiting: VecDeque::from([job]), running: 0 });
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
        self.lanes.push_back(lane);
        Some(Work::Evaluate(job))
    }

    /// Returns true if there is work.
    pub fn has_next(&self) -> bool {
        !self.ready.is_empty() || self.next_lane().is_some()
    }

    fn next_lane(&self) -> Option<usize> {
        self.lanes.iter().position(|lane| !lane.waiting.is_empty() && lane.running < self.running_max)
    }

    /// A query of this client has left its thread.
    pub fn finish(&mut self, client: ClientKey) {
        if let Some(at) = self.lanes.iter().position(|lane| lane.client == client) {
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

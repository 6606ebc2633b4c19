//! Which client begins which request, and when. In a closed loop each client has its own count; in an open one the
//! schedule says when, and the client that has been free the longest says who.

use super::{ClientGroup, SEND_BYTES_ENOUGH};
use crate::load::{
    client::{InFlight, Link},
    schedule::LATE_NS,
    tally::Begun,
};
use reactor::{Driver, Token};
use std::mem;

impl ClientGroup<'_> {
    /// Hands the sends that have fallen due to clients that are free.
    pub(super) fn dispatch<D: Driver>(&mut self, driver: &mut D, now_ns: u64) {
        while let Some(due_ns) = self.next_send_ns().filter(|due_ns| *due_ns <= now_ns)
            && let Some(index) = self.free.pop_front()
        {
            self.clients[index].free = false;
            // Its connection may have ended since; it comes back when it can connect again.
            if self.may_begin(index, now_ns) {
                if now_ns - due_ns > LATE_NS && due_ns >= self.warm_ns {
                    self.tally.late_by_itself += 1;
                }
                self.step(driver, index, now_ns);
                self.arm(index);
            }
        }
    }

    /// When the next send of the schedule is due, if there is one.
    pub(super) fn next_send_ns(&self) -> Option<u64> {
        self.schedule.as_ref().filter(|_| !self.ended)?.next_ns()
    }

    /// Has a client wait for a send to fall due.
    pub(super) fn offer(&mut self, index: usize) {
        if !mem::replace(&mut self.clients[index].free, true) {
            self.free.push_back(index);
        }
    }

    /// Returns true if the client could take a request, if there is one for it.
    pub(super) fn has_capacity(&self, index: usize) -> bool {
        let client = &self.clients[index];
        let capacity = if self.interval_ns > 0 { 1 } else { self.plan.pipeline };
        matches!(client.link, Link::Down | Link::Open)
            && client.in_flight.len() < capacity
            && client.awaited.is_none()
            && !client.sending
    }

    pub(super) fn may_begin(&self, index: usize, now_ns: u64) -> bool {
        let client = &self.clients[index];
        let is_due = match &self.schedule {
            None => client.quota > 0 && client.resume_ns <= now_ns && now_ns < self.end_ns,
            Some(schedule) => schedule.next_ns().is_some_and(|due_ns| due_ns <= now_ns),
        };
        is_due && !self.ended && self.has_capacity(index)
    }

    /// The next request of a client, or of the schedule: when it was meant to begin, which is at `now_ns` in a closed
    /// loop.
    fn take(&mut self, index: usize, now_ns: u64) -> Option<Begun> {
        if self.ended {
            return None;
        }
        let Some(schedule) = &mut self.schedule else {
            let client = &mut self.clients[index];
            if client.quota == 0 || now_ns >= self.end_ns {
                return None;
            }
            if now_ns >= self.warm_ns && self.plan.requests_each.is_some() {
                client.quota -= 1;
            }
            return Some(Begun { intended_ns: now_ns, start_ns: now_ns });
        };
        let intended_ns = schedule.take(now_ns)?;
        if intended_ns >= self.warm_ns {
            self.tally.scheduled += 1;
            self.tally.late += u64::from(now_ns - intended_ns > LATE_NS);
            if let Some(stages) = &mut self.tally.stages {
                stages.begun(intended_ns);
            }
        }
        Some(Begun { intended_ns, start_ns: now_ns })
    }

    pub(super) fn connect<D: Driver>(&mut self, driver: &mut D, index: usize) {
        let now_ns = self.now_ns();
        let Some(begun) = self.take(index, now_ns) else { return };
        let client = &mut self.clients[index];
        (client.awaited, client.since_ns) = (Some(begun), now_ns);
        self.try_to_connect(driver, index);
    }

    /// Begins a connection for the request that a client awaits, for the first time or after it found a full queue.
    pub(super) fn try_to_connect<D: Driver>(&mut self, driver: &mut D, index: usize) {
        match driver.connect(&self.plan.server) {
            Ok(token) => {
                let client = &mut self.clients[index];
                (client.link, client.token, client.resume_ns) = (Link::Connecting, Some(token), 0);
                self.by_slot[token.slot()] = index;
            }
            Err(error) => {
                self.clients[index].link = Link::Down;
                let failure = self.failure(&error);
                self.fail(index, failure);
                self.touch(index);
            }
        }
    }

    pub(super) fn send<D: Driver>(&mut self, driver: &mut D, index: usize, token: Token) {
        let now_ns = self.now_ns();
        let requests = &self.plan.requests;
        let client = &mut self.clients[index];
        // Over TLS the requests are written aside, and encrypted into the connection's buffer.
        let of_connection =
            if client.session.is_some() { Some(mem::take(&mut self.plain)) } else { client.buffer.take() };
        let mut buffer = of_connection.unwrap_or_else(|| {
            let bytes = requests.bytes_max();
            Vec::with_capacity(bytes * self.plan.pipeline.min(SEND_BYTES_ENOUGH / bytes + 1))
        });
        // While others are free, sends that are due together go to one each.
        let most = if self.free.is_empty() { self.plan.pipeline } else { client.in_flight.len() + 1 };
        let mut awaited = client.awaited.take();
        while self.clients[index].in_flight.len() < most
            && buffer.len() < SEND_BYTES_ENOUGH
            && let Some(begun) = awaited.take().or_else(|| self.take(index, now_ns))
        {
            let before = buffer.len();
            let client = &mut self.clients[index];
            let metrics = requests.write(client.number, self.turn, &mut self.variables, &mut buffer);
            self.turn = self.turn.wrapping_add(1);
            let bytes = (buffer.len() - before) as u64;
            client.in_flight.push_back(InFlight { begun, metrics, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
            if begun.intended_ns >= self.warm_ns {
                self.tally.bytes += bytes;
                self.tally.span.sent(bytes);
            }
        }
        let client = &mut self.clients[index];
        if let Some(session) = &mut client.session {
            let mut wire = client.buffer.take().unwrap_or_default();
            session.send(&buffer, &mut wire);
            buffer.clear();
            self.plain = mem::replace(&mut buffer, wire);
        }
        if buffer.is_empty() {
            // The load's time ended between the decision to send and this clock.
            client.buffer = Some(buffer);
            return;
        }
        client.sending = true;
        driver.send(token, buffer);
    }
}

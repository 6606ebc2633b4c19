//! Eviction when there are more connections, or more bytes held for them, than a core may have.
//!
//! The bounds are shared, not divided: one address may have all of either while nobody else wants any. When the table
//! is full and a connection comes from an address that holds fewer, or the memory is used up and an address that holds
//! less needs some, the address that holds the most loses its least useful connection: one that ends anyway, one
//! between two requests, one whose request comes slowly, and last one that does not take its responses. Among equals
//! only what is slow is evicted ([`limits::SLOW_NS`]), so uploads that go on are not traded for each other. A request
//! that is whole is never lost: it gets its response, or its connection is left alone.
//!
//! A connection over the bound that displaces nobody is read from for a second all the same, in a reserve of
//! [`limits::REFUSALS_IN_FLIGHT_MAX`]: `/health` and `/ready` are served, anything else is 503.

use super::{
    DriverOp,
    connection::{Connection, Phase, Timer},
    holders::{HolderSlot, Holders},
    state::State,
};
use crate::{
    limits,
    listening::Role,
    service::{BurstResult, CROWDED},
    stats::Closed,
};
use http1::{HttpError, Next, Progress};
use reactor::Token;
use std::sync::atomic::Ordering;

/// Worth of a connection that may be evicted: the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Has its last response.
    Ending,
    /// Between two requests.
    Idle,
    /// In a request that makes no progress.
    Slow,
    /// In a request.
    Receiving,
    /// The peer does not read its responses.
    Unread,
}

impl State {
    /// Counts what a connection holds: its buffers, its responses, and what the driver keeps for it.
    pub(super) fn count_held(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        if !connection.sending {
            let responses = connection.out.capacity();
            self.http.recount(connection.response_bytes, responses);
            self.response_bytes = self.response_bytes - connection.response_bytes + responses;
            connection.response_bytes = responses;
        }
        let held = connection.http.owned_bytes() + connection.response_bytes + connection.kept_bytes;
        if held != connection.held_bytes {
            self.holders.recount(connection.place, connection.held_bytes, held);
            connection.held_bytes = held;
        }
    }

    /// Takes the connection out of all counts of memory. It has given its buffers back.
    pub(super) fn forget_held(&mut self, connection: &Connection) {
        self.http.recount(connection.response_bytes + connection.kept_bytes, 0);
        self.response_bytes -= connection.response_bytes;
        self.driver_bytes -= connection.kept_bytes;
        self.leave(connection.place, connection.held_bytes);
    }

    /// Gives a connection to the address that its proxy has named in a header.
    pub(super) fn rehome(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        let (address, place, held_bytes) = (connection.caller.counted_by(), connection.place, connection.held_bytes);
        self.leave(place, held_bytes);
        let place = self.holders.enter(address, token);
        self.holders.recount(place, 0, held_bytes);
        if let Some(connection) = self.connections.get(token) {
            connection.place = place;
        }
    }

    fn leave(&mut self, place: HolderSlot, held_bytes: usize) {
        if let Some(moved) = self.holders.leave(place, held_bytes)
            && let Some(other) = self.connections.get(moved)
        {
            other.place = Holders::place_after_move(other.place, place);
        }
    }

    /// Reserves what the driver wants to keep for a connection.
    pub(super) fn reserve_for_driver(&mut self, token: Token, bytes: usize) -> bool {
        self.make_memory(token, bytes);
        let Some(connection) = self.connections.get(token) else { return false };
        if !self.http.reserve(bytes) {
            connection.evicted = true;
            return false;
        }
        connection.kept_bytes += bytes;
        self.driver_bytes += bytes;
        self.count_held(token);
        true
    }

    /// Takes back the memory that the driver has released.
    pub(super) fn release_of_driver(&mut self, token: Token, bytes: usize) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.kept_bytes -= bytes;
        self.http.recount(bytes, 0);
        self.driver_bytes -= bytes;
        self.count_held(token);
    }

    /// Sees to it that `bytes` can be reserved for a connection, if others may be evicted for it.
    pub(super) fn make_memory(&mut self, token: Token, bytes: usize) {
        // What the driver frees once it has closed the connections that were evicted here.
        let mut coming = 0;
        for _ in 0..limits::EVICTIONS_MAX {
            if self.http.free_bytes() + coming >= bytes || self.memory_searched {
                return;
            }
            let Some(own) = self.connections.get(token).map(|connection| connection.place.holder()) else { return };
            let Some((heaviest, most)) = self.holders.most_bytes() else { return };
            let gives_way = heaviest != own && most >= self.holders.bytes(own) + bytes;
            let now_ns = self.now_ns;
            let victim = self.least_useful(heaviest, token, |connection| {
                let worth = worth_of(connection, now_ns)?;
                let may = connection.held_bytes > 0 && (worth == Worth::Slow || gives_way);
                // The longer silent and the larger, the sooner.
                let silent_ms = now_ns.saturating_sub(connection.progress_ns) / 1_000_000;
                let cost = u64::MAX - silent_ms.saturating_mul(connection.held_bytes as u64);
                may.then_some((worth.max(Worth::Slow), cost))
            });
            let Some(victim) = victim else {
                // Not again in this turn: looking costs, and a crowd must not have it done for each of its deliveries.
                self.memory_searched = true;
                return;
            };
            self.evict(victim, HttpError::BodiesFull);
            let left = self.connections.get(victim).filter(|connection| connection.phase == Phase::Closing);
            coming += left.map_or(0, |connection| connection.held_bytes);
        }
    }

    /// The connection of a holder that is worth the least by `rank`, which leaves out those that may not be evicted.
    fn least_useful(
        &mut self,
        holder: usize,
        except: Token,
        rank: impl Fn(&Connection) -> Option<(Worth, u64)>,
    ) -> Option<Token> {
        let looks = self.holders.some_of(holder, limits::EVICTION_LOOKS_MAX);
        let ranked = looks.filter(|&token| token != except).filter_map(|token| {
            let connection = self.connections.get(token)?;
            Some((rank(connection)?, token))
        });
        ranked.min_by_key(|&(rank, _)| rank).map(|(_, token)| token)
    }

    /// Evicts a connection. If part of a request has come the response is `refusal`.
    fn evict(&mut self, token: Token, refusal: HttpError) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.evicted = true;
        if connection.phase != Phase::Receiving {
            connection.http.release(&mut self.http);
            self.close(token, Closed::Evicted);
            return self.count_held(token);
        }
        connection.stamps.received_ns = self.now_ns;
        let progress = connection.http.evict(
            refusal,
            connection.caller,
            &mut self.setup.service,
            &mut self.http,
            &mut connection.out,
        );
        self.broken_off(token, progress, Closed::Evicted);
        self.count_held(token);
    }

    /// Sends what was said to a connection whose request was broken off, or closes it.
    pub(super) fn broken_off(&mut self, token: Token, progress: Progress<BurstResult>, reason: Closed) {
        let batches = progress.result.batch_responses;
        let Some(connection) = self.connections.get(token) else { return };
        connection.stamps.decided_ns = self.now_ns;
        connection.batch_responses += batches;
        connection.other_responses += u32::from(!connection.out.is_empty()) - batches;
        self.setup.service.hand_over_traces(&mut connection.traces);
        match progress.next {
            Next::Send(after) => self.dispatch(token, after),
            _ => self.close(token, reason),
        }
    }

    // ---- the bound of connections ----------------------------------------------------------------------------------

    /// Takes one more connection into the bound of all cores, or into that of statistics on this one, if it is not
    /// reached.
    pub(super) fn count_in(&mut self, role: Role) -> bool {
        if role == Role::Admin {
            let is_in = self.admins_open < limits::ADMIN_CONNECTIONS_MAX;
            self.admins_open += u32::from(is_in);
            return is_in;
        }
        let limit = self.setup.connections_limit;
        // A plain count that orders nothing else.
        let before = self.setup.connections.fetch_add(1, Ordering::Relaxed);
        if before >= limit {
            self.setup.connections.fetch_sub(1, Ordering::Relaxed);
        }
        before < limit
    }

    /// Gives a newcomer the place of a connection of the address that has the most on this core, if that one may be
    /// evicted for it. The one that goes is over the bound until it is gone.
    pub(super) fn displace_for(&mut self, token: Token) -> bool {
        let newcomer = self.connections.get(token).filter(|connection| connection.caller.role != Role::Admin);
        let Some(own) = newcomer.map(|connection| connection.place.holder()) else { return false };
        let Some((heaviest, most)) = self.holders.most_connections() else { return false };
        // Afterwards it still has as many.
        let gives_way = heaviest != own && most > self.holders.connections(own);
        let now_ns = self.now_ns;
        let victim = self.least_useful(heaviest, token, |connection| {
            let counts = !connection.refused && connection.caller.role != Role::Admin;
            let worth = worth_of(connection, now_ns).filter(|_| counts)?;
            let is_slow_head = worth == Worth::Slow && !connection.http.is_receiving_body();
            let may = worth != Worth::Unread && (gives_way || is_slow_head);
            may.then_some((worth, connection.progress_ns))
        });
        let Some(victim) = victim else { return false };
        if let Some(connection) = self.connections.get(victim) {
            connection.refused = true;
            self.refusals_open += 1;
        }
        self.evict(victim, CROWDED);
        true
    }

    /// Takes in a connection over the bound: for a moment, for `/health` and `/ready`.
    pub(super) fn hear_out(&mut self, token: Token) {
        self.setup.service.counters.connections_refused += 1;
        let Some(connection) = self.connections.get(token) else { return };
        connection.refused = true;
        connection.caller.crowded = true;
        self.refusals_open += 1;
        self.reserve.push_back(token);
        self.set_timer(token, Timer::Refusal);
        if self.refusals_open > limits::REFUSALS_IN_FLIGHT_MAX / 2 {
            self.shorten_reserve();
        }
        if self.refusals_open >= limits::REFUSALS_IN_FLIGHT_MAX && !self.accept_paused {
            self.accept_paused = true;
            self.driver_ops.extend(self.public_listeners().map(DriverOp::PauseAccept));
        }
    }

    /// Ends one of the connections over the bound: one that only lingers, or the oldest of the address that has the
    /// most of them.
    fn shorten_reserve(&mut self) {
        let connections = &mut self.connections;
        self.reserve
            .retain(|&token| connections.get(token).is_some_and(|connection| connection.phase != Phase::Closing));
        let lingering = self
            .reserve
            .iter()
            .copied()
            .find(|&token| connections.get(token).is_some_and(|c| c.phase == Phase::Lingering));
        if let Some(token) = lingering {
            return self.close(token, Closed::AfterResponse);
        }
        let waiting: Vec<(Token, usize)> = self
            .reserve
            .iter()
            .filter_map(|&token| {
                let connection = connections.get(token).filter(|connection| connection.phase == Phase::Receiving)?;
                Some((token, connection.place.holder()))
            })
            .collect();
        let count = |holder: usize| waiting.iter().filter(|&&(_, of)| of == holder).count();
        // The first of equals: `max_by_key` gives the last.
        if let Some(&(token, _)) = waiting.iter().rev().max_by_key(|&&(_, holder)| count(holder)) {
            self.refuse(token);
        }
    }

    /// Responds 503 on a connection over the limit.
    pub(super) fn refuse(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        let caller = connection.caller;
        let after = connection.http.refuse(CROWDED, &self.http, &mut connection.out);
        connection.stamps.received_ns = self.now_ns;
        connection.other_responses += 1;
        self.setup.service.refuse_caller(CROWDED, caller);
        self.dispatch(token, after);
    }

    /// Records that a connection has ended.
    pub(super) fn count_out(&mut self, connection: &Connection) {
        if !connection.refused {
            if connection.caller.role == Role::Admin {
                self.admins_open -= 1;
            } else {
                self.setup.connections.fetch_sub(1, Ordering::Relaxed);
            }
            return;
        }
        self.refusals_open -= 1;
        if self.refusals_open == 0 {
            self.reserve.clear();
        }
        if self.accept_paused && self.refusals_open <= limits::REFUSALS_IN_FLIGHT_MAX / 2 {
            self.accept_paused = false;
            self.driver_ops.extend(self.public_listeners().map(DriverOp::ResumeAccept));
        }
    }
}

/// Worth of a connection; `None`: it may not be evicted, as something of it waits for the log or another thread.
fn worth_of(connection: &Connection, now_ns: u64) -> Option<Worth> {
    let is_slow = now_ns.saturating_sub(connection.progress_ns) >= limits::SLOW_NS;
    match connection.phase {
        Phase::Lingering => Some(Worth::Ending),
        Phase::Receiving if !connection.http.is_in_request() => Some(Worth::Idle),
        Phase::Receiving if is_slow => Some(Worth::Slow),
        Phase::Receiving => Some(Worth::Receiving),
        Phase::Sending if is_slow => Some(Worth::Unread),
        Phase::Sending | Phase::Ready | Phase::Deferred | Phase::Held | Phase::Streaming | Phase::Closing => None,
    }
}

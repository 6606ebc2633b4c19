//! The state of one core beside its driver, and what it makes of the driver's events.
//!
//! A turn: the driver calls the handler below; then `prepare_turn` reads messages and timers, goes on with connections
//! whose share of the turn was used up, publishes the lines once, releases the responses whose position the log has
//! reached, and leaves what the driver has to do in `driver_ops`.

use super::{
    DriverOp, ShardSetup,
    arrival::Preface,
    backlog::Backlog,
    connection::{Connection, ConnectionTable, Phase, Source, Timer},
    documents::Waiters,
    holders::Holders,
    positions::Positions,
};
use crate::{
    config::PositionHeader,
    limits,
    service::{BurstResult, Caller, DeferredRequest, PendingAck},
    shard::ShardMessage,
    stats::{Closed, Stamps},
    warnings::Warnings,
};
use http1::{Bounds, Deadline, Disposition, HttpContext, Next, Progress, format_date};
use log::AckLevel;
use reactor::{Cause, Driver, Flow, Handler, Peer, TimerWheel, Token};
use std::{collections::VecDeque, io, time::Duration};

/// A burst whose responses wait for the log. What it stored is counted when the log has it, whether or not its
/// connection is still open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    part: PendingAck,
    token: Token,
}

/// The phase of shutdown of this core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    /// The listener is being emptied, and what has arrived is being served: for that many turns, none of which waits.
    Sweeping {
        turns_left: u8,
    },
    /// Requests in progress are finished.
    Finishing,
}

/// One core's state.
pub struct State {
    pub(super) setup: ShardSetup,
    pub(super) http: HttpContext,
    pub(super) connections: ConnectionTable,
    pub(super) documents: Waiters,
    pub(super) holders: Holders,
    /// Bytes of memory of responses, and those that the driver keeps for paused connections.
    pub(super) response_bytes: usize,
    /// See `response_bytes`.
    pub(super) driver_bytes: usize,
    /// Memory was looked for in this turn, and none was found.
    pub(super) memory_searched: bool,
    pub(super) wheel: TimerWheel,
    /// Connections whose inbox goes on in the next turn.
    pub(super) ready: Backlog,
    /// Work that this turn may still do, over all connections: see [`limits::TURN_WORK_BYTES_MAX`].
    pub(super) work_left_bytes: usize,
    /// Positions only grow, so the oldest is always the next: one queue for each place the log can have reached.
    pub(super) held_for_write: VecDeque<Hold>,
    pub(super) held_for_sync: VecDeque<Hold>,
    pub(super) expired: Vec<usize>,
    pub(super) driver_ops: Vec<DriverOp>,
    pub(super) now_ns: u64,
    /// The latest reading of the clock.
    latest_ns: u64,
    /// Time at which this turn's wait ended.
    turn_began_ns: u64,
    /// The driver has waited since the clocks were read.
    slept: bool,
    /// The driver has done operations since the clocks were read.
    operated: bool,
    date_s: u64,
    drain: Drain,
    aborted: bool,
    /// Connections over the bound.
    pub(super) refusals_open: u32,
    /// Connections over the limit, in the order of arrival.
    pub(super) reserve: VecDeque<Token>,
    /// Connections of `--admin-listen`.
    pub(super) admins_open: u32,
    pub(super) accept_paused: bool,
    accept_warnings: Warnings,
    pub(super) proxy_warnings: Warnings,
    pub(super) queued_bytes_max: u64,
    /// Connections with a traced batch whose lines are not published yet.
    traced: Vec<Token>,
    /// Responses that wait for their position in the log.
    positions: Positions,
}

impl State {
    /// The state of a core without connections; `slots` is the driver's bound of them.
    pub fn new(setup: ShardSetup, slots: u32) -> Self {
        let now_ns = setup.shared.clock.monotonic_ns();
        let mut http = HttpContext::new(Bounds { body_bytes: setup.shared.config.body_bytes_max() });
        http.cors = setup.shared.config.cors.clone();
        let mut state = Self {
            http,
            connections: ConnectionTable::default(),
            documents: Waiters::default(),
            holders: Holders::new(setup.shared.config.ipv6_prefix),
            response_bytes: 0,
            driver_bytes: 0,
            memory_searched: false,
            wheel: TimerWheel::new(slots, limits::TIMER_TICK_MS, now_ns / 1_000_000),
            ready: Backlog::default(),
            work_left_bytes: limits::TURN_WORK_BYTES_MAX,
            held_for_write: VecDeque::new(),
            held_for_sync: VecDeque::new(),
            expired: Vec::new(),
            driver_ops: Vec::new(),
            now_ns,
            latest_ns: now_ns,
            turn_began_ns: now_ns,
            slept: false,
            operated: false,
            date_s: u64::MAX,
            drain: Drain::No,
            aborted: false,
            refusals_open: 0,
            admins_open: 0,
            reserve: VecDeque::new(),
            accept_paused: false,
            accept_warnings: Warnings::default(),
            proxy_warnings: Warnings::default(),
            queued_bytes_max: 0,
            traced: Vec::new(),
            positions: Positions::default(),
            setup,
        };
        state.read_clocks();
        state
    }

    fn read_clocks(&mut self) {
        let clock = self.setup.shared.clock;
        self.now_ns = clock.monotonic_ns();
        let wall_ms = clock.wall_ms();
        self.latest_ns = self.now_ns;
        self.setup.service.set_arrival(wall_ms);
        let second = u64::try_from(wall_ms).unwrap_or(0) / 1_000;
        if second != self.date_s {
            self.date_s = second;
            self.http.date = format_date(second);
        }
    }

    /// The first event after a wait reads the clocks for all of them.
    fn refresh_clock_after_wait(&mut self) {
        if std::mem::take(&mut self.slept) {
            self.read_clocks();
            self.turn_began_ns = self.now_ns;
            self.operated = false;
        }
    }

    /// The first response that was sent in the turn in which it was made reads the clock for all of them.
    fn refresh_clock_after_operations(&mut self) {
        if std::mem::take(&mut self.operated) {
            self.latest_ns = self.setup.shared.clock.monotonic_ns();
            self.now_ns = self.latest_ns;
        }
    }

    /// The end of the turn: how long did it take?
    fn end_turn(&mut self) {
        let turn_ns = self.setup.shared.clock.monotonic_ns().saturating_sub(self.turn_began_ns);
        let service = &mut self.setup.service;
        service.histograms.turn_ns.record(turn_ns, 1);
        service.counters.turns_stalled += u64::from(u128::from(turn_ns) > limits::TURN_STALL.as_nanos());
        self.slept = true;
    }

    pub(super) const fn now_ms(&self) -> u64 {
        self.now_ns / 1_000_000
    }

    /// Everything between two turns. Afterwards [`State::driver_ops`] holds what the driver has to do.
    pub fn prepare_turn<D: Driver>(&mut self, driver: &D) {
        if self.slept {
            self.refresh_clock_after_wait();
        } else {
            // Read when the turn's latest burst was decided, or when the turn began.
            self.now_ns = self.latest_ns;
        }
        self.setup.service.counters.turns_full += u64::from(self.work_left_bytes == 0);
        self.work_left_bytes = limits::TURN_WORK_BYTES_MAX;
        self.memory_searched = false;
        self.read_mail(driver);
        self.hand_out_documents();
        self.fire_timers();
        self.resume_ready();
        self.sweep();
        self.publish();
        self.release();
    }

    /// Returns true if there are operations for the driver.
    pub const fn has_driver_ops(&self) -> bool {
        !self.driver_ops.is_empty()
    }

    /// The operations for the driver, in order.
    pub fn driver_ops(&mut self) -> impl Iterator<Item = DriverOp> + '_ {
        self.operated = true;
        self.driver_ops.drain(..)
    }

    /// Returns true once this core has nothing left to do.
    pub fn is_done(&self) -> bool {
        self.aborted || (self.drain == Drain::Finishing && self.connections.is_empty())
    }

    /// The maximum time that the driver may wait. Called after the sleep was announced: work that arrived before that
    /// must be seen here.
    pub fn sleep_limit(&mut self) -> Option<Duration> {
        self.end_turn();
        let log = self.setup.service.log();
        let reached = |holds: &VecDeque<Hold>, level| {
            holds.front().is_some_and(|hold| hold.part.position <= log.acknowledged(level))
        };
        if !self.ready.is_empty()
            || self.documents.has_rendered()
            || matches!(self.drain, Drain::Sweeping { .. })
            || !self.setup.messages.is_empty()
            || reached(&self.held_for_write, AckLevel::Write)
            || reached(&self.held_for_sync, AckLevel::Fsync)
        {
            return Some(Duration::ZERO);
        }
        let next_ms = self.wheel.next_deadline_ms()?;
        Some(Duration::from_millis(next_ms.saturating_sub(self.now_ms())))
    }

    // ---- messages --------------------------------------------------------------------------------------------------

    fn read_mail<D: Driver>(&mut self, driver: &D) {
        while let Some(message) = self.setup.messages.take() {
            match message {
                ShardMessage::Drain => self.drain(),
                ShardMessage::Abort => self.aborted = true,
                ShardMessage::Report(request) => {
                    if request.trim {
                        self.trim();
                    }
                    let report = self.report(driver, request.empty);
                    if let Err(unsent) = request.reply.try_send(report) {
                        // The observer is gone, or out of step. What was measured stays here.
                        let unsent = unsent.into_inner();
                        self.setup.service.histograms.add(&unsent.histograms);
                        self.setup.service.refusals.put_back(unsent.refusals);
                    }
                }
                ShardMessage::Document(rendered) => self.take_document(&rendered),
                ShardMessage::ResponseReady(notice) => {
                    let token = notice.accept();
                    // While something is being sent, its end brings the next part.
                    let waits =
                        |connection: &Connection| matches!(connection.phase, Phase::Deferred | Phase::Streaming);
                    if self.connections.get(token).is_some_and(|connection| waits(connection)) {
                        self.take_part(token);
                    }
                }
            }
        }
    }

    /// Stops taking in connections. Those between two requests are ended once what has arrived by now was served.
    fn drain(&mut self) {
        if self.drain == Drain::No {
            self.drain = Drain::Sweeping { turns_left: 2 };
            self.http.draining = true;
            if let Some(streams) = &self.setup.streams {
                streams.drain();
            }
            self.driver_ops.push(DriverOp::StopAccept);
        }
    }

    /// Ends the connections that have nothing in flight, when their last chance to be served is over.
    fn sweep(&mut self) {
        let Drain::Sweeping { turns_left } = &mut self.drain else { return };
        if *turns_left > 0 {
            *turns_left -= 1;
            return;
        }
        self.drain = Drain::Finishing;
        for token in self.connections.tokens() {
            let Some(connection) = self.connections.get(token) else { continue };
            match (connection.phase, connection.timer) {
                (Phase::Receiving, Timer::Idle | Timer::Refusal) | (Phase::Lingering, _) => {
                    self.close(token, Closed::Drained)
                }
                _ => {}
            }
        }
    }

    // ---- requests --------------------------------------------------------------------------------------------------

    /// Lets a connection take in `bytes`, or without any, go on with its inbox.
    pub(super) fn receive(&mut self, token: Token, bytes: &[u8]) -> Flow {
        let Some(connection) = self.connections.get(token) else { return Flow::Continue };
        let growth_max = connection.http.growth_max(bytes.len());
        let in_requests = connection.phase == Phase::Receiving && connection.preface == Preface::Over;
        let wants_buffer = in_requests && connection.out.capacity() == 0;
        if growth_max > self.http.free_bytes() {
            self.make_memory(token, growth_max);
        }
        let buffer = if wants_buffer { self.connections.lend_buffer() } else { Vec::new() };
        let Some(connection) = self.connections.get(token) else { return Flow::Continue };
        match connection.phase {
            Phase::Receiving if connection.preface != Preface::Over => {
                let rest = self.take_preface(token, bytes);
                self.rehome(token);
                if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                    return self.receive(token, rest);
                }
            }
            Phase::Receiving if self.work_left_bytes == 0 => {
                // The turn is used up: it waits for the next one, behind those that wait already.
                connection.buffered_ns = self.now_ns;
                connection.paused |= connection.http.buffer(bytes, &mut self.http);
                connection.phase = Phase::Ready;
                self.ready.push(token, connection.is_heavy);
            }
            Phase::Receiving => {
                if wants_buffer {
                    connection.out = buffer;
                }
                // What waited in the inbox for the responses before it has waited since it came.
                let waited = bytes.is_empty() && connection.buffered_ns > 0;
                connection.stamps.received_ns = if waited { connection.buffered_ns } else { self.now_ns };
                if !connection.http.is_receiving_body() {
                    connection.stamps.head_ns = connection.stamps.received_ns;
                }
                self.http.closes = connection.caller.crowded;
                self.setup.service.begin_burst();
                let was_in_request = connection.http.is_in_request();
                let progress = connection.http.receive(
                    bytes,
                    connection.caller,
                    &mut self.setup.service,
                    &mut self.http,
                    &mut connection.out,
                );
                self.work_left_bytes = self.work_left_bytes.saturating_sub(progress.work_bytes);
                if progress.work_bytes > 0 {
                    connection.is_heavy = progress.work_bytes > limits::LIGHT_WORK_BYTES_MAX;
                    if connection.is_heavy {
                        self.holders.note_heavy(connection.place, self.now_ns);
                    }
                }
                self.http.closes = false;
                connection.note_progress(bytes.len(), was_in_request && progress.responses == 0, self.now_ns);
                connection.buffered_ns = if progress.more { connection.stamps.received_ns } else { 0 };
                self.apply_progress(token, progress);
            }
            Phase::Ready | Phase::Deferred | Phase::Held | Phase::Sending | Phase::Streaming => {
                if connection.buffered_ns == 0 {
                    connection.buffered_ns = self.now_ns;
                }
                connection.paused |= connection.http.buffer(bytes, &mut self.http);
                self.count_held(token);
            }
            Phase::Lingering => {
                if connection.http.drain(bytes) {
                    self.close(token, Closed::AfterResponse);
                }
            }
            Phase::Closing => {}
        }
        match self.connections.get(token) {
            Some(connection) if connection.paused => Flow::Pause,
            _ => Flow::Continue,
        }
    }

    /// Does what the protocol's progress requires.
    pub(super) fn apply_progress(&mut self, token: Token, progress: Progress<BurstResult>) {
        let Progress { responses, result, next, pause, deadline, .. } = progress;
        let holds = self.queue_holds(token, &result);
        self.positions.push(token, self.setup.service.take_positions());
        let Some(connection) = self.connections.get(token) else { return };
        if responses > 0 {
            let responses = u32::try_from(responses).unwrap_or(u32::MAX);
            connection.batch_responses += result.batch_responses;
            connection.other_responses += responses - result.batch_responses;
            // The one reading of the clock that a burst pays for its stages; the others are the turns'.
            self.latest_ns = self.setup.shared.clock.monotonic_ns();
            connection.stamps.decided_ns = self.latest_ns;
            if self.setup.service.hand_over_traces(&mut connection.traces) {
                self.traced.push(token);
            }
        }
        connection.holds += holds;
        if std::mem::replace(&mut connection.paused, pause) && !pause {
            self.driver_ops.push(DriverOp::Resume(token));
        }
        connection.deadline = deadline.or(connection.deadline);
        match (next, result.deferred) {
            (Next::RespondDeferred, Some(DeferredRequest::Document { document, asked_by })) => {
                self.await_document(token, document, asked_by);
            }
            (Next::RespondDeferred, Some(DeferredRequest::Query(query))) => {
                self.start_after_burst(token, Source::Query(query));
            }
            (Next::RespondDeferred, Some(DeferredRequest::Stream { head_only, sharer })) => {
                self.start_after_burst(token, Source::Stream(head_only, sharer));
            }
            (Next::RespondDeferred, Some(DeferredRequest::Page(request))) => self.respond_with_page(token, request),
            (Next::RespondDeferred, Some(DeferredRequest::Job(job))) => {
                self.start_after_burst(token, Source::Job(job));
            }
            // It was passed on before.
            (Next::RespondDeferred, None) => {}
            (Next::Send(after), _) => self.dispatch(token, after),
            (Next::Stream, _) => self.dispatch(token, Disposition::KeepOpen),
            (Next::Close, _) => self.close(token, Closed::AfterResponse),
            (Next::Resume, _) => {
                connection.phase = Phase::Ready;
                self.ready.push(token, connection.is_heavy);
            }
            (Next::AwaitInput, _) => self.await_next_request(token),
        }
        self.count_held(token);
    }

    /// Notes what a burst's responses wait for, and returns for how many positions.
    fn queue_holds(&mut self, token: Token, result: &BurstResult) -> u8 {
        let mut holds = 0;
        for &(ack, part) in &result.earlier {
            let queue = if ack == AckLevel::Fsync { &mut self.held_for_sync } else { &mut self.held_for_write };
            queue.push_back(Hold { part, token });
            holds += 1;
        }
        for (part, queue) in [(result.write, &mut self.held_for_write), (result.fsync, &mut self.held_for_sync)] {
            if part.batches > 0 {
                queue.push_back(Hold { part, token });
                holds += 1;
            }
        }
        holds
    }

    /// Sends the burst's responses, now or when the log has reached their position.
    pub(super) fn dispatch(&mut self, token: Token, after: Disposition) {
        self.count_held(token);
        let Some(connection) = self.connections.get(token) else { return };
        connection.after = after;
        connection.progress_ns = self.now_ns;
        if connection.holds > 0 {
            connection.phase = Phase::Held;
        } else {
            connection.phase = Phase::Sending;
            let out = std::mem::take(&mut connection.out);
            connection.sending = true;
            self.driver_ops.push(DriverOp::Send(token, out));
        }
        self.set_timer(token, Timer::Response);
    }

    /// Waits for the peer: nothing is outstanding, and the inbox holds no whole request.
    fn await_next_request(&mut self, token: Token) {
        let draining = self.drain == Drain::Finishing;
        let Some(connection) = self.connections.get(token) else { return };
        connection.phase = Phase::Receiving;
        if connection.out.capacity() > limits::RESPONSE_BUFFER_IDLE_BYTES_MAX {
            let buffer = std::mem::take(&mut connection.out);
            self.connections.keep_buffer(buffer);
        }
        let Some(connection) = self.connections.get(token) else { return };
        match connection.deadline.take() {
            _ if connection.eof => self.close(token, Closed::ByPeer),
            Some(Deadline::Idle) if draining => self.close(token, Closed::Drained),
            Some(Deadline::Idle) => self.set_timer(token, Timer::Idle),
            Some(Deadline::Head) => self.set_timer(token, Timer::Head),
            Some(Deadline::Body) => self.set_timer(token, Timer::Body),
            None => {}
        }
    }

    /// The driver has sent the responses: goes on with what follows them.
    fn responses_sent(&mut self, token: Token, buffer: Vec<u8>) {
        let Some(connection) = self.connections.get(token).filter(|connection| connection.phase == Phase::Sending)
        else {
            return;
        };
        connection.out = buffer;
        connection.sending = false;
        if connection.reader.is_some() {
            return self.take_part(token);
        }
        let [batches, others] = [&mut connection.batch_responses, &mut connection.other_responses].map(std::mem::take);
        if batches + others > 0 {
            connection.stamps.sent_ns = self.now_ns;
            let stamps = std::mem::take(&mut connection.stamps);
            self.setup.service.histograms.responded(&stamps, u64::from(batches), u64::from(others));
            self.setup.service.trace_responded(&mut connection.traces, &stamps, batches);
        }
        if connection.out.capacity() > limits::RESPONSE_BUFFER_KEPT_BYTES_MAX {
            connection.out = Vec::new();
        }
        if let Some(source) = connection.next_source.take() {
            connection.stamps.received_ns = self.now_ns;
            return self.start(token, source);
        }
        match connection.after {
            Disposition::Close => self.close(token, Closed::AfterResponse),
            Disposition::Linger if connection.eof => self.close(token, Closed::AfterResponse),
            Disposition::Linger => {
                connection.phase = Phase::Lingering;
                self.driver_ops.push(DriverOp::ShutdownWrite(token));
                if std::mem::take(&mut connection.paused) {
                    self.driver_ops.push(DriverOp::Resume(token));
                }
                self.set_timer(token, Timer::Linger);
            }
            Disposition::KeepOpen if connection.http.has_buffered() => {
                connection.phase = Phase::Ready;
                self.ready.push(token, connection.is_heavy);
            }
            Disposition::KeepOpen => self.await_next_request(token),
        }
    }

    // ---- the log ---------------------------------------------------------------------------------------------------

    /// Hands the turn's lines to the writer, all at once.
    fn publish(&mut self) {
        self.setup.service.publish();
        let queued_bytes = self.setup.service.log().queued_bytes();
        self.queued_bytes_max = self.queued_bytes_max.max(queued_bytes);
        if !self.traced.is_empty() {
            let now_ns = self.setup.shared.clock.monotonic_ns();
            for token in self.traced.drain(..) {
                if let Some(connection) = self.connections.get(token) {
                    connection.traces.published(now_ns);
                }
            }
        }
    }

    /// Sends the responses whose position the log has reached.
    fn release(&mut self) {
        let log = self.setup.service.log();
        // What is durable first: it is written then.
        let durable = log.acknowledged(AckLevel::Fsync);
        let written = log.acknowledged(AckLevel::Write);
        if self.setup.shared.config.position_header == PositionHeader::On {
            self.positions.write(written, self.setup.service.log_mut(), &mut self.connections);
        }
        while let Some(hold) = self.held_for_write.pop_front_if(|hold| hold.part.position <= written) {
            self.stored(hold, AckLevel::Write);
        }
        while let Some(hold) = self.held_for_sync.pop_front_if(|hold| hold.part.position <= durable) {
            self.stored(hold, AckLevel::Fsync);
        }
    }

    fn stored(&mut self, hold: Hold, level: AckLevel) {
        self.setup.service.stored(&hold.part);
        let Some(connection) = self.connections.get(hold.token) else { return };
        match level {
            AckLevel::Fsync => connection.stamps.durable_ns = self.now_ns,
            AckLevel::Write | AckLevel::Memory => connection.stamps.written_ns = self.now_ns,
        }
        if connection.traces.are_recorded() {
            // The turn's own time is from before its lines were published, which may have been written meanwhile.
            connection.traces.reached(level, self.setup.shared.clock.monotonic_ns());
        }
        connection.holds -= 1;
        if connection.holds == 0 && connection.phase == Phase::Held {
            let after = connection.after;
            self.dispatch(hold.token, after);
        }
    }

    // ---- the end of a connection -----------------------------------------------------------------------------------

    /// Has the driver close the connection; `reason` is what will be counted.
    pub(super) fn close(&mut self, token: Token, reason: Closed) {
        if let Some(connection) = self.connections.get(token).filter(|connection| connection.phase != Phase::Closing) {
            connection.phase = Phase::Closing;
            connection.closed_for = reason;
            // A query stops.
            (connection.reader, connection.next_source) = (None, None);
            self.wheel.clear(token.slot());
            self.driver_ops.push(DriverOp::Close(token));
        }
    }
}

impl Handler for State {
    fn accepted(&mut self, token: Token, listener: usize, peer: Peer) {
        self.refresh_clock_after_wait();
        let caller = Caller { accepted_during_drain: self.drain != Drain::No, ..self.caller(listener, peer) };
        let place = self.holders.enter(caller.counted_by(), token);
        let mut connection = Connection::new(token, caller, place, self.now_ns);
        let timer = connection.preface.begin(caller);
        self.connections.insert(connection);
        if self.count_in(caller.role) || self.displace_for(token) {
            self.setup.service.counters.connections_accepted += 1;
            self.set_timer(token, timer);
        } else {
            self.hear_out(token);
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.setup.service.counters.accept_failures += 1;
        match self.accept_warnings.admit(self.now_ns) {
            Some(suppressed) => tracing::warn!(
                %error,
                suppressed,
                "accepting a connection failed; accepting resumes after a pause",
            ),
            None => self.setup.service.counters.warnings_suppressed += 1,
        }
    }

    /// A server connects to nobody.
    fn connected(&mut self, _token: Token) {}

    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        self.refresh_clock_after_wait();
        self.receive(token, bytes)
    }

    fn eof(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        connection.eof = true;
        match connection.phase {
            Phase::Receiving => self.close(token, Closed::ByPeer),
            Phase::Lingering => self.close(token, Closed::AfterResponse),
            // It may have left, or may only have no further request.
            Phase::Deferred if connection.reader.is_some() => self.set_timer(token, Timer::Left),
            // What was received still gets its response.
            Phase::Ready | Phase::Deferred | Phase::Held | Phase::Sending | Phase::Streaming | Phase::Closing => {}
        }
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        self.refresh_clock_after_wait();
        self.refresh_clock_after_operations();
        self.responses_sent(token, buffer);
        self.count_held(token);
    }

    fn closed(&mut self, token: Token, cause: Cause) {
        let Some(mut connection) = self.connections.remove(token) else { return };
        self.wheel.clear(token.slot());
        let reason = match cause {
            _ if connection.evicted => Closed::Evicted,
            Cause::Local => connection.closed_for,
            Cause::Error(_) => Closed::Failed,
        };
        let service = &mut self.setup.service;
        service.counters.connections_closed[reason as usize] += 1;
        if let Some(request) = connection.http.take_admitted() {
            service.abandon(connection.caller, request, connection.evicted);
            service.hand_over_traces(&mut connection.traces);
        }
        let stamps = Stamps { sent_ns: self.now_ns, ..connection.stamps };
        service.trace_cut_off(&mut connection.traces, &stamps, connection.batch_responses);
        connection.http.release(&mut self.http);
        self.forget_held(&connection);
        self.count_out(&connection);
        self.connections.keep_buffer(std::mem::take(&mut connection.out));
    }

    fn reserve(&mut self, token: Token, bytes: usize) -> bool {
        self.reserve_for_driver(token, bytes)
    }

    fn release(&mut self, token: Token, bytes: usize) {
        self.release_of_driver(token, bytes);
    }
}

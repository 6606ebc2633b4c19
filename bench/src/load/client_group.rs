//! One thread's clients on one driver. The driver's events change clients and put them on a list; after each turn the
//! clients on the list are looked at, and may connect, send or close. A client that nothing happened to costs nothing.
//! In an open loop clients that could send wait in a queue, and take the sends of the schedule as they fall due.

mod begin;
mod events;
mod meter;
mod secure;

use super::{
    Plan, Shared, Tally, Variables,
    client::{Client, InFlight, Link},
    log::{Ended, LogSink, Record},
    schedule::{LATE_NS, Schedule},
    span::Ending,
    stages::Stages,
    tally::{Arrival, Begun, Burst, Failure, Responded},
};
use crate::response::ResponseParser;
use meter::Meter;
use reactor::{Driver, DriverConfig, TimerWheel, Token};
use std::{
    collections::VecDeque,
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};
use wake::Doorbell;

/// Bytes of a receive buffer: a response of the service fits in many times over.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Receive buffers at most: 4,096 x 4 KiB = 16 MiB a thread.
const RECEIVE_BUFFERS_MAX: usize = 4096;
/// Requests are added to a send until it has this many bytes: pipelining gains nothing from longer ones.
const SEND_BYTES_ENOUGH: usize = 256 * 1024;

/// So many connections in turn that a server had announced to close and did not: no more of them are waited for.
const UNCLOSED_ENOUGH: u32 = 3;

/// Grain of pauses and timeouts.
const TICK_MS: u64 = 1;
const NS_PER_MS: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct ClientGroup<'load> {
    thread: usize,
    plan: &'load Plan,
    shared: &'load Shared,
    clients: Vec<Client>,
    /// Client by connection slot.
    by_slot: Vec<usize>,
    /// Clients to look at, each once.
    touched: Vec<usize>,
    /// The list's other half: what is being worked off while `touched` fills again.
    working: Vec<usize>,
    /// The send times of an open loop; `None`: a closed loop.
    schedule: Option<Schedule>,
    /// Clients that could take a send and wait for one to fall due, the longest waiting first; open loop only.
    free: VecDeque<usize>,
    timers: TimerWheel,
    /// Clients whose timer has just fired.
    fired: Vec<usize>,
    /// Clients that are not done.
    running: usize,
    /// The next batch to send.
    turn: usize,
    variables: Variables<'load>,
    /// Requests on their way into TLS, and what came out of it; both empty without.
    plain: Vec<u8>,
    decrypted: Vec<u8>,
    tally: Tally,
    /// Responses of the present turn that are not in the tally yet.
    burst: Burst,
    /// Requests with a response, and failed ones, those of the warm-up too: for the progress line.
    responses: u64,
    failed: u64,
    /// Connections in turn that were waited for and that the server did not close.
    unclosed_in_turn: u32,
    meter: Meter,
    /// Log in which each counted request is recorded.
    log: Option<LogSink>,
    start: Instant,
    /// One reading of the clock serves all responses of a turn, and one all requests between two turns: the driver
    /// takes and gives them together, and no request takes long to make.
    batches: bool,
    /// That reading, in nanoseconds since the start, once it was made.
    read_ns: Option<u64>,
    timeout_ns: u64,
    interval_ns: u64,
    /// Requests meant for a time before this are not counted.
    warm_ns: u64,
    /// No request is begun from here on.
    end_ns: u64,
    ended: bool,
}

impl<'load> ClientGroup<'load> {
    /// The clients of thread number `thread`.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn new(plan: &'load Plan, thread: usize, shared: &'load Shared, log: Option<LogSink>) -> io::Result<Self> {
        let interval_ns = nanoseconds(plan.interval);
        let all = plan.clients as usize;
        // A schedule counts for all clients together: whoever is free takes the next send.
        let quota = plan.requests_each.filter(|_| plan.pace.is_none()).unwrap_or(u64::MAX);
        let client = |number: usize| {
            // A paced load begins evenly over the first pause, not with one blow.
            let stagger_ns = interval_ns * number as u64 / all as u64;
            Client::new(number, quota, plan.pipeline, stagger_ns, ResponseParser::responses_to(&plan.method))
        };
        let clients: Vec<_> = (thread..all).step_by(plan.threads).map(client).collect();
        let (warm_ns, duration_ns) = (nanoseconds(plan.warmup), plan.duration.map(nanoseconds));
        let end_ns = duration_ns.map_or(u64::MAX, |duration_ns| warm_ns + duration_ns);
        let count = plan.requests_each.map(|each| each.saturating_mul(u64::from(plan.clients)));
        let by_pace = |pace| Schedule::new(pace, (thread, plan.threads), warm_ns, end_ns, count);
        let schedule = plan.pace.as_ref().map(by_pace);
        let by_time_ns = duration_ns.map(|_| end_ns);
        let span_end_ns = schedule.as_ref().map_or(by_time_ns, Schedule::span_end_ns);
        let mut tally = Tally::new(warm_ns, span_end_ns, plan.pace.is_some());
        tally.stages = plan.pace.as_ref().and_then(|pace| Stages::of(&pace.profile));
        Ok(Self {
            thread,
            plan,
            shared,
            by_slot: vec![usize::MAX; slots(clients.len())],
            touched: (0..clients.len()).collect(),
            working: Vec::with_capacity(clients.len()),
            schedule,
            free: VecDeque::with_capacity(clients.len()),
            timers: TimerWheel::new(u32::try_from(clients.len()).unwrap_or(u32::MAX), TICK_MS, 0),
            fired: Vec::with_capacity(clients.len()),
            running: clients.len(),
            clients,
            turn: thread,
            variables: Variables::new(&shared.sequence, plan.seed, thread),
            plain: Vec::new(),
            decrypted: Vec::new(),
            tally,
            burst: Burst::default(),
            responses: 0,
            failed: 0,
            unclosed_in_turn: 0,
            meter: Meter::new(warm_ns)?,
            log,
            start: Instant::now(),
            batches: false,
            read_ns: None,
            timeout_ns: nanoseconds(plan.timeout),
            interval_ns,
            warm_ns,
            end_ns,
            ended: false,
        })
    }

    /// Returns the configuration of the driver of these clients.
    pub fn setup(&self, doorbell: Arc<Doorbell>) -> DriverConfig {
        let buffers = self.clients.len().next_power_of_two().clamp(64, RECEIVE_BUFFERS_MAX);
        DriverConfig {
            listeners: Vec::new(),
            connections_max: u32::try_from(self.by_slot.len()).unwrap_or(u32::MAX),
            receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
            receive_buffers: u16::try_from(buffers).unwrap_or(u16::MAX),
            doorbell,
        }
    }

    /// Runs until every client is done, or the load is stopped; gives what was counted.
    ///
    /// # Errors
    /// The driver is unusable, or /proc.
    pub fn run<D: Driver>(mut self, driver: &mut D, start: Instant) -> io::Result<Tally> {
        self.start = start;
        self.batches = D::BATCHES && self.plan.tls.is_none() && !self.plan.requests.content().is_templated;
        while self.running > 0 && !self.shared.stopped() {
            let now_ns = self.now_ns();
            self.measure(now_ns, false)?;
            let now_ns = self.now_ns();
            self.expire(now_ns);
            self.dispatch(driver, now_ns);
            self.work_off(driver, now_ns);
            self.end_if_due(now_ns);
            self.shared.progress[self.thread].set(self.responses, self.failed, self.tally.late);
            if let Some(log) = &mut self.log {
                log.flush(now_ns);
            }
            let timeout = self.wait();
            self.read_ns = None;
            driver.turn(timeout, &mut self)?;
            self.read_ns = None;
            self.burst.count_in(&mut self.tally);
        }
        let now_ns = self.now_ns();
        self.measure(now_ns, true)?;
        self.tally.span.close(now_ns, self.ending());
        self.tally.elapsed_ns = now_ns.saturating_sub(self.warm_ns);
        // Stopped by a signal, a send that has just fallen due was not yet to be made.
        let until_ns = if self.ended { now_ns } else { now_ns.saturating_sub(LATE_NS) };
        self.tally.missed = self.schedule.as_ref().map_or(0, |schedule| schedule.overdue(self.warm_ns, until_ns));
        if let (Some(stages), Some(schedule)) = (&mut self.tally.stages, &self.schedule) {
            stages.close(now_ns, |from_ns, to_ns| schedule.overdue(from_ns, until_ns.min(to_ns)));
        }
        let counted = |begun: &Begun| begun.intended_ns >= self.warm_ns;
        let unanswered = |client: &Client| {
            client.in_flight.iter().map(|request| request.begun).chain(client.awaited).filter(counted).count() as u64
        };
        self.tally.unanswered = self.clients.iter().map(unanswered).sum();
        self.tally.unlogged = self.log.take().map_or(0, LogSink::finish);
        Ok(self.tally)
    }

    fn ending(&self) -> Ending {
        let begins_more = |client: &Client| !client.hung && client.quota > 0;
        match &self.schedule {
            _ if self.shared.stopped() => Ending::Stopped,
            None if self.plan.requests_each.is_some() && !self.clients.iter().any(begins_more) => Ending::Count,
            _ => Ending::Time,
        }
    }

    /// Ends the load when its time is over or its last send is made; what is in flight is still waited for.
    fn end_if_due(&mut self, now_ns: u64) {
        let sent_all = self.schedule.as_ref().is_some_and(|schedule| schedule.is_over(now_ns));
        if !self.ended && (now_ns >= self.end_ns || sent_all) {
            self.ended = true;
            (0..self.clients.len()).for_each(|index| self.touch(index));
        }
    }

    /// Nanoseconds since the start; where the driver batches, at the first call within a turn, or since the last.
    fn now_ns(&mut self) -> u64 {
        self.read_ns.unwrap_or_else(|| {
            let now_ns = nanoseconds(self.start.elapsed());
            self.read_ns = self.batches.then_some(now_ns);
            now_ns
        })
    }

    /// Returns the time that the driver may sleep: until the next timer, the next send or the end of the load, and zero
    /// when there is work.
    fn wait(&self) -> Option<Duration> {
        if !self.touched.is_empty() || self.running == 0 {
            return Some(Duration::ZERO);
        }
        let timer_ns = self.timers.next_deadline_ms().map(|next_ms| next_ms * NS_PER_MS);
        // A send that finds no client free waits for a response, not for a time.
        let send_ns = self.next_send_ns().filter(|_| !self.free.is_empty());
        let end_ns = Some(self.end_ns).filter(|end_ns| !self.ended && *end_ns < u64::MAX);
        let next_ns = timer_ns.into_iter().chain(send_ns).chain(end_ns).min()?;
        Some(Duration::from_nanos(next_ns).saturating_sub(self.start.elapsed()))
    }

    /// Puts a client on the list.
    fn touch(&mut self, index: usize) {
        if !mem::replace(&mut self.clients[index].touched, true) {
            self.touched.push(index);
        }
    }

    /// Looks at every client on the list, and at those put on it meanwhile only next time.
    fn work_off<D: Driver>(&mut self, driver: &mut D, now_ns: u64) {
        let mut working = mem::replace(&mut self.touched, mem::take(&mut self.working));
        for index in working.drain(..) {
            self.clients[index].touched = false;
            self.step(driver, index, now_ns);
            self.arm(index);
        }
        self.working = working;
    }

    /// Takes the next step that a client's state requires.
    fn step<D: Driver>(&mut self, driver: &mut D, index: usize, now_ns: u64) {
        let may_begin = self.may_begin(index, now_ns);
        let client = &mut self.clients[index];
        match (client.link, client.token) {
            (Link::ToClose, Some(token)) => {
                driver.close(token);
                client.link = Link::Closing;
            }
            (Link::Down, _) if may_begin => self.connect(driver, index),
            (Link::Queued, _) if client.resume_ns <= now_ns => self.try_to_connect(driver, index),
            (Link::Open, Some(token)) if may_begin || (client.awaited.is_some() && !client.sending) => {
                self.send(driver, index, token)
            }
            (Link::Handshaking | Link::Open, Some(token)) if client.has_tls_messages() => {
                self.send_tls_messages(driver, index, token);
            }
            (Link::Down | Link::Open, _) if self.next_send_ns().is_some() && self.has_capacity(index) => {
                self.offer(index)
            }
            _ => {}
        }
        let client = &mut self.clients[index];
        if !client.done && client.is_idle() && (self.ended || client.quota == 0) {
            client.done = true;
            self.running -= 1;
        }
    }

    /// All that a client has under way has failed: its requests in flight, or the one it was connecting for.
    fn fail(&mut self, index: usize, failure: Failure) {
        if self.clients[index].is_idle() {
            return;
        }
        self.burst.count_in(&mut self.tally);
        let now_ns = self.now_ns();
        let client = &mut self.clients[index];
        let steady = !client.hung;
        client.hung |= failure == Failure::Timeout;
        client.first_ns = 0;
        self.shared.failed(client.in_flight.len() as u64 + u64::from(client.awaited.is_some()));
        let mut awaited = client.awaited.take().map(|begun| InFlight { begun, metrics: 0, bytes: 0 });
        while let Some(request) = self.clients[index].in_flight.pop_front().or_else(|| awaited.take()) {
            self.failed += 1;
            let intended_ns = request.begun.intended_ns;
            if intended_ns >= self.warm_ns {
                self.tally.failed(failure, now_ns, steady);
                if let Some(stages) = &mut self.tally.stages {
                    stages.ended(intended_ns, now_ns, false, 1);
                }
                self.record(index, request, Ended::Failed(failure), now_ns, None);
            }
        }
        // An open loop keeps its own times, and a timeout is pause enough.
        let client = &mut self.clients[index];
        if self.schedule.is_none() && failure != Failure::Timeout {
            let pause_ns = client.back_off();
            if pause_ns > 0 {
                client.resume_ns = now_ns + pause_ns;
            }
        }
        self.rest(index, now_ns);
    }

    /// Starts the pause of a client whose requests all have a response or have failed.
    fn rest(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        if self.interval_ns > 0 && client.is_idle() {
            client.resume_ns = client.resume_ns.max(now_ns + self.interval_ns);
        }
    }

    fn failure(&mut self, error: &io::Error) -> Failure {
        match error.kind() {
            // A unix socket may also have no file.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Failure::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Failure::Reset
            }
            io::ErrorKind::TimedOut => Failure::Timeout,
            kind => {
                self.tally.other_reason.get_or_insert_with(|| match kind {
                    // Each connection that this side ended holds its port for a minute (TIME_WAIT, tcp(7)).
                    io::ErrorKind::AddrNotAvailable => {
                        "no local port is free: see net.ipv4.ip_local_port_range".to_owned()
                    }
                    _ => error.to_string(),
                });
                Failure::Other
            }
        }
    }

    /// Sets a client's timer, unless it will fire soon enough anyway: a timer is not moved with every request, but
    /// looks, when it fires, at what is due by then.
    fn arm(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(due_ns) = client.due_ns(self.timeout_ns)
            && due_ns < client.armed_ns
        {
            client.armed_ns = due_ns;
            self.timers.set(index, due_ns.div_ceil(NS_PER_MS));
        }
    }

    fn expire(&mut self, now_ns: u64) {
        let mut fired = mem::take(&mut self.fired);
        self.timers.advance(now_ns / NS_PER_MS, |index| fired.push(index));
        for index in fired.drain(..) {
            self.clients[index].armed_ns = u64::MAX;
            self.timer_fired(index, now_ns);
        }
        self.fired = fired;
    }

    fn timer_fired(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        let is_due = client.due_ns(self.timeout_ns).is_some_and(|due_ns| due_ns <= now_ns);
        let waits_for_peer = match client.link {
            Link::Lingering => true,
            Link::Queued => client.since_ns + self.timeout_ns <= now_ns,
            _ => !client.is_idle(),
        };
        if is_due && client.link == Link::Lingering {
            self.tally.unclosed += 1;
            self.unclosed_in_turn += 1;
        }
        if is_due && waits_for_peer {
            // Without a connection there is nothing to close.
            client.link = if client.link == Link::Queued { Link::Down } else { Link::ToClose };
            self.fail(index, Failure::Timeout);
        }
        // What is not due yet is armed anew; what is, begins or closes.
        self.touch(index);
    }

    fn find(&self, token: Token) -> Option<usize> {
        let index = *self.by_slot.get(token.slot())?;
        (self.clients.get(index)?.token == Some(token)).then_some(index)
    }

    /// The first request in flight has its response.
    fn take_response(&mut self, index: usize, status: u16, now_ns: u64) {
        let client = &mut self.clients[index];
        let Some(request) = client.in_flight.pop_front() else { return };
        self.responses += 1;
        if mem::take(&mut client.fruitless) > 0 && self.interval_ns == 0 {
            client.resume_ns = 0;
        }
        if !matches!(status, 200..300) {
            self.shared.failed(1);
        }
        if request.begun.intended_ns >= self.warm_ns {
            let first_ns = Some(client.first_ns).filter(|first_ns| *first_ns > 0);
            let arrival = Arrival { now_ns, first_ns, steady: !client.hung };
            let response = Responded { status, metrics: request.metrics, begun: request.begun, arrival };
            self.burst.push(response, &mut self.tally);
            self.record(index, request, Ended::Status(status), now_ns, Some(first_ns.unwrap_or(now_ns)));
        }
        let client = &mut self.clients[index];
        (client.first_ns, client.received) = (0, 0);
    }

    /// Records what became of a request, where there is a log.
    fn record(&mut self, index: usize, request: InFlight, ended: Ended, ended_ns: u64, first_ns: Option<u64>) {
        let Some(log) = &mut self.log else { return };
        let InFlight { begun: Begun { intended_ns, start_ns }, metrics, bytes } = request;
        let client = &mut self.clients[index];
        let stage = self.tally.stages.as_ref().map_or(0, |stages| stages.index(intended_ns) + 1);
        log.push(Record {
            intended_ns,
            sent_ns: start_ns,
            first_ns,
            ended_ns,
            ended,
            connection: u32::try_from(client.number).unwrap_or(u32::MAX),
            stage: u16::try_from(stage).unwrap_or(u16::MAX),
            metrics,
            bytes_sent: bytes,
            // Of what is on its way at once only the first response is being received.
            bytes_received: mem::take(&mut client.received),
        });
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Connection slots for so many clients: a client connects anew when its last connection is closed, whose slot the
/// driver may still hold.
fn slots(clients: usize) -> usize {
    2 * clients
}

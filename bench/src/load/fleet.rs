//! One thread's clients on one driver. The driver's events change clients and put them on a list; after each turn the
//! clients on the list are looked at, and may connect, send or close. A client that nothing happened to costs nothing.

use super::{
    Plan, Shared, Tally,
    client::{Client, InFlight, Link},
    tally::Failure,
};
use crate::cores;
use reactor::{Cause, Doorbell, Driver, Flow, Handler, Setup, TimerWheel, Token};
use std::{
    io, mem,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bytes of a receive buffer: an answer of the service fits in many times over.
const RECEIVE_BUFFER_BYTES: u32 = 4096;
/// Receive buffers at most: 4,096 x 4 KiB = 16 MiB a thread.
const RECEIVE_BUFFERS_MAX: usize = 4096;
/// Requests are added to a send until it has this many bytes: pipelining gains nothing from longer ones.
const SEND_BYTES_ENOUGH: usize = 256 * 1024;

/// Grain of pauses and timeouts.
const TICK_MS: u64 = 1;
const NS_PER_MS: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct Fleet<'load> {
    plan: &'load Plan,
    shared: &'load Shared,
    clients: Vec<Client>,
    /// Client by connection slot.
    by_slot: Vec<usize>,
    /// Clients to look at, each once.
    touched: Vec<usize>,
    /// The list's other half: what is being worked off while `touched` fills again.
    working: Vec<usize>,
    timers: TimerWheel,
    /// Clients whose timer has just fired.
    fired: Vec<usize>,
    /// Clients that are not done.
    running: usize,
    /// The next batch to send.
    turn: usize,
    tally: Tally,
    start: Instant,
    timeout_ns: u64,
    interval_ns: u64,
    /// Requests begun before this are not counted.
    warm_ns: u64,
    /// No request is begun from here on.
    end_ns: u64,
    ended: bool,
}

impl<'load> Fleet<'load> {
    /// The clients of thread number `thread`.
    pub fn new(plan: &'load Plan, thread: usize, shared: &'load Shared) -> Self {
        let interval_ns = nanoseconds(plan.interval);
        let all = plan.clients as usize;
        let client = |number: usize| {
            // A paced load begins evenly over the first pause, not with one blow.
            let stagger_ns = interval_ns * number as u64 / all as u64;
            Client::new(number, plan.requests_each.unwrap_or(u64::MAX), plan.pipeline, stagger_ns)
        };
        let clients: Vec<_> = (thread..all).step_by(plan.threads).map(client).collect();
        let warm_ns = nanoseconds(plan.warmup);
        Self {
            plan,
            shared,
            by_slot: vec![usize::MAX; slots(clients.len())],
            touched: (0..clients.len()).collect(),
            working: Vec::with_capacity(clients.len()),
            timers: TimerWheel::new(u32::try_from(clients.len()).unwrap_or(u32::MAX), TICK_MS, 0),
            fired: Vec::with_capacity(clients.len()),
            running: clients.len(),
            clients,
            turn: thread,
            tally: Tally::new(),
            start: Instant::now(),
            timeout_ns: nanoseconds(plan.timeout),
            interval_ns,
            warm_ns,
            end_ns: plan.duration.map_or(u64::MAX, |duration| warm_ns + nanoseconds(duration)),
            ended: false,
        }
    }

    /// What the driver of these clients is made of.
    pub fn setup(&self, doorbell: Arc<Doorbell>) -> Setup {
        let buffers = self.clients.len().next_power_of_two().clamp(64, RECEIVE_BUFFERS_MAX);
        Setup {
            listener: None,
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
    pub fn run<D: Driver>(mut self, driver: &mut D) -> io::Result<Tally> {
        self.start = Instant::now();
        let mut cpu_before_ns = None;
        while self.running > 0 && !self.shared.stopped() {
            let now_ns = self.now_ns();
            if cpu_before_ns.is_none() && now_ns >= self.warm_ns {
                cpu_before_ns = Some(cores::thread_cpu_ns()?);
            }
            self.expire(now_ns);
            if now_ns >= self.end_ns && !self.ended {
                self.ended = true;
                (0..self.clients.len()).for_each(|index| self.touch(index));
            }
            self.work_off(driver, now_ns);
            let timeout = self.wait(now_ns);
            driver.turn(timeout, &mut self)?;
        }
        self.tally.elapsed_ns = self.now_ns().saturating_sub(self.warm_ns);
        if let Some(before_ns) = cpu_before_ns {
            self.tally.cpu_ns = cores::thread_cpu_ns()?.saturating_sub(before_ns);
        }
        let counted = |start_ns: &u64| *start_ns >= self.warm_ns;
        self.tally.unanswered = self
            .clients
            .iter()
            .map(|client| client.in_flight.iter().map(|request| request.start_ns).chain(client.awaited_ns))
            .map(|starts| starts.filter(counted).count() as u64)
            .sum();
        Ok(self.tally)
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    /// How long the driver may sleep: until the next timer or the end of the load, and not at all when there is work.
    fn wait(&self, now_ns: u64) -> Option<Duration> {
        if !self.touched.is_empty() || self.running == 0 {
            return Some(Duration::ZERO);
        }
        let end_ns = if self.ended { u64::MAX } else { self.end_ns };
        let next_ns = self.timers.next_deadline_ms().map_or(u64::MAX, |next_ms| next_ms * NS_PER_MS).min(end_ns);
        (next_ns != u64::MAX).then(|| Duration::from_nanos(next_ns.saturating_sub(now_ns)))
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

    /// Does for a client whatever its state asks for next.
    fn step<D: Driver>(&mut self, driver: &mut D, index: usize, now_ns: u64) {
        let may_begin = self.may_begin(index, now_ns);
        let client = &mut self.clients[index];
        match (client.link, client.token) {
            (Link::Doomed, Some(token)) => {
                driver.close(token);
                client.link = Link::Closing;
            }
            (Link::Down, _) if may_begin => self.connect(driver, index),
            (Link::Open, Some(token)) if may_begin || client.awaited_ns.is_some() => self.send(driver, index, token),
            _ => {}
        }
        let client = &mut self.clients[index];
        if !client.done && client.is_idle() && (self.ended || client.quota == 0) {
            client.done = true;
            self.running -= 1;
        }
    }

    fn may_begin(&self, index: usize, now_ns: u64) -> bool {
        let client = &self.clients[index];
        let room = if self.interval_ns > 0 { 1 } else { self.plan.pipeline };
        !self.ended
            && client.quota > 0
            && client.resume_ns <= now_ns
            && client.in_flight.len() < room
            && !client.sending
    }

    fn connect<D: Driver>(&mut self, driver: &mut D, index: usize) {
        let now_ns = self.now_ns();
        match driver.connect(self.plan.server) {
            Ok(token) => {
                let client = &mut self.clients[index];
                (client.link, client.token) = (Link::Connecting, Some(token));
                (client.since_ns, client.awaited_ns) = (now_ns, Some(now_ns));
                self.by_slot[token.slot()] = index;
            }
            Err(error) => {
                self.clients[index].awaited_ns = Some(now_ns);
                let failure = self.failure(&error);
                self.fail(index, failure);
                self.touch(index);
            }
        }
    }

    fn send<D: Driver>(&mut self, driver: &mut D, index: usize, token: Token) {
        let now_ns = self.now_ns();
        let requests = &self.plan.requests;
        let client = &mut self.clients[index];
        let start_ns = client.awaited_ns.take().unwrap_or(now_ns);
        let mut buffer = client.buffer.take().unwrap_or_else(|| {
            let bytes = requests.bytes_max();
            Vec::with_capacity(bytes * self.plan.pipeline.min(SEND_BYTES_ENOUGH / bytes + 1))
        });
        let room = self.plan.pipeline - client.in_flight.len();
        let count = usize::try_from(client.quota).map_or(room, |quota| quota.min(room));
        let already = client.in_flight.len();
        while client.in_flight.len() < already + count && buffer.len() < SEND_BYTES_ENOUGH {
            let metrics = requests.write(client.number, self.turn, &mut buffer);
            self.turn = self.turn.wrapping_add(1);
            client.in_flight.push_back(InFlight { start_ns, metrics });
        }
        if start_ns >= self.warm_ns {
            self.tally.bytes += buffer.len() as u64;
            if self.plan.requests_each.is_some() {
                client.quota -= (client.in_flight.len() - already) as u64;
            }
        }
        client.sending = true;
        driver.send(token, buffer);
    }

    /// All that a client has under way has failed: its requests in flight, or the one it was connecting for.
    fn fail(&mut self, index: usize, failure: Failure) {
        let client = &mut self.clients[index];
        if client.is_idle() {
            return;
        }
        let counted = client.in_flight.drain(..).filter(|request| request.start_ns >= self.warm_ns).count();
        (0..counted).for_each(|_| self.tally.failed(failure));
        if let Some(start_ns) = client.awaited_ns.take()
            && start_ns >= self.warm_ns
        {
            self.tally.failed(failure);
            if self.plan.requests_each.is_some() {
                client.quota -= 1;
            }
        }
        self.rest(index, self.now_ns());
    }

    /// A client's requests are all answered, or have failed: it pauses.
    fn rest(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        if self.interval_ns > 0 && client.is_idle() {
            client.resume_ns = now_ns + self.interval_ns;
        }
    }

    fn failure(&mut self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Failure::Reset
            }
            io::ErrorKind::TimedOut => Failure::Timeout,
            _ => {
                self.tally.other_reason.get_or_insert_with(|| error.to_string());
                Failure::Other
            }
        }
    }

    /// Sets a client's timer, unless it will fire soon enough anyway: a timer is not moved with every request, but looks,
    /// when it fires, at what is due by then.
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
        let waits_for_peer = !client.is_idle() || client.link == Link::Lingering;
        if is_due && waits_for_peer {
            client.link = Link::Doomed;
            self.fail(index, Failure::Timeout);
        }
        // What is not due yet is armed anew; what is, begins or closes.
        self.touch(index);
    }

    fn find(&self, token: Token) -> Option<usize> {
        let index = *self.by_slot.get(token.slot())?;
        (self.clients.get(index)?.token == Some(token)).then_some(index)
    }

    /// The first request in flight has its answer. False: there was none to answer.
    fn answered(&mut self, index: usize, status: u16, now_ns: u64) -> bool {
        let Some(request) = self.clients[index].in_flight.pop_front() else { return false };
        if request.start_ns >= self.warm_ns {
            self.tally.answered(status, request.metrics, now_ns - request.start_ns);
        }
        true
    }
}

impl Handler for Fleet<'_> {
    fn accepted(&mut self, _: Token, _: SocketAddr) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn accept_failed(&mut self, _: &io::Error) {
        unreachable!("a driver without a listener accepts nothing");
    }

    fn connected(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        let client = &mut self.clients[index];
        if client.link == Link::Connecting {
            client.link = Link::Open;
            self.touch(index);
        }
    }

    fn data(&mut self, token: Token, mut bytes: &[u8]) -> Flow {
        let Some(index) = self.find(token) else { return Flow::Continue };
        let now_ns = self.now_ns();
        while !bytes.is_empty() && self.clients[index].link == Link::Open {
            match self.clients[index].parser.feed(bytes) {
                Ok((used, None)) => bytes = &bytes[used..],
                Ok((used, Some(answer))) => {
                    bytes = &bytes[used..];
                    if !self.answered(index, answer.status, now_ns) {
                        // A server's farewell to an idle connection, as a 408: nobody's answer.
                        self.clients[index].link = Link::Doomed;
                        break;
                    }
                    if answer.close || !self.plan.keep_alive {
                        self.fail(index, Failure::ClosedEarly);
                        let client = &mut self.clients[index];
                        (client.link, client.since_ns) = (Link::Lingering, now_ns);
                    }
                    self.rest(index, now_ns);
                }
                Err(_) => {
                    self.clients[index].link = Link::Doomed;
                    self.fail(index, Failure::Garbage);
                }
            }
        }
        self.touch(index);
        Flow::Continue
    }

    fn eof(&mut self, token: Token) {
        let Some(index) = self.find(token) else { return };
        if self.clients[index].link == Link::Open {
            let now_ns = self.now_ns();
            if let Some(answer) = self.clients[index].parser.finish() {
                self.answered(index, answer.status, now_ns);
                self.rest(index, now_ns);
            }
            self.fail(index, Failure::ClosedEarly);
        }
        if matches!(self.clients[index].link, Link::Open | Link::Lingering) {
            self.clients[index].link = Link::Doomed;
        }
        self.touch(index);
    }

    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        let Some(index) = self.find(token) else { return };
        let client = &mut self.clients[index];
        (client.buffer, client.sending) = (Some(buffer), false);
        if client.in_flight.len() < self.plan.pipeline {
            self.touch(index);
        }
    }

    fn closed(&mut self, token: Token, cause: Cause) {
        let Some(index) = self.find(token) else { return };
        let (link, awaiting) = (self.clients[index].link, !self.clients[index].is_idle());
        if let (true, Cause::Error(error)) = (awaiting, &cause) {
            let failure = self.failure(error);
            let first = !mem::replace(&mut self.clients[index].tried, true);
            if first && link == Link::Connecting && failure == Failure::Refused {
                self.shared.first_connect_refused();
            }
            self.fail(index, failure);
        }
        let client = &mut self.clients[index];
        (client.link, client.token, client.sending, client.tried) = (Link::Down, None, false, true);
        client.parser.reset();
        self.touch(index);
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Connection slots for so many clients: a client connects anew when its last connection is closed, whose slot the driver
/// may still hold.
fn slots(clients: usize) -> usize {
    2 * clients
}

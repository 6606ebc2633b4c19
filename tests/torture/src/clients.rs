//! The load: clients on threads of their own, each posting pipelines of batches over one connection at a time, and
//! recording every one.

use crate::{
    Level, batch,
    batch::Mark,
    figures::Figures,
    http::{self, Client, NoResponse, Response},
    random::Random,
    sent_batches::{Fate, Sent},
};
use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Most batches in one pipeline.
const PIPELINE_MAX: u32 = 8;
/// Before a client connects again to a server that closed its connection.
const PAUSE: Duration = Duration::from_millis(2);
/// Longer than any load takes to come to what is waited for.
const DEADLINE: Duration = Duration::from_secs(240);

/// Parameters of the clients' requests.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of clients.
    pub clients: u32,
    /// Distinct `Authorization` values among them.
    pub keys: u32,
    /// The level that the server acknowledges at by default; one batch in eight requests a level of its own.
    pub level: Level,
    /// Most metrics in a batch.
    pub metrics_max: u32,
    /// Pause of a client between two pipelines.
    pub pause: Duration,
}

/// State shared by the clients.
#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    plan: Plan,
    stop: AtomicBool,
    next_connection: AtomicU32,
    acknowledged: AtomicU64,
    responses: AtomicU64,
    unavailable: AtomicU64,
    reconnects: AtomicU64,
}

/// Connections with their numbers, and the faults of their responses.
type Kept = (Vec<(u32, Vec<Sent>)>, Figures);

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Kept>>,
}

impl Clients {
    /// Starts them; their connections are numbered from `first_connection` on.
    #[must_use]
    pub fn start(address: SocketAddr, plan: Plan, first_connection: u32, random: &mut Random) -> Self {
        let shared = Arc::new(Shared {
            address,
            plan,
            stop: AtomicBool::new(false),
            next_connection: AtomicU32::new(first_connection),
            acknowledged: AtomicU64::new(0),
            responses: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
        });
        let threads = (0..plan.clients)
            .map(|client| {
                let (shared, random) = (Arc::clone(&shared), Random::new(random.number()));
                thread::spawn(move || work(&shared, client, random))
            })
            .collect();
        Self { shared, threads }
    }

    /// Responses to batches so far, of whatever status.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.shared.responses.load(Ordering::Relaxed)
    }

    /// Batches acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Batches refused with 503 so far.
    #[must_use]
    pub fn unavailable(&self) -> u64 {
        self.shared.unavailable.load(Ordering::Relaxed)
    }

    /// Connections that have ended before their client was stopped.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.shared.reconnects.load(Ordering::Relaxed)
    }

    /// Returns true if nothing listens any more for any of them.
    #[must_use]
    pub fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until `come`.
    ///
    /// # Errors
    /// It does not, with `what`.
    pub fn wait_until(&self, what: &str, mut come: impl FnMut(&Self) -> io::Result<bool>) -> io::Result<()> {
        let begin = Instant::now();
        while !come(self)? {
            if begin.elapsed() > DEADLINE {
                return Err(io::Error::other(format!("waited in vain: {what}")));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Has each of them end after the responses that it waits for, and returns their records.
    ///
    /// # Panics
    /// One of them has panicked.
    #[must_use]
    pub fn stop(self) -> Kept {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut kept = Kept::default();
        for thread in self.threads {
            match thread.join() {
                Ok((connections, figures)) => {
                    kept.0.extend(connections);
                    kept.1 += &figures;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        kept
    }
}

/// One client, until it is stopped or nothing listens any more.
fn work(shared: &Shared, client: u32, mut random: Random) -> Kept {
    let key = format!("client-{}", client % shared.plan.keys);
    let (mut connections, mut figures) = (Vec::new(), Figures::default());
    while !shared.stop.load(Ordering::Relaxed) {
        let Ok(connection) = Client::try_connect(shared.address) else { break };
        let number = shared.next_connection.fetch_add(1, Ordering::Relaxed);
        let batches = post_on(connection, number, &key, shared, &mut random, &mut figures);
        connections.push((number, batches));
        shared.reconnects.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    (connections, figures)
}

/// Posts pipelines until the connection ends or the client is stopped. Returns every batch that may have been sent.
fn post_on(
    mut connection: Client,
    number: u32,
    key: &str,
    shared: &Shared,
    random: &mut Random,
    figures: &mut Figures,
) -> Vec<Sent> {
    let plan = shared.plan;
    let mut batches: Vec<Sent> = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let mut requests = Vec::new();
        let mut levels = Vec::new();
        for _ in 0..random.of_any_size(PIPELINE_MAX) {
            let mark = Mark { connection: number, number: u32::try_from(batches.len()).unwrap_or(u32::MAX) };
            let metrics = random.of_any_size(plan.metrics_max);
            let level = random.one_in(8).then(|| random.choose(&Level::ALL));
            let broken = random.one_in(16);
            let target = level.map_or_else(|| "/metrics".to_owned(), |level| format!("/metrics?ack={}", level.name()));
            requests.extend(http::post_to(&target, &http::authorization(key), batch::body(mark, metrics, broken)));
            levels.push(level.unwrap_or(plan.level));
            batches.push(Sent { metrics, broken, fate: Fate::Unanswered });
        }
        let first = batches.len() - levels.len();
        if let Err(reason) = exchange(&mut connection, &requests, &mut batches[first..], &levels, shared, figures) {
            match reason {
                NoResponse::Malformed(text) => figures.promise(false, || format!("connection {number}: {text}")),
                NoResponse::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    figures.promise(false, || format!("connection {number}: no response before the timeout"));
                }
                // The connection has ended: nothing was promised.
                NoResponse::Io(_) => {}
            }
            break;
        }
        if !plan.pause.is_zero() {
            thread::sleep(plan.pause);
        }
    }
    batches
}

/// Sends one pipeline and enters its responses.
fn exchange(
    connection: &mut Client,
    requests: &[u8],
    batches: &mut [Sent],
    levels: &[Level],
    shared: &Shared,
    figures: &mut Figures,
) -> Result<(), NoResponse> {
    // The server may have ended the connection in the middle, after responses to what it had received: they count.
    let sent = connection.send(requests);
    for (batch, &level) in batches.iter_mut().zip(levels) {
        let response = connection.next_response()?;
        batch.fate = judge(&response, *batch, level).map_err(NoResponse::Malformed)?;
        shared.responses.fetch_add(1, Ordering::Relaxed);
        let more = |counter: &AtomicU64, yes: bool| counter.fetch_add(u64::from(yes), Ordering::Relaxed);
        more(&shared.acknowledged, response.status == 200);
        more(&shared.unavailable, response.status == 503);
        figures.promise(
            !matches!(response.status, 429 | 503) || retry_after_s(&response).is_some_and(|seconds| seconds >= 1),
            || format!("{} without Retry-After", response.status),
        );
    }
    sent.map_err(NoResponse::Io)
}

/// Seconds of `Retry-After`.
pub(crate) fn retry_after_s(response: &Response) -> Option<u64> {
    response.header("Retry-After")?.parse().ok()
}

/// Returns the fate of a batch by its response.
fn judge(response: &Response, Sent { metrics, broken, .. }: Sent, level: Level) -> Result<Fate, String> {
    match response.status {
        200 if !broken && response.text() == format!(r#"{{"success":true,"metrics_processed":{metrics}}}"#) => {
            Ok(Fate::Acknowledged(level))
        }
        400 if broken => Ok(Fate::Refused(400)),
        status @ (429 | 503) => Ok(Fate::Refused(status)),
        status => {
            Err(format!("a batch of {metrics} (broken: {broken}) got the response {status}: {}", response.text()))
        }
    }
}

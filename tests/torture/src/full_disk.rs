//! A disk that is full: refusals while it lasts, recovery without a restart, and full at a kill, at a start and at a
//! stop.

use crate::{
    Subject,
    clients::{Clients, Plan, retry_after_s},
    delivery::Delivery,
    figures::Figures,
    get, log,
    oracle::Oracle,
    process::Signal,
    random::Random,
    sent_batches::{End, SentBatches},
    server::{Announces, Ended, Server},
    stat,
};
use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// Batches that are acknowledged before the disk is filled, and again after there is space.
const ACKNOWLEDGED: u64 = 50;
/// Refusals that are waited for on a full disk.
const REFUSALS: u64 = 20;
/// Time for which the server holds a response for the disk.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that a file may grow by before a limit stands for a full disk.
const SPACE_BYTES: u64 = 32 * 1024;

/// Means by which the disk is filled.
#[derive(Debug, Clone)]
pub enum Disk {
    /// A small file system mounted here: a foreign file takes what is left of it. ENOSPC.
    Small(PathBuf),
    /// A file may not grow (RLIMIT_FSIZE). EFBIG, without any rights.
    Limited,
}

impl Disk {
    fn fill(&self, subject: &Subject, server: &Server) -> io::Result<()> {
        match self {
            Self::Small(mount) => {
                let mut filler = File::create(mount.join("filler"))?;
                let block = [0; 4096];
                loop {
                    match filler.write(&block) {
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
            }
            Self::Limited => {
                let log_bytes = fs::metadata(subject.directory.join("metrics.jsonl"))?.len();
                server.limit_files(Some(log_bytes + SPACE_BYTES))
            }
        }
    }

    /// Frees the space; `server` is the one that is limited, if it still runs.
    fn free(&self, server: Option<&Server>) -> io::Result<()> {
        match (self, server) {
            (Self::Small(mount), _) => fs::remove_file(mount.join("filler")),
            (Self::Limited, Some(server)) => server.limit_files(None),
            (Self::Limited, None) => Ok(()),
        }
    }
}

/// One directory's history.
struct History<'a> {
    subject: &'a Subject,
    disk: &'a Disk,
    random: Random,
    sent_batches: SentBatches,
    oracle: Oracle,
}

/// Fills the disk three times, and returns what the oracle found.
///
/// # Errors
/// What the oracle cannot judge: it does not start, or what has to come does not.
pub fn run(subject: &Subject, disk: &Disk) -> io::Result<Figures> {
    let random = Random::new(subject.seed);
    let oracle = Oracle::default().with_delivery(Delivery::start(&subject.directory)?);
    let mut history = History { subject, disk, random, sent_batches: SentBatches::default(), oracle };

    let (server, clients) = history.start_and_fill()?;
    history.recover(&server, &clients)?;
    disk.fill(subject, &server)?;
    history.wait_until_refused(&clients, server.address)?;
    let killed = server.end_by_kill();
    history.enter(clients, &killed);
    history.try_a_start()?;
    disk.free(None)?;

    let (server, clients) = history.start_and_fill()?;
    server.signal(Signal::Terminate);
    let aborted = server.end();
    history.oracle.figures.promise(
        aborted.status.code() == Some(1) && aborted.last_line().contains("could not be written to the log"),
        || format!("stopped while full it ended with {}; it said:\n{}", aborted.status, aborted.said.join("\n")),
    );
    history.enter(clients, &aborted);
    disk.free(None)?;

    let server = Server::start(history.command(), &subject.directory)?;
    history.oracle.look(&subject.directory, &history.sent_batches)?;
    let clients = history.post(server.address);
    clients.wait_until("batches are taken", |clients| Ok(clients.acknowledged() >= ACKNOWLEDGED))?;
    server.signal(Signal::Terminate);
    let stopped = server.end();
    history.oracle.figures.promise(stopped.status.success(), || format!("a stop ended with {}", stopped.status));
    history.enter(clients, &stopped);
    history.oracle.look(&subject.directory, &history.sent_batches)?;
    history.oracle.drain_forward(subject.command(), &subject.directory, &history.sent_batches)?;
    let mut figures = history.oracle.figures;
    (figures.kills, figures.ends) = (1, 2);
    figures.repaired = log::repaired_count(&subject.directory)? as u64;
    Ok(figures)
}

impl History<'_> {
    fn command(&self) -> Command {
        let mut command = self.subject.command();
        self.oracle.configure(&mut command);
        // Responses that wait for a full disk time out after the write timeout: their connections end without one.
        command.args(["--rate-limit", "0", "--reactors", "2"]);
        command.args(["--write-timeout", &format!("{}s", WRITE_TIMEOUT.as_secs())]);
        command
    }

    fn post(&mut self, address: SocketAddr) -> Clients {
        let pause = Duration::from_millis(5);
        let plan = Plan { clients: 6, keys: 6, level: self.subject.level, metrics_max: 20, pause };
        Clients::start(address, plan, self.sent_batches.next_connection(), &mut self.random)
    }

    /// A server under load whose disk has just become full, and which says so.
    fn start_and_fill(&mut self) -> io::Result<(Server, Clients)> {
        let server = Server::start(self.command(), &self.subject.directory)?;
        self.oracle.look(&self.subject.directory, &self.sent_batches)?;
        let clients = self.post(server.address);
        clients.wait_until("batches are taken", |clients| Ok(clients.acknowledged() >= ACKNOWLEDGED))?;
        self.disk.fill(self.subject, &server)?;
        self.wait_until_refused(&clients, server.address)?;
        Ok((server, clients))
    }

    fn wait_until_refused(&mut self, clients: &Clients, address: SocketAddr) -> io::Result<()> {
        let enough = clients.unavailable() + REFUSALS;
        clients.wait_until("batches are refused", |clients| Ok(clients.unavailable() >= enough))?;
        let status =
            |path: &str| get(address, path).map(|response| (response.status, retry_after_s(&response).is_some()));
        let (ready, health) = (status("/ready"), status("/health"));
        self.oracle.figures.promise(ready == Some((503, true)) && health == Some((200, false)), || {
            format!("on a full disk /ready is {ready:?} and /health {health:?}")
        });
        // Where the machine is slow a response may take longer than WRITE_TIMEOUT, and ends unsent.
        let mut shed = None;
        clients.wait_until("statistics are served", |_| {
            shed = stat(address, "log_unavailable");
            Ok(shed.is_some())
        })?;
        self.oracle.figures.promise(shed > Some(0), || format!("{shed:?} refusals are counted as the log's"));
        Ok(())
    }

    fn recover(&mut self, server: &Server, clients: &Clients) -> io::Result<()> {
        // Until a pending response has timed out. At the level memory there may be none: then for as long as it takes.
        let begin = Instant::now();
        clients.wait_until("a response that timed out", |clients| {
            Ok(clients.reconnects() > 0 || begin.elapsed() > 2 * WRITE_TIMEOUT)
        })?;
        self.disk.free(Some(server))?;
        let enough = clients.acknowledged() + ACKNOWLEDGED;
        clients.wait_until("batches are taken again", |clients| Ok(clients.acknowledged() >= enough))?;
        let is_ready = || get(server.address, "/ready").is_some_and(|response| response.status == 200);
        clients.wait_until("/ready is 200 again", |_| Ok(is_ready()))
    }

    /// A start on a disk that is still full: it serves, or it refuses with exit code 2; what it finds is not lost
    /// either way.
    fn try_a_start(&mut self) -> io::Result<()> {
        let mut server = Server::spawn(self.command(), &self.subject.directory, Announces::OnStderr)?;
        if server.wait_until_listening() {
            server.end_by_kill();
            return Ok(());
        }
        let ended = server.end();
        self.oracle
            .figures
            .promise(ended.status.code() == Some(2) && ended.last_line().contains("no space for"), || {
                format!("started on a full disk it ended with {}; it said:\n{}", ended.status, ended.said.join("\n"))
            });
        Ok(())
    }

    fn enter(&mut self, clients: Clients, ended: &Ended) {
        let (connections, figures) = clients.stop();
        self.oracle.figures += &figures;
        self.sent_batches.enter(connections, if ended.status.success() { End::Clean } else { End::Unclean });
    }
}

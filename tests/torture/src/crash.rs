//! SIGKILL at random moments: under load, during the start and its recovery, during a stop. One directory sees it all,
//! so that repaired logs are repaired again.

use crate::{
    Subject,
    clients::{self, Clients},
    delivery::Delivery,
    figures::Figures,
    log,
    oracle::Oracle,
    power::{PowerCuts, Stable},
    process::Signal,
    random::Random,
    sent_batches::{End, SentBatches},
    server::{Announces, Server},
    shim::Shim,
    stat,
};
use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Responses after which a round may end, at most.
const RESPONSES_MAX: u32 = 2_000;
/// A round ends after this, however few responses came: with a rate limit there may be few.
const ROUND_MAX: Duration = Duration::from_secs(1);
/// The last moments before the end, so that it does not always come with a response.
const LAST_MOMENTS: Duration = Duration::from_millis(3);
/// Calls to the disk after which one kills, at most. A start makes about a dozen.
const CALLS_MAX: u32 = 500;
/// The smallest segment that may be configured, in bytes.
const ROTATE_BYTES_MIN: u64 = 64 * 1024;
/// Segments that retention leaves, at least: so many that each is seen before it is deleted.
const RETAINED_MIN: u64 = 32;
/// Once in so many looks at the load's progress the segment is sealed by a signal.
const LOOKS_PER_HANG_UP: u32 = 200;
/// Maximum time from a SIGTERM to the SIGKILL.
const STOPPING: Duration = Duration::from_millis(20);

/// End of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Killed before it listens, or just then: there is no load.
    KilledStarting,
    /// Killed under load.
    Killed,
    /// Killed at a call to the disk: of the start, of its recovery, or under load.
    KilledInside,
    /// Killed under load, and the machine loses its power.
    PowerCut,
    /// Stopped by a signal under load, and killed meanwhile.
    KilledStopping,
    /// Stopped by a signal under load.
    Stopped,
}

impl Round {
    fn choose(random: &mut Random, plan: Plan<'_>) -> Self {
        match random.below(10) {
            0 => Self::KilledStarting,
            1 => Self::KilledStopping,
            2 => Self::Stopped,
            3..=5 if plan.shim.is_some() => Self::KilledInside,
            6 if plan.shim.is_some() && plan.power_cuts != PowerCuts::Off => Self::PowerCut,
            _ => Self::Killed,
        }
    }
}

/// One directory's history.
struct History<'a> {
    subject: &'a Subject,
    plan: Plan<'a>,
    random: Random,
    /// Second names of sealed segments.
    archive: PathBuf,
    sent_batches: SentBatches,
    oracle: Oracle,
    kills: u64,
    power_cuts: u64,
    /// Those of them that are sure to have met an open log.
    kills_of_open: u64,
    ends: u64,
    start_took: Duration,
}

/// Parameters of the test.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Number of kills.
    pub kills: u64,
    /// With it, also at chosen calls to the disk, and with losses of power.
    pub shim: Option<&'a Shim>,
    /// Files from which a loss of power takes bytes.
    pub power_cuts: PowerCuts,
}

/// Kills the server, and returns what the oracle found. It ends early when it finds something wrong.
///
/// # Errors
/// The server does not start, or does not stop, or the log cannot be read: what the oracle cannot judge.
pub fn run(subject: &Subject, plan: Plan<'_>) -> io::Result<Figures> {
    let archive = subject.directory.with_extension("archive");
    fs::create_dir(&archive)?;
    let mut history = History {
        subject,
        plan,
        random: Random::new(subject.seed),
        sent_batches: SentBatches::default(),
        oracle: Oracle::with_archive(&archive).with_delivery(Delivery::start(&subject.directory)?),
        archive: archive.clone(),
        kills: 0,
        power_cuts: 0,
        kills_of_open: 0,
        ends: 0,
        start_took: Duration::from_millis(50),
    };
    while history.kills < plan.kills && history.oracle.figures.is_sound() {
        let round = Round::choose(&mut history.random, plan);
        history.play(round)?;
    }
    // The last kill is repaired too; then everything is looked at again, from the first line on.
    history.play(Round::Stopped)?;
    let History { sent_batches, mut oracle, kills, power_cuts, ends, .. } = history;
    oracle.look(&subject.directory, &sent_batches)?;
    oracle.drain_forward(subject.command(), &subject.directory, &sent_batches)?;
    let mut again = Oracle::with_archive(&archive);
    again.look(&subject.directory, &sent_batches)?;
    let mut figures = again.figures;
    figures.promise(oracle.figures.is_sound(), || "seen on the way:".to_owned());
    figures.problems.append(&mut oracle.figures.problems);
    figures.delivered = oracle.figures.delivered;
    let place = log::LogLocation { directory: &subject.directory, archive: Some(&archive) };
    figures.segments = log::sealed_count(place)? as u64;
    figures.left = log::sealed_count(log::LogLocation { archive: None, ..place })? as u64;
    let (compressed, different) = log::compare_compressed(&subject.directory, &archive)?;
    figures.compressed = compressed;
    figures.promise(different.is_empty(), || format!("compressed, and not what they were: {different:?}"));
    // Lines, sidecars and checksums, by the server's own check.
    let verified = Command::new(&subject.binary).arg("verify").arg(&subject.directory).output()?;
    figures.promise(verified.status.success(), || {
        format!("`metricstream verify` says: {}", String::from_utf8_lossy(&verified.stdout))
    });
    figures.repaired = log::repaired_count(&subject.directory)? as u64;
    (figures.kills, figures.power_cuts, figures.ends) = (kills, power_cuts, ends);
    Ok(figures)
}

impl History<'_> {
    fn command(&mut self, round: Round) -> Command {
        let mut command = self.subject.command();
        self.oracle.configure(&mut command);
        command.args(["--reactors", &(1 + self.random.below(3)).to_string()]);
        // A small ring is full at times, and wraps around often.
        if self.random.one_in(3) {
            command.args(["--max-body", "512KiB", "--ring-size", "2MiB"]);
        }
        let rate_limit = if self.random.one_in(2) { 0 } else { 20 + self.random.below(200) };
        command.args(["--rate-limit", &rate_limit.to_string()]);
        if !self.random.one_in(4) {
            let rotate_bytes = ROTATE_BYTES_MIN * (1 + u64::from(self.random.below(4)));
            command.args(["--rotate-size", &rotate_bytes.to_string()]);
            // What a loss of power leaves of a segment is known only while that is plain.
            let may_change = round != Round::PowerCut;
            if may_change && self.random.one_in(2) {
                command.args(["--compress", "zstd"]);
            }
            if may_change && self.random.one_in(2) {
                // The active segment may be a large one, of a run that did not rotate, and is sealed at once.
                let active = self.subject.directory.join(log::ACTIVE);
                let active_bytes = fs::metadata(active).map_or(0, |metadata| metadata.len());
                command.args(["--retain-size", &(active_bytes + RETAINED_MIN * rotate_bytes).to_string()]);
            }
        }
        command
    }

    fn play(&mut self, round: Round) -> io::Result<()> {
        let mut command = self.command(round);
        // A start may delete what a kill has kept the server from deleting.
        log::keep(&self.subject.directory, &self.archive)?;
        if round == Round::KilledStarting {
            let wait = self.random.shorter_than(self.start_took * 3 / 2);
            let server = Server::spawn(command, &self.subject.directory, Announces::OnStderr)?;
            thread::sleep(wait);
            server.end_by_kill();
            self.kills += 1;
            return Ok(());
        }
        let directory = &self.subject.directory;
        let journal = directory.with_extension("journal");
        match (self.plan.shim, round) {
            (Some(shim), Round::KilledInside) => {
                shim.insert(&mut command, directory, Shim::SIGKILL, self.random.of_any_size(CALLS_MAX), &journal);
            }
            (Some(shim), Round::PowerCut) => {
                fs::write(&journal, "")?;
                shim.insert(&mut command, directory, Shim::POWER_CUT, 0, &journal);
            }
            _ => {}
        }
        let begin = Instant::now();
        let mut server = Server::spawn(command, &self.subject.directory, Announces::OnStderr)?;
        if !server.wait_until_listening() {
            let ended = server.end();
            self.oracle.figures.promise(round == Round::KilledInside && ended.status.code().is_none(), || {
                format!("the server did not start: {}; it said:\n{}", ended.status, ended.said.join("\n"))
            });
            self.kills += 1;
            return Ok(());
        }
        let address = server.address;
        self.start_took = begin.elapsed();
        // What was there before has been repaired by now, and nothing was added yet.
        self.oracle.look(&self.subject.directory, &self.sent_batches)?;
        let mut stable = Stable::at_start(directory)?;
        if round != Round::KilledInside {
            self.look_at_count(address);
        }
        let plan =
            clients::Plan { clients: 6, keys: 3, level: self.subject.level, metrics_max: 1_000, pause: Duration::ZERO };
        let clients = Clients::start(address, plan, self.sent_batches.next_connection(), &mut self.random);
        let enough = u64::from(self.random.of_any_size(RESPONSES_MAX));
        let begin = Instant::now();
        let archive = Archive::watch(&self.subject.directory, &self.archive);
        clients.wait_until("load", |clients| {
            if self.random.one_in(LOOKS_PER_HANG_UP) {
                server.signal(Signal::HangUp);
            }
            Ok(clients.responses() >= enough || clients.have_ended() || begin.elapsed() > ROUND_MAX)
        })?;
        thread::sleep(self.random.shorter_than(LAST_MOMENTS));
        let end = self.end(round, server);
        archive.stop()?;
        if round == Round::PowerCut {
            stable.read(&journal)?;
            stable.cut(directory, &mut self.random)?;
            if let Some(delivery) = &mut self.oracle.delivery {
                delivery.note_power_cut();
            }
            self.power_cuts += 1;
        }
        let (connections, figures) = clients.stop();
        self.oracle.figures += &figures;
        self.sent_batches.enter(connections, end);
        Ok(())
    }

    fn end(&mut self, round: Round, server: Server) -> End {
        let ended = match round {
            Round::Killed | Round::KilledStarting | Round::KilledInside | Round::PowerCut => server.end_by_kill(),
            Round::KilledStopping => {
                server.signal(Signal::Terminate);
                thread::sleep(self.random.shorter_than(STOPPING));
                server.end_by_kill()
            }
            Round::Stopped => {
                server.signal(Signal::Terminate);
                // It must not pass for the second signal that ends a stop at once.
                server.signal(Signal::HangUp);
                server.end()
            }
        };
        let was_killed = ended.status.code().is_none();
        self.kills += u64::from(was_killed);
        self.kills_of_open += u64::from(was_killed && round == Round::Killed);
        self.ends += u64::from(!was_killed);
        self.oracle.figures.promise(was_killed || ended.status.success(), || {
            format!("a stop ended with {}; it said:\n{}", ended.status, ended.said.join("\n"))
        });
        match (was_killed, round) {
            (true, Round::PowerCut) => End::PowerCut,
            (true, _) => End::Unclean,
            (false, _) => End::Clean,
        }
    }

    /// The server counts the shutdowns that were not clean.
    fn look_at_count(&mut self, address: SocketAddr) {
        let counted = stat(address, "unclean_shutdowns");
        let (least, most) = (self.kills_of_open, self.kills);
        self.oracle.figures.promise(counted.is_some_and(|counted| (least..=most).contains(&counted)), || {
            format!("{counted:?} unclean shutdowns are counted; there were {least} to {most}")
        });
    }
}

/// Gives sealed segments a second name while the server may delete them.
struct Archive {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Archive {
    fn watch(directory: &Path, archive: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (directory, archive, stopped) = (directory.to_owned(), archive.to_owned(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            loop {
                // Looked at once more after the end.
                let is_last = stopped.load(Ordering::Relaxed);
                log::keep(&directory, &archive)?;
                if is_last {
                    return Ok(());
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, thread }
    }

    fn stop(self) -> io::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

//! A disk that fails, under load: what was acknowledged is there at the next start. Where it fails for good, nothing is
//! acknowledged after the failure, the process ends with the reason, and a failed sync is not tried again; where the
//! log can do without what failed, or has to wait for space, it goes on.

use crate::{
    Subject,
    clients::{Clients, Plan},
    delivery::Delivery,
    figures::Figures,
    log,
    oracle::Oracle,
    process::Signal,
    random::Random,
    sent_batches::{End, SentBatches},
    server::Server,
    shim::Shim,
};
use std::{fs, io, path::Path, time::Duration};

/// Calls that go well before the fault, at most.
const CALLS_BEFORE_MAX: u32 = 50;
/// Calls of one kind that a start on a new directory makes, at the most.
const CALLS_OF_START: u32 = 3;
/// Responses in a round of load that nothing interrupts.
const RESPONSES: u64 = 200;

/// Fault of the disk. `shim.c` says what each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// EIO on every write to the log.
    WriteFails,
    /// EROFS on every write.
    ReadOnly,
    /// Half of a write is taken, then EIO, and it cannot be taken back.
    TornWrite,
    /// EDQUOT for a while.
    QuotaExceeded,
    /// ENOSPC on every write of a sidecar, of a compressed segment and of a forward's cursor.
    DraftsFull,
    /// Each write takes a part: no failure at all.
    ShortWrites,
    /// EIO on every write to the state file.
    RecordFails,
    /// EIO on one sync; those after it would succeed.
    SyncFails,
    /// EIO on every renaming: the log is not rotated, and goes on.
    RenameFails,
    /// EIO on a sync of the directory.
    DirectorySyncFails,
    /// The directory is deleted.
    Vanishes,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::WriteFails,
        Self::ReadOnly,
        Self::TornWrite,
        Self::QuotaExceeded,
        Self::DraftsFull,
        Self::ShortWrites,
        Self::RecordFails,
        Self::SyncFails,
        Self::RenameFails,
        Self::DirectorySyncFails,
        Self::Vanishes,
    ];

    /// As the library takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteFails => "write-fails",
            Self::ReadOnly => "read-only",
            Self::TornWrite => "torn-write",
            Self::QuotaExceeded => "quota-exceeded",
            Self::DraftsFull => "drafts-full",
            Self::ShortWrites => "short-writes",
            Self::RecordFails => "record-fails",
            Self::SyncFails => "sync-fails",
            Self::RenameFails => "rename-fails",
            Self::DirectorySyncFails => "directory-sync-fails",
            Self::Vanishes => "vanishes",
        }
    }

    /// Returns the texts that the last line of a server ended by the fault must contain, after the program's name.
    const fn reason(self) -> &'static [&'static str] {
        match self {
            Self::WriteFails | Self::TornWrite | Self::RecordFails => &["writing to the log failed", "os error 5"],
            Self::ReadOnly => &["writing to the log failed", "os error 30"],
            Self::SyncFails => &["syncing the log failed", "os error 5"],
            // That it was deleted, or, by a rotation that met it half deleted, that a file is not there.
            Self::Vanishes => &["the log failed"],
            Self::DirectorySyncFails => &["rotating the log failed", "os error 5"],
            Self::QuotaExceeded | Self::DraftsFull | Self::ShortWrites | Self::RenameFails => &[],
        }
    }

    /// Returns true if the server goes on with the fault.
    const fn is_survived(self) -> bool {
        matches!(self, Self::QuotaExceeded | Self::DraftsFull | Self::ShortWrites | Self::RenameFails)
    }

    /// Returns the statistic that counts the fault, where the server goes on and counts it before it ends.
    const fn statistic(self) -> Option<&'static str> {
        match self {
            Self::QuotaExceeded => Some("stalls"),
            Self::DraftsFull => Some("failures"),
            _ => None,
        }
    }
}

/// Serves on a disk that comes to have `fault`, then on a sound one, and returns what the oracle found.
///
/// # Errors
/// What the oracle cannot judge: it does not start, or the log cannot be read.
pub fn run(subject: &Subject, shim: &Shim, fault: Fault) -> io::Result<Figures> {
    let mut random = Random::new(subject.seed);
    let mut sent_batches = SentBatches::default();
    let mut oracle = Oracle::default().with_delivery(Delivery::start(&subject.directory)?);
    let journal = subject.directory.with_extension("journal");
    let mut command = subject.command();
    oracle.configure(&mut command);
    command.args(["--rate-limit", "0", "--reactors", "2", "--rotate-size", "64KiB"]);
    if fault == Fault::DraftsFull {
        command.args(["--compress", "zstd"]);
    }
    if fault != Fault::Vanishes {
        let calls = CALLS_OF_START + random.of_any_size(CALLS_BEFORE_MAX);
        shim.insert(&mut command, &subject.directory, fault.name(), calls, &journal);
    }
    let plan = Plan { clients: 6, keys: 6, level: subject.level, metrics_max: 300, pause: Duration::ZERO };
    let server = Server::start(command, &subject.directory)?;
    let clients = Clients::start(server.address, plan, 0, &mut random);
    if fault.is_survived() || fault == Fault::Vanishes {
        clients.wait_until("load", |clients| Ok(clients.responses() >= RESPONSES))?;
    }
    if let Some(name) = fault.statistic() {
        let is_counted = || crate::stat(server.address, name).is_some_and(|count| count > 0);
        clients.wait_until("the fault to be counted", |_| Ok(is_counted()))?;
        let before = clients.acknowledged();
        clients.wait_until("batches after it", |clients| Ok(clients.acknowledged() >= before + RESPONSES))?;
    }
    match fault {
        _ if fault.is_survived() => server.signal(Signal::Terminate),
        Fault::Vanishes => clients.wait_until("the directory to be gone", |_| remove(&subject.directory))?,
        _ => {}
    }
    let ended = server.end();
    let (connections, figures) = clients.stop();
    oracle.figures += &figures;
    let code = i32::from(!fault.is_survived());
    let said_why = fault.reason().iter().all(|part| ended.last_line().contains(part));
    oracle.figures.promise(ended.status.code() == Some(code) && said_why, || {
        format!(
            "it ended with {}, and not with {code} and {:?}; it said:\n{}",
            ended.status,
            fault.reason(),
            ended.said.join("\n")
        )
    });
    let syncs = fs::read_to_string(&journal).map_or(0, |journal| journal.lines().count());
    oracle.figures.promise(syncs == 0, || format!("{syncs} syncs after the one that failed"));
    if fault == Fault::Vanishes {
        // What was in it is gone, and nobody promised otherwise.
        fs::create_dir(&subject.directory)?;
        sent_batches = SentBatches::default();
        oracle.delivery = Some(Delivery::start(&subject.directory)?);
    } else {
        sent_batches.enter(connections, if code == 0 { End::Clean } else { End::Unclean });
    }

    let mut command = subject.command();
    oracle.configure(&mut command);
    command.args(["--rate-limit", "0"]);
    let server = Server::start(command, &subject.directory)?;
    oracle.look(&subject.directory, &sent_batches)?;
    let clients = Clients::start(server.address, plan, sent_batches.next_connection(), &mut random);
    clients.wait_until("load on a sound disk", |clients| Ok(clients.acknowledged() >= RESPONSES))?;
    let (connections, figures) = clients.stop();
    oracle.figures += &figures;
    server.signal(Signal::Terminate);
    let ended_well = server.end();
    oracle
        .figures
        .promise(ended_well.status.success(), || format!("on a sound disk it ended with {}", ended_well.status));
    sent_batches.enter(connections, End::Clean);
    oracle.look(&subject.directory, &sent_batches)?;
    oracle.drain_forward(subject.command(), &subject.directory, &sent_batches)?;
    let mut figures = oracle.figures;
    figures.ends = 2;
    let place = log::LogLocation { directory: &subject.directory, archive: None };
    (figures.segments, figures.left) = (log::sealed_count(place)? as u64, log::sealed_count(place)? as u64);
    figures.repaired = log::repaired_count(&subject.directory)? as u64;
    Ok(figures)
}

/// Deletes a directory. `false`: the server has made something in it meanwhile.
fn remove(directory: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {
            Ok(!directory.exists())
        }
        Err(error) => Err(error),
    }
}

//! What the service manager is told, if one has started this process and asked: that the server listens, what it does, that it is
//! alive, that it stops. The protocol is that of sd_notify(3): a datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET`
//! names, whose sender the manager knows by the socket's credentials.
//!
//! This file promises that a manager that does not listen costs the server nothing but a warning, and that `WATCHDOG=1` is never said
//! for its own sake: [`Pulse`] says whether there is life to tell of. It reads the three variables of the protocol itself; they are
//! no configuration of ours.

use crate::{limits, log::LogHealth};
use std::{
    env,
    ffi::OsStr,
    fmt, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The service manager that wants to be told.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// The last message did not get through, and that was said.
    is_deaf: AtomicBool,
}

impl Manager {
    /// The manager that this process's environment names. One that cannot be reached is warned of.
    #[must_use]
    pub fn from_environment() -> Option<Arc<Self>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let watchdog = watchdog(env::var_os("WATCHDOG_USEC").as_deref(), env::var_os("WATCHDOG_PID").as_deref());
        match Self::at(&name, watchdog) {
            Ok(manager) => Some(Arc::new(manager)),
            Err(error) => {
                tracing::warn!("the service manager is told nothing: NOTIFY_SOCKET={}: {error}", name.display());
                None
            }
        }
    }

    /// The manager that listens at the path `name`, or at the abstract name after an `@` (unix(7)).
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(limits::NOTIFY_WAIT))?;
        Ok(Self { socket, address, watchdog, is_deaf: AtomicBool::new(false) })
    }

    /// How often [`Pulse`] is to be asked, when the manager takes a server for dead that it does not hear from.
    #[must_use]
    pub fn beat_interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| (watchdog / limits::WATCHDOG_BEATS).max(limits::WATCHDOG_BEAT_MIN))
    }

    /// It listens: who waits for it may go on.
    pub fn ready(&self, listens_at: &str) {
        self.tell(format_args!("READY=1\nSTATUS=listening on {listens_at}"));
    }

    /// It stops, for a reason of one line; everything will be over after `within`.
    pub fn stopping(&self, reason: &dyn fmt::Display, within: Duration) {
        self.tell(format_args!("STOPPING=1\nSTATUS=stopping: {reason}\nEXTEND_TIMEOUT_USEC={}", within.as_micros()));
    }

    /// What it does, in one line.
    pub fn status(&self, what: &dyn fmt::Display) {
        self.tell(format_args!("STATUS={what}"));
    }

    /// It lives.
    pub fn alive(&self) {
        self.tell(format_args!("WATCHDOG=1"));
    }

    fn tell(&self, message: fmt::Arguments<'_>) {
        let sent = self.socket.send_to_addr(message.to_string().as_bytes(), &self.address);
        let was_deaf = self.is_deaf.swap(sent.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (sent, was_deaf) {
            tracing::warn!("the service manager cannot be told anything: {error}");
        }
    }
}

/// The time after which the manager takes this process for dead, from `WATCHDOG_USEC`, unless `WATCHDOG_PID` is another's.
fn watchdog(microseconds: Option<&OsStr>, process: Option<&OsStr>) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if process.is_some_and(|process| number(process) != Some(u64::from(process::id()))) {
        return None;
    }
    let microseconds = microseconds?;
    let watchdog = number(microseconds).filter(|&microseconds| microseconds > 0).map(Duration::from_micros);
    if watchdog.is_none() {
        tracing::warn!("there is no watchdog: WATCHDOG_USEC={} is no time", microseconds.display());
    }
    watchdog
}

/// What there is to see of the server's threads at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Signs {
    /// Reactors that did not report.
    pub reactors_silent: usize,
    /// Whether the log takes lines.
    pub health: LogHealth,
    /// Bytes that wait for the writer.
    pub queued_bytes: u64,
    /// Bytes that it has written since the start.
    pub written_bytes: u64,
}

/// Judges from signs whether every thread that a batch needs makes progress.
///
/// A disk that is full is none of the server's faults, and it goes on by itself: restarted it would be no better off. A sync that takes
/// long is not held against it either, since who waits for it has a timeout.
#[derive(Debug, Default)]
pub struct Pulse {
    /// What the writer had written when bytes were last seen to wait for it.
    waited_at: Option<u64>,
}

impl Pulse {
    /// Whether it lives.
    ///
    /// # Errors
    /// What does not.
    pub fn feel(&mut self, signs: Signs) -> Result<(), &'static str> {
        let stalled = matches!(signs.health, LogHealth::Stalled(_));
        let waits_at = (signs.queued_bytes > 0 && !stalled).then_some(signs.written_bytes);
        let waited_at = std::mem::replace(&mut self.waited_at, waits_at);
        if signs.health.has_failed() {
            Err("the log has failed")
        } else if signs.reactors_silent > 0 {
            Err("a reactor does not report")
        } else if waits_at.is_some() && waits_at == waited_at {
            Err("the log's writer does not move")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Failure, Stall};
    use std::os::unix::net::UnixDatagram;

    const HEALTHY: Signs = Signs { reactors_silent: 0, health: LogHealth::Healthy, queued_bytes: 0, written_bytes: 7 };

    fn read(receiver: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = receiver.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("metricstream-{}", process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (receiver, written) in [(by_path, path.into_os_string()), (by_name, format!("@{name}").into())] {
            let manager = Manager::at(&written, None).unwrap();
            manager.ready("127.0.0.1:80, unix:/a");
            assert_eq!(read(&receiver), "READY=1\nSTATUS=listening on 127.0.0.1:80, unix:/a");
            manager.alive();
            assert_eq!(read(&receiver), "WATCHDOG=1");
            manager.stopping(&"SIGTERM", Duration::from_secs(25));
            assert_eq!(read(&receiver), "STOPPING=1\nSTATUS=stopping: SIGTERM\nEXTEND_TIMEOUT_USEC=25000000");
        }
    }

    #[test]
    fn nobody_at_the_socket_is_no_failure() {
        let manager = Manager::at(OsStr::new("/nonexistent/notify"), None).unwrap();
        manager.alive();
        assert!(manager.is_deaf.load(Ordering::Relaxed));
        assert!(Manager::at(OsStr::new("vsock:2:1"), None).is_err());
    }

    #[test]
    fn the_watchdog_is_for_the_process_it_names() {
        let own = process::id().to_string();
        let ask = |microseconds: &str, process: Option<&str>| {
            watchdog(Some(OsStr::new(microseconds)), process.map(OsStr::new))
        };
        assert_eq!(ask("30000000", None), Some(Duration::from_secs(30)));
        assert_eq!(ask("30000000", Some(&own)), Some(Duration::from_secs(30)));
        assert_eq!(ask("30000000", Some("1")), None);
        assert_eq!(ask("0", None), None);
        assert_eq!(ask("soon", None), None);
        assert_eq!(watchdog(None, None), None);
    }

    #[test]
    fn the_pulse_is_that_of_the_slowest() {
        let mut pulse = Pulse::default();
        assert!(pulse.feel(HEALTHY).is_ok());
        let waiting = Signs { queued_bytes: 100, ..HEALTHY };
        assert!(pulse.feel(waiting).is_ok(), "it may just have come");
        assert!(pulse.feel(waiting).is_err(), "nothing of it was written since");
        assert!(pulse.feel(Signs { written_bytes: 8, ..waiting }).is_ok());
        assert!(pulse.feel(HEALTHY).is_ok());
        assert!(pulse.feel(Signs { reactors_silent: 1, ..HEALTHY }).is_err());
        assert!(pulse.feel(Signs { health: LogHealth::Failed(Failure::Sync), ..HEALTHY }).is_err());
        let full = Signs { health: LogHealth::Stalled(Stall::NoSpace), ..waiting };
        assert!(pulse.feel(full).is_ok());
        assert!(pulse.feel(full).is_ok(), "a full disk is not a dead server");
        assert!(pulse.feel(waiting).is_ok(), "it has just come to its senses");
    }
}

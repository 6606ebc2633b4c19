//! Notifications to the service manager, if it requested them: readiness, status, watchdog pings, shutdown. The
//! protocol is that of sd_notify(3): a datagram of `KEY=value` lines to the socket in `NOTIFY_SOCKET`; the manager
//! identifies the sender by the socket's credentials.
//!
//! A manager that does not receive them costs the server nothing but a warning, and `WATCHDOG=1` is sent only when
//! [`LivenessCheck`] finds that every thread makes progress. This file reads the three variables of the protocol
//! itself; they are not configuration of the server.
//!
//! The crate sd-notify opens a socket for each message, finds it by the environment alone, and sends without a timeout.

use crate::limits;
use log::LogHealth;
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

/// The connection to the service manager.
#[derive(Debug)]
pub struct SdNotify {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
    /// The last message could not be sent, and that was logged.
    has_failed_to_send: AtomicBool,
}

impl SdNotify {
    /// Connects to the manager named by the environment. Logs a warning if it cannot be reached.
    #[must_use]
    pub fn from_environment() -> Option<Arc<Self>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
        let watchdog = watchdog(env::var_os("WATCHDOG_USEC").as_deref(), env::var_os("WATCHDOG_PID").as_deref());
        match Self::at(&name, watchdog) {
            Ok(sd_notify) => Some(Arc::new(sd_notify)),
            Err(error) => {
                tracing::warn!("cannot notify the service manager: NOTIFY_SOCKET={}: {error}", name.display());
                None
            }
        }
    }

    /// Connects to the socket at the path `name`, or at the abstract name after an `@` (unix(7)).
    fn at(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        }?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(limits::NOTIFY_WAIT))?;
        Ok(Self { socket, address, watchdog, has_failed_to_send: AtomicBool::new(false) })
    }

    /// Interval of liveness checks with [`LivenessCheck`], if the manager's watchdog is enabled.
    #[must_use]
    pub fn ping_interval(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| (watchdog / limits::WATCHDOG_PINGS).max(limits::WATCHDOG_PING_INTERVAL_MIN))
    }

    /// Reports that the server listens.
    pub fn ready(&self, listens_at: &str) {
        self.send(format_args!("READY=1\nSTATUS=listening on {listens_at}"));
    }

    /// Reports that shutdown has begun, with a reason of one line, and that it takes at most `within`.
    pub fn stopping(&self, reason: &dyn fmt::Display, within: Duration) {
        self.send(format_args!("STOPPING=1\nSTATUS=stopping: {reason}\nEXTEND_TIMEOUT_USEC={}", within.as_micros()));
    }

    /// Reports the status of the server, in one line.
    pub fn status(&self, what: &dyn fmt::Display) {
        self.send(format_args!("STATUS={what}"));
    }

    /// Sends a watchdog ping.
    pub fn ping_watchdog(&self) {
        self.send(format_args!("WATCHDOG=1"));
    }

    fn send(&self, message: fmt::Arguments<'_>) {
        let sent = self.socket.send_to_addr(message.to_string().as_bytes(), &self.address);
        let had_failed = self.has_failed_to_send.swap(sent.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (sent, had_failed) {
            tracing::warn!("cannot notify the service manager: {error}");
        }
    }
}

/// The watchdog timeout from `WATCHDOG_USEC`, unless `WATCHDOG_PID` names another process.
fn watchdog(microseconds: Option<&OsStr>, process: Option<&OsStr>) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if process.is_some_and(|process| number(process) != Some(u64::from(process::id()))) {
        return None;
    }
    let microseconds = microseconds?;
    let watchdog = number(microseconds).filter(|&microseconds| microseconds > 0).map(Duration::from_micros);
    if watchdog.is_none() {
        tracing::warn!("watchdog disabled: WATCHDOG_USEC={} is not a valid time", microseconds.display());
    }
    watchdog
}

/// A sample of the progress of the server's threads.
#[derive(Debug, Clone, Copy)]
pub struct LivenessSample {
    /// Reactors that did not report.
    pub reactors_silent: usize,
    /// Health of the log.
    pub health: LogHealth,
    /// Bytes waiting for the writer.
    pub queued_bytes: u64,
    /// Bytes that the writer has written since startup.
    pub written_bytes: u64,
}

/// The liveness check: compares samples to see that every thread that a batch needs makes progress.
///
/// A full disk is not a fault of the server: it resumes by itself, and a restart would not help. A slow sync is not a
/// fault either, because requests that wait for it time out.
#[derive(Debug, Default)]
pub struct LivenessCheck {
    /// Bytes that the writer had written at the last sample with bytes waiting.
    waited_at: Option<u64>,
}

impl LivenessCheck {
    /// Returns `Err` with the stalled component if a thread on the write path made no progress since the last sample.
    ///
    /// # Errors
    /// The stalled component, and how it was detected.
    pub fn check(&mut self, sample: LivenessSample) -> Result<(), &'static str> {
        let stalled = matches!(sample.health, LogHealth::Stalled(_));
        let waits_at = (sample.queued_bytes > 0 && !stalled).then_some(sample.written_bytes);
        let waited_at = std::mem::replace(&mut self.waited_at, waits_at);
        if sample.health.has_failed() {
            Err("the log has failed")
        } else if sample.reactors_silent > 0 {
            Err("a reactor does not report")
        } else if waits_at.is_some() && waits_at == waited_at {
            Err("the log writer makes no progress")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Failure, Stall};
    use std::os::unix::net::UnixDatagram;

    const HEALTHY: LivenessSample =
        LivenessSample { reactors_silent: 0, health: LogHealth::Healthy, queued_bytes: 0, written_bytes: 7 };

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
            let sd_notify = SdNotify::at(&written, None).unwrap();
            sd_notify.ready("127.0.0.1:80, unix:/a");
            assert_eq!(read(&receiver), "READY=1\nSTATUS=listening on 127.0.0.1:80, unix:/a");
            sd_notify.ping_watchdog();
            assert_eq!(read(&receiver), "WATCHDOG=1");
            sd_notify.stopping(&"SIGTERM", Duration::from_secs(25));
            assert_eq!(read(&receiver), "STOPPING=1\nSTATUS=stopping: SIGTERM\nEXTEND_TIMEOUT_USEC=25000000");
        }
    }

    #[test]
    fn a_manager_that_is_gone_is_no_failure() {
        let sd_notify = SdNotify::at(OsStr::new("/nonexistent/notify"), None).unwrap();
        sd_notify.ping_watchdog();
        assert!(sd_notify.has_failed_to_send.load(Ordering::Relaxed));
        assert!(SdNotify::at(OsStr::new("vsock:2:1"), None).is_err());
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
    fn a_stalled_component_fails_the_liveness_check() {
        let mut liveness = LivenessCheck::default();
        assert!(liveness.check(HEALTHY).is_ok());
        let waiting = LivenessSample { queued_bytes: 100, ..HEALTHY };
        assert!(liveness.check(waiting).is_ok(), "it may just have come");
        assert!(liveness.check(waiting).is_err(), "nothing of it was written since");
        assert!(liveness.check(LivenessSample { written_bytes: 8, ..waiting }).is_ok());
        assert!(liveness.check(HEALTHY).is_ok());
        assert!(liveness.check(LivenessSample { reactors_silent: 1, ..HEALTHY }).is_err());
        assert!(liveness.check(LivenessSample { health: LogHealth::Failed(Failure::Sync), ..HEALTHY }).is_err());
        let full = LivenessSample { health: LogHealth::Stalled(Stall::NoSpace), ..waiting };
        assert!(liveness.check(full).is_ok());
        assert!(liveness.check(full).is_ok(), "a full disk is not a dead server");
        assert!(liveness.check(waiting).is_ok(), "it has just resumed");
    }
}

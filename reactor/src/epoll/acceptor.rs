//! One listener of an epoll driver: whether its backlog may hold connections, and when it is next worth a try.
//!
//! The listener is edge-triggered too, so `ready` stays set until accept4(2) itself says that the backlog is empty.

use crate::{Listener, Peer};
use mio::{
    Interest, Registry,
    net::{TcpListener, UnixListener},
};
use socket2::{Domain, Socket};
use std::{
    io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// Pause of accepting after the process or the host ran out of a resource. Connections stay in the backlog, and no edge
/// reports them again. An immediate retry would spin; a client does not notice a twentieth of a second.
const BACK_OFF: Duration = Duration::from_millis(50);

#[derive(Debug)]
enum Source {
    Inet(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
pub(super) struct Acceptor {
    source: Source,
    /// Connection slots that it leaves to the other listeners.
    pub slots_spared: usize,
    /// The backlog may hold connections.
    ready: bool,
    /// End of the rest after a failure.
    retry_at: Option<Instant>,
    /// Accepting stopped because every slot is taken.
    held: bool,
    /// The owner wants no connections for now.
    paused: bool,
}

impl Acceptor {
    pub fn new(listener: Listener, registry: &Registry, name: mio::Token) -> io::Result<Self> {
        let slots_spared = listener.slots_spared as usize;
        let (socket, domain) = listener.into_kernel()?;
        socket.set_nonblocking(true)?;
        let socket = OwnedFd::from(socket);
        let mut source = match domain {
            Domain::UNIX => Source::Unix(UnixListener::from(socket)),
            _ => Source::Inet(TcpListener::from(socket)),
        };
        match &mut source {
            Source::Inet(listener) => registry.register(listener, name, Interest::READABLE)?,
            Source::Unix(listener) => registry.register(listener, name, Interest::READABLE)?,
        }
        Ok(Self { source, slots_spared, ready: false, retry_at: None, held: false, paused: false })
    }

    pub const fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub const fn note_ready(&mut self) {
        self.ready = true;
    }

    /// Returns the time until accepting is tried again: zero for now, `None` for not before the kernel reports a
    /// connection.
    pub fn due_in(&self) -> Option<Duration> {
        (self.ready && !self.paused)
            .then(|| self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())))
    }

    /// Rests before the next attempt.
    pub fn back_off(&mut self) {
        self.retry_at = Some(Instant::now() + BACK_OFF);
    }

    /// Notes that no slot is free, and says whether that is news. `ready` stays, so that a freed slot is filled at
    /// once.
    pub const fn hold(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    /// The next connection of the backlog, if there is one.
    pub fn accept(&mut self) -> io::Result<Option<(Socket, Peer)>> {
        self.held = false;
        self.retry_at = None;
        loop {
            // mio accepts with SOCK_NONBLOCK and SOCK_CLOEXEC, in one system call.
            let accepted = match &self.source {
                Source::Inet(listener) => {
                    listener.accept().map(|(stream, peer)| (OwnedFd::from(stream).into(), Peer::Inet(peer)))
                }
                Source::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                    let socket = OwnedFd::from(stream).into();
                    Peer::of(&socket, Domain::UNIX).map(|peer| (socket, peer))
                }),
            };
            match accepted {
                Ok(connection) => return Ok(Some(connection)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready = false;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Returns true if the process or the host has run out of descriptors, memory or epoll watches (accept(2),
/// epoll_ctl(2)). After any other error the next connection may be accepted.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

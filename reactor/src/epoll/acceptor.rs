//! The listener of an epoll driver: whether its backlog may hold connections, and when it is next worth a try.
//!
//! The listener is edge-triggered too, so `ready` stays set until accept4(2) itself says that the backlog is empty.

use mio::{
    Interest, Registry,
    net::{TcpListener, TcpStream},
};
use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long accepting rests after the process or the host ran out of something. Connections stay in the backlog, and no
/// edge tells of them again. Trying at once would spin; a client does not notice a twentieth of a second.
const BACK_OFF: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
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
    pub fn new(listener: std::net::TcpListener, registry: &Registry, name: mio::Token) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, name, Interest::READABLE)?;
        Ok(Self { listener, ready: false, retry_at: None, held: false, paused: false })
    }

    pub const fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub const fn note_ready(&mut self) {
        self.ready = true;
    }

    /// How long until accepting is worth a try: zero for now, `None` for not before the kernel tells of a connection.
    pub fn due_in(&self) -> Option<Duration> {
        (self.ready && !self.paused)
            .then(|| self.retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now())))
    }

    /// Rests before the next attempt.
    pub fn back_off(&mut self) {
        self.retry_at = Some(Instant::now() + BACK_OFF);
    }

    /// Notes that no slot is free, and says whether that is news. `ready` stays, so that a freed slot is filled at once.
    pub const fn hold(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    /// The next connection of the backlog, if there is one.
    pub fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.held = false;
        self.retry_at = None;
        loop {
            match self.listener.accept() {
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

/// Whether the process or the host has run out of descriptors, memory or epoll watches (accept(2), epoll_ctl(2)). After
/// any other error the next connection may be whole.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    let exhausted = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ENOSPC];
    error.raw_os_error().is_some_and(|code| exhausted.contains(&code))
}

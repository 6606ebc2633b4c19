//! A completion-shaped reactor for Linux: one contract, driven by io_uring or by epoll.
//!
//! With the feature `sim`, which only the workspace in `sim/` turns on, there is a third driver, over the network of a
//! simulated machine.
//!
//! One [`Driver`] belongs to one thread. It owns that thread's listeners and connections, and turns what the kernel
//! reports into calls on a [`Handler`]. The handler never sees readiness, `ENOBUFS` or `F_MORE`; it sees bytes that
//! arrived, buffers that were sent, and connections that ended.
//!
//! # The contract
//!
//! Every driver keeps it; `tests/contract.rs` holds each of them to it, forced.
//!
//! 1. Handlers are called only from inside [`Driver::turn`], and [`Handler::sent`] also from inside
//!    [`Driver::report_sent`]; never from inside another method of the driver. A handler notes what it wants done, and
//!    its owner does it on the driver once that call has returned.
//! 2. A connection begins with `accepted` or `connected` and ends with exactly one `closed`, which is the last call
//!    that names its token. A connect that fails goes straight to `closed`.
//! 3. The slice given to `data` is valid inside that call only. The handler takes all of it.
//! 4. After `data` returned [`Flow::Pause`], neither `data` nor `eof` is called for that connection until
//!    [`Driver::resume_receive`]. Bytes that had already been received are kept by the driver and delivered then. The
//!    driver calls [`Handler::reserve`] before it takes memory for them. If it is refused, what was kept before is
//!    still delivered when it may be, and then the connection ends with [`Cause::Error`] of `ENOBUFS`.
//! 5. Bytes come in order, all of them, once; `eof` comes after the last and once. The other direction stays open.
//! 6. One send is in flight per connection. `sent` hands the buffer back, cleared, when the kernel has taken every
//!    byte; short sends are resumed by the driver. Calling `send` while one is in flight is the caller's bug: it
//!    asserts.
//! 7. An error on a connection (reset, broken pipe) closes it: `closed` with [`Cause::Error`]. A buffer in flight is
//!    then dropped by the driver once the kernel is done with it. A reset may show as an `eof` first: the kernel
//!    reports an error once, and it may have reported it to the send.
//! 8. [`Driver::close`] cancels what is in flight. A slot, its descriptor and its buffers are reused only after the
//!    kernel's final report on them. Calls that name a token already closed are ignored.
//! 9. One connection cannot starve the others: the bytes delivered for it in one turn are bounded.
//! 10. The owner announces its sleep on the doorbell, looks at its sources, and calls `turn`, which says that it is
//!     awake again as soon as the wait is over.
//! 11. Not promised: how many calls one arrival makes, or in what order different connections are served.
//! 12. A connection names the listener that it came in by. Each listener is paused and resumed apart from the others,
//!     and one that leaves slots to the others ([`Listener::slots_spared`]) cannot keep them out, however many come in
//!     by it.
#![warn(missing_docs)]

use socket2::{Domain, Socket};
use std::{io, net::TcpListener, os::fd::OwnedFd, os::unix::net::UnixListener, sync::Arc, time::Duration};
use wake::Doorbell;

mod endpoint;
pub mod epoll;
pub mod listen;
pub mod nofile;
mod peer;
#[cfg(feature = "sim")]
pub mod sim;
mod slot_table;
mod timer_wheel;
mod token;
pub mod uring;

pub use endpoint::Endpoint;
pub use peer::Peer;
pub use slot_table::SlotTable;
pub use timer_wheel::TimerWheel;
pub use token::Token;
pub use uring::UringDriver;

/// Flow control of a connection's further bytes, chosen by the handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Deliver more as it comes.
    Continue,
    /// Deliver nothing more until [`Driver::resume_receive`].
    Pause,
}

/// Why a connection ended.
#[derive(Debug)]
pub enum Cause {
    /// The owner called [`Driver::close`].
    Local,
    /// The connection failed: reset, broken pipe, refused, timed out, out of memory.
    Error(io::Error),
}

/// Receives what happened to a driver's connections. Contract: see the crate's documentation.
pub trait Handler {
    /// A connection came in by the listener of that index in [`DriverConfig::listeners`]. `peer` is its other end.
    fn accepted(&mut self, token: Token, listener: usize, peer: Peer);
    /// Accepting failed (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`, `ECONNABORTED`…). The driver backs off and goes on.
    fn accept_failed(&mut self, error: &io::Error);
    /// A connection begun with [`Driver::connect`] is established.
    fn connected(&mut self, token: Token);
    /// Bytes arrived.
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow;
    /// The peer will send nothing more. It may still be reading.
    fn eof(&mut self, token: Token);
    /// All bytes of the buffer given to [`Driver::send`] were taken by the kernel. The buffer comes back empty, with
    /// its capacity.
    fn sent(&mut self, token: Token, buffer: Vec<u8>);
    /// The driver wants to take `bytes` of memory for what a connection has sent and the handler does not get yet:
    /// because of a pause, or for the sake of other connections. False: it must not. By default it may.
    fn reserve(&mut self, token: Token, bytes: usize) -> bool {
        let _ = (token, bytes);
        true
    }
    /// The driver has freed `bytes` of memory that it had reserved for a connection. What it has left when the
    /// connection ends is freed with [`closed`](Handler::closed), without a call of this.
    fn release(&mut self, token: Token, bytes: usize) {
        let _ = (token, bytes);
    }
    /// The connection is gone; its token will never be named again.
    fn closed(&mut self, token: Token, cause: Cause);
}

/// A place where connections come in: a bound and listening socket, of TCP or of `AF_UNIX`.
#[derive(Debug)]
pub struct Listener {
    source: Source,
    /// Connection slots that it leaves to the other listeners: it waits while no more than that many are free.
    pub slots_spared: u32,
}

/// The socket of a listener.
#[derive(Debug)]
enum Source {
    Kernel(Socket, Domain),
    #[cfg(feature = "sim")]
    Machine(machine::net::TcpListener),
}

impl Listener {
    fn new(socket: OwnedFd, domain: Domain) -> Self {
        Self { source: Source::Kernel(socket.into(), domain), slots_spared: 0 }
    }

    /// The socket, and its family.
    ///
    /// # Errors
    /// It is one of the simulated machine.
    fn into_kernel(self) -> io::Result<(Socket, Domain)> {
        match self.source {
            Source::Kernel(socket, domain) => Ok((socket, domain)),
            #[cfg(feature = "sim")]
            Source::Machine(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The same, leaving `slots` to the others.
    #[must_use]
    pub fn sparing(self, slots: u32) -> Self {
        Self { slots_spared: slots, ..self }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        // Which family of IP it is makes no difference here.
        Self::new(listener.into(), Domain::IPV6)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::new(listener.into(), Domain::UNIX)
    }
}

/// Configuration of a driver.
#[derive(Debug)]
pub struct DriverConfig {
    /// Listening sockets, at most [`LISTENERS_MAX`]; none for a client.
    pub listeners: Vec<Listener>,
    /// Most connections open at one time, accepted and connecting together. At the bound accepting pauses, and goes on
    /// when one has closed; [`Driver::connect`] fails.
    pub connections_max: u32,
    /// Bytes of one receive buffer; a power of two. The most that one call of [`Handler::data`] carries, but for bytes
    /// kept back by a pause.
    pub receive_buffer_bytes: u32,
    /// Number of receive buffers the driver shares among its connections; a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Rung by other threads to end this driver's wait.
    pub doorbell: Arc<Doorbell>,
}

/// Most listeners of one driver.
pub const LISTENERS_MAX: usize = 64;

/// Cumulative counts of one driver's work, since it was opened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Calls of [`Driver::turn`].
    pub turns: u64,
    /// Waits in the kernel: `io_uring_enter` or `epoll_wait`.
    pub enters: u64,
    /// Completions or readiness events taken from the kernel.
    pub completions: u64,
    /// Receives that ended because no receive buffer was free.
    pub buffers_exhausted: u64,
    /// Multishot operations armed again after the kernel had ended them.
    pub rearms: u64,
    /// Completions the kernel had to hold back because the completion queue was full.
    pub overflows: u64,
    /// Sends that the kernel took only in part, and that were resumed.
    pub short_sends: u64,
    /// Times accepting stopped, at the bound or after a failure.
    pub accept_pauses: u64,
}

/// Owns one thread's listeners and connections. Contract: see the crate's documentation.
pub trait Driver: Sized {
    /// True if the kernel is reached inside [`Driver::turn`] alone: all that a turn delivers has come before its first
    /// call of the handler, and what [`Driver::send`] was given since the last turn leaves with the next. One reading
    /// of the clock then serves for all of either.
    const BATCHES: bool = false;

    /// Makes a driver for the calling thread, which is the only one that may use it.
    ///
    /// # Errors
    /// The kernel's error, unchanged: a driver that is unavailable is an error, never another driver.
    fn open(setup: DriverConfig) -> io::Result<Self>;

    /// Submits what is pending, waits until something happened, the doorbell rang or `timeout` passed (`None`: without
    /// limit; zero: does not wait), and calls the handler for each thing that happened.
    ///
    /// # Errors
    /// Only when the driver itself is unusable. A connection's errors go to [`Handler::closed`].
    fn turn<H: Handler>(&mut self, timeout: Option<Duration>, handler: &mut H) -> io::Result<()>;

    /// Calls [`Handler::sent`] for sends that have ended already, where the driver knows it without the kernel: on
    /// epoll nearly every one, as it is made at once, which saves a turn that does not wait. The others come with
    /// later turns. Never waits.
    fn report_sent<H: Handler>(&mut self, handler: &mut H) {
        let _ = handler;
    }

    /// Begins a connection; ends in `connected` or `closed`. A unix socket whose queue is full is waited for on
    /// io_uring; on epoll, where the kernel signals no end of that (connect(2), `EAGAIN`), the connection ends with
    /// [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// No slot or no descriptor is free, or the name of the peer does not fit into an address.
    fn connect(&mut self, peer: &Endpoint) -> io::Result<Token>;

    /// Sends all of `buffer`, which must not be empty; ends in `sent` or `closed`.
    fn send(&mut self, token: Token, buffer: Vec<u8>);

    /// Takes a [`Flow::Pause`] back.
    fn resume_receive(&mut self, token: Token);

    /// Ends this side of the connection, after the send in flight: the peer reads an end of file. Receiving goes on.
    fn shutdown_write(&mut self, token: Token);

    /// Ends the connection; `closed` follows in a later turn.
    fn close(&mut self, token: Token);

    /// Leaves further connections in the kernel's queue of `listener` until [`Driver::resume_accept`]. Those that were
    /// already on their way still come.
    fn pause_accept(&mut self, listener: usize);

    /// Takes a [`Driver::pause_accept`] back.
    fn resume_accept(&mut self, listener: usize);

    /// Takes in what the kernel has already queued at the listeners, then closes them.
    fn stop_accept(&mut self);

    /// Returns the counts since the driver was made.
    fn counters(&self) -> Counters;
}

//! Accepting: when a listener's multishot accept is armed, when it is cancelled, and what becomes of what it brings.
//! Owns the listeners; connections belong to the driver.
#![expect(unsafe_code, reason = "the accept is submitted here, and descriptors come back as numbers")]

use super::{Connection, Op, UringDriver, arm_receive, user_data::pack};
use crate::{Handler, Listener, Peer, Token};
use io_uring::{cqueue, opcode, types};
use socket2::{Domain, Socket};
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsRawFd, FromRawFd},
    time::{Duration, Instant},
};

/// Pause after an accept that failed for lack of a resource. `EMFILE` leaves the client in the listener's queue, so
/// that trying again at once would spin; a connection that closes ends the pause early.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Connections taken from the listener's queue when it is closed. The queue holds at most `net.core.somaxconn`, 4,096
/// by default; this is there for a peer that connects as fast as we accept.
const FINAL_ACCEPTS_MAX: usize = 65_536;

/// One listener.
#[derive(Debug)]
pub(super) struct Acceptor {
    /// `None` once it is closed.
    socket: Option<Socket>,
    domain: Domain,
    /// Connection slots that it leaves to the other listeners.
    slots_spared: usize,
    /// The multishot accept is in flight.
    armed: bool,
    /// So is a cancel of it.
    cancelling: bool,
    /// The owner wants no connections of it for now.
    paused: bool,
    /// Has been armed before.
    begun: bool,
    /// End of the pause after a failure.
    retry_at: Option<Instant>,
    /// Accepted before the cancel took effect, while every slot was taken. One multishot accept can bring no more than
    /// the listener's queue or the completion queue holds before it is cancelled.
    waiting: VecDeque<Socket>,
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Self> {
        // A non-blocking file makes older kernels return EAGAIN instead of waiting (5.19 to 6.x).
        let slots_spared = listener.slots_spared as usize;
        let (socket, domain) = listener.into_kernel()?;
        socket.set_nonblocking(false)?;
        Ok(Self {
            socket: Some(socket),
            domain,
            slots_spared,
            armed: false,
            cancelling: false,
            paused: false,
            begun: false,
            retry_at: None,
            waiting: VecDeque::new(),
        })
    }

    /// Operations in flight.
    fn in_flight(&self) -> u32 {
        u32::from(self.armed) + u32::from(self.cancelling)
    }

    /// Time until the pause after a failure ends, if there is one.
    fn retry_in(&self) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// The listeners of a driver.
#[derive(Debug)]
pub(super) struct Acceptors {
    each: Vec<Acceptor>,
    /// `stop_accept` was called.
    stopping: bool,
}

impl Acceptors {
    pub(super) fn new(listeners: Vec<Listener>) -> io::Result<Self> {
        let each = listeners.into_iter().map(Acceptor::new).collect::<io::Result<_>>()?;
        Ok(Self { each, stopping: false })
    }

    /// Operations in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.each.iter().map(Acceptor::in_flight).sum()
    }

    /// Returns true if nothing but a listener's queue remains to be accepted.
    pub(super) fn is_ready_to_stop(&self) -> bool {
        self.stopping && self.each.iter().any(|one| one.socket.is_some() && one.in_flight() == 0)
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.retry_now();
    }

    pub(super) fn set_paused(&mut self, listener: usize, paused: bool) {
        if let Some(acceptor) = self.each.get_mut(listener) {
            acceptor.paused = paused;
        }
    }

    /// Ends the pauses after a failure: what was wanting may be there now.
    pub(super) fn retry_now(&mut self) {
        self.each.iter_mut().for_each(|acceptor| acceptor.retry_at = None);
    }

    /// Time until the first pause after a failure ends, if there is one.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.each.iter().filter_map(Acceptor::retry_in).min()
    }
}

/// The listener of an accept or of its cancel stands where a connection's token does.
fn name_of(op: Op, listener: usize) -> u64 {
    pack(op, Token::new(u32::try_from(listener).unwrap_or(u32::MAX), 0))
}

impl UringDriver {
    /// Arms or cancels each listener's accept, as things are.
    pub(super) fn steer_accept(&mut self) {
        let vacant = self.connections.vacant();
        let stopping = self.acceptors.stopping;
        for (index, acceptor) in self.acceptors.each.iter_mut().enumerate() {
            let Some(socket) = acceptor.socket.as_ref().filter(|_| !acceptor.cancelling) else { continue };
            let wanted = !(acceptor.paused || stopping)
                && vacant > acceptor.slots_spared
                && acceptor.waiting.is_empty()
                && acceptor.retry_at.is_none();
            if wanted && !acceptor.armed {
                let descriptor = types::Fd(socket.as_raw_fd());
                // Blocking sockets: io_uring waits in their stead, and short-circuits non-blocking ones.
                let accept = opcode::AcceptMulti::new(descriptor).flags(libc::SOCK_CLOEXEC).build();
                // SAFETY: no memory is named; the listener stays open while the accept is in flight.
                unsafe { self.queue.push(&accept.user_data(name_of(Op::Accept, index))) };
                acceptor.armed = true;
                self.counters.rearms += u64::from(acceptor.begun);
                acceptor.begun = true;
            } else if !wanted && acceptor.armed {
                let cancel = opcode::AsyncCancel::new(name_of(Op::Accept, index)).build();
                // SAFETY: no memory is named.
                unsafe { self.queue.push(&cancel.user_data(name_of(Op::CancelAccept, index))) };
                acceptor.cancelling = true;
                self.counters.accept_pauses += u64::from(!stopping);
            }
        }
    }

    /// At the end of a turn: gives freed slots to who waits for them, and steers the accepts by what the turn changed.
    pub(super) fn settle_accept<H: Handler>(&mut self, handler: &mut H) {
        for listener in 0..self.acceptors.each.len() {
            let acceptor = &mut self.acceptors.each[listener];
            if acceptor.retry_in() == Some(Duration::ZERO) {
                acceptor.retry_at = None;
            }
            if self.acceptors.stopping && acceptor.in_flight() == 0 {
                self.take_last(listener, handler);
            }
            while self.has_slot_for(listener)
                && let Some(socket) = self.acceptors.each[listener].waiting.pop_front()
            {
                self.admit(listener, socket, handler);
            }
        }
        self.steer_accept();
    }

    fn has_slot_for(&self, listener: usize) -> bool {
        self.connections.vacant() > self.acceptors.each[listener].slots_spared
    }

    /// Completion of an accept: a descriptor, or why there is none. `named` is what the accept was submitted with.
    pub(super) fn on_accept<H: Handler>(&mut self, named: Token, result: i32, flags: u32, handler: &mut H) {
        let listener = named.slot();
        let acceptor = &mut self.acceptors.each[listener];
        if !cqueue::more(flags) {
            acceptor.armed = false;
        }
        match -result {
            // SAFETY: the kernel has just opened this descriptor for us, and nobody else has it.
            ..=0 => self.admit(listener, unsafe { Socket::from_raw_fd(result) }, handler),
            libc::ECANCELED | libc::EINTR => {}
            // Another driver that shares the listener is emptying it, for which it must not block: not to be tried at
            // once.
            libc::EAGAIN if !self.acceptors.stopping => acceptor.retry_at = Some(Instant::now() + RETRY_AFTER),
            libc::EAGAIN => {}
            errno => self.accept_failed(listener, &io::Error::from_raw_os_error(errno), handler),
        }
    }

    /// Completion of the accept's cancel. One that came too early (ENOENT, EALREADY) is followed by another if the
    /// accept is still armed and unwanted.
    pub(super) fn on_accept_cancelled(&mut self, named: Token) {
        self.acceptors.each[named.slot()].cancelling = false;
    }

    fn accept_failed<H: Handler>(&mut self, listener: usize, error: &io::Error, handler: &mut H) {
        // A client that left while it was queued costs the others nothing (accept(2)).
        if error.raw_os_error() != Some(libc::ECONNABORTED) && !self.acceptors.stopping {
            self.acceptors.each[listener].retry_at = Some(Instant::now() + RETRY_AFTER);
            self.counters.accept_pauses += 1;
        }
        handler.accept_failed(error);
    }

    fn admit<H: Handler>(&mut self, listener: usize, socket: Socket, handler: &mut H) {
        if !self.has_slot_for(listener) {
            self.acceptors.each[listener].waiting.push_back(socket);
            return;
        }
        // ENOTCONN: the peer has already reset it, and there is nobody to serve (getpeername(2)).
        let Ok(peer) = Peer::of(&socket, self.acceptors.each[listener].domain) else { return };
        let Ok(token) = self.connections.insert(Connection::new(socket)) else { return };
        if let Some(connection) = self.connections.get_mut(token) {
            arm_receive(&mut self.queue, token, connection, self.receive);
        }
        handler.accepted(token, listener, peer);
    }

    /// Takes in what the kernel has queued at the listener, then closes it.
    fn take_last<H: Handler>(&mut self, listener: usize, handler: &mut H) {
        let Some(socket) = self.acceptors.each[listener].socket.take() else { return };
        if let Err(error) = socket.set_nonblocking(true) {
            return handler.accept_failed(&error);
        }
        for _ in 0..FINAL_ACCEPTS_MAX {
            match socket.accept() {
                Ok((socket, _)) => self.admit(listener, socket, handler),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => handler.accept_failed(&error),
                Err(error) => return handler.accept_failed(&error),
            }
        }
    }
}

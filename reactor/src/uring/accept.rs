//! Accepting: when the multishot accept is armed, when it is cancelled, and what becomes of what it brings. Owns the
//! listener; connections belong to the driver.
#![allow(unsafe_code)] // The accept is submitted here, and descriptors come back as numbers.

use super::{Connection, Op, UringDriver, arm_receive, user_data::pack_own};
use crate::Handler;
use io_uring::{cqueue, opcode, types};
use std::{
    collections::VecDeque,
    io,
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd, FromRawFd},
    time::{Duration, Instant},
};

/// Pause after an accept that failed for want of something. `EMFILE` leaves the client in the listener's queue, so that
/// trying again at once would spin; a connection that closes ends the pause early.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Connections taken from the listener's queue when it is closed. The queue holds at most `net.core.somaxconn`, 4,096 by
/// default; this is there for a peer that connects as fast as we accept.
const FINAL_ACCEPTS_MAX: usize = 65_536;

#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Option<TcpListener>,
    /// The multishot accept is in flight.
    armed: bool,
    /// So is a cancel of it.
    cancelling: bool,
    /// The owner wants no connections for now.
    paused: bool,
    /// `stop_accept` was called.
    stopping: bool,
    /// Has been armed before.
    begun: bool,
    /// End of the pause after a failure.
    retry_at: Option<Instant>,
    /// Accepted before the cancel took effect, while every slot was taken. One multishot accept can bring no more than the
    /// listener's queue or the completion queue holds before it is cancelled.
    waiting: VecDeque<TcpStream>,
}

impl Acceptor {
    pub(super) fn new(listener: Option<TcpListener>) -> io::Result<Self> {
        if let Some(listener) = &listener {
            // A non-blocking file makes older kernels answer EAGAIN instead of waiting (5.19 to 6.x).
            listener.set_nonblocking(false)?;
        }
        Ok(Self {
            listener,
            armed: false,
            cancelling: false,
            paused: false,
            stopping: false,
            begun: false,
            retry_at: None,
            waiting: VecDeque::new(),
        })
    }

    /// Operations in flight.
    pub(super) fn in_flight(&self) -> u32 {
        u32::from(self.armed) + u32::from(self.cancelling)
    }

    /// Whether only the listener's queue remains to be taken in.
    pub(super) fn is_ready_to_stop(&self) -> bool {
        self.stopping && self.listener.is_some() && self.in_flight() == 0
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.retry_at = None;
    }

    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Ends the pause after a failure: what was wanting may be there now.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }

    /// Time until the pause after a failure ends, if there is one.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

impl UringDriver {
    /// Arms or cancels the accept, as things are.
    pub(super) fn steer_accept(&mut self) {
        let full = self.connections.is_full();
        let acceptor = &mut self.acceptor;
        let Some(listener) = &acceptor.listener else { return };
        if acceptor.cancelling {
            return;
        }
        let wanted = !(full || acceptor.paused || acceptor.stopping)
            && acceptor.waiting.is_empty()
            && acceptor.retry_at.is_none();
        if wanted && !acceptor.armed {
            let descriptor = types::Fd(listener.as_raw_fd());
            // Blocking sockets: io_uring waits in their stead, and short-circuits non-blocking ones.
            let accept = opcode::AcceptMulti::new(descriptor).flags(libc::SOCK_CLOEXEC).build();
            // SAFETY: no memory is named; the listener stays open while the accept is in flight.
            unsafe { self.queue.push(&accept.user_data(pack_own(Op::Accept))) };
            acceptor.armed = true;
            self.counters.rearms += u64::from(acceptor.begun);
            acceptor.begun = true;
        } else if !wanted && acceptor.armed {
            let cancel = opcode::AsyncCancel::new(pack_own(Op::Accept)).build();
            // SAFETY: no memory is named.
            unsafe { self.queue.push(&cancel.user_data(pack_own(Op::CancelAccept))) };
            acceptor.cancelling = true;
            self.counters.accept_pauses += u64::from(!acceptor.stopping);
        }
    }

    /// At the end of a turn: gives freed slots to who waits for them, and steers the accept by what the turn changed.
    pub(super) fn settle_accept<H: Handler>(&mut self, handler: &mut H) {
        if self.acceptor.retry_in() == Some(Duration::ZERO) {
            self.acceptor.retry_now();
        }
        if self.acceptor.is_ready_to_stop() {
            self.take_last(handler);
        }
        while !self.connections.is_full()
            && let Some(socket) = self.acceptor.waiting.pop_front()
        {
            self.admit(socket, handler);
        }
        self.steer_accept();
    }

    /// Completion of the accept: a descriptor, or why there is none.
    pub(super) fn on_accept<H: Handler>(&mut self, result: i32, flags: u32, handler: &mut H) {
        if !cqueue::more(flags) {
            self.acceptor.armed = false;
        }
        match -result {
            // SAFETY: the kernel has just opened this descriptor for us, and nobody else has it.
            ..=0 => self.admit(unsafe { TcpStream::from_raw_fd(result) }, handler),
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
            errno => self.accept_failed(&io::Error::from_raw_os_error(errno), handler),
        }
    }

    /// Completion of the accept's cancel. One that came too early (ENOENT, EALREADY) is followed by another if the accept
    /// is still armed and unwanted.
    pub(super) fn on_accept_cancelled(&mut self) {
        self.acceptor.cancelling = false;
    }

    fn accept_failed<H: Handler>(&mut self, error: &io::Error, handler: &mut H) {
        // A client that gave up while it was queued costs the others nothing (accept(2)).
        if error.raw_os_error() != Some(libc::ECONNABORTED) && !self.acceptor.stopping {
            self.acceptor.retry_at = Some(Instant::now() + RETRY_AFTER);
            self.counters.accept_pauses += 1;
        }
        handler.accept_failed(error);
    }

    fn admit<H: Handler>(&mut self, socket: TcpStream, handler: &mut H) {
        if self.connections.is_full() {
            self.acceptor.waiting.push_back(socket);
            return;
        }
        // ENOTCONN: the peer has already reset it, and there is nobody to serve (getpeername(2)).
        let Ok(peer) = socket.peer_addr() else { return };
        let Ok(token) = self.connections.insert(Connection::new(socket)) else { return };
        if let Some(connection) = self.connections.get_mut(token) {
            arm_receive(&mut self.queue, token, connection);
        }
        handler.accepted(token, peer);
    }

    /// Takes in what the kernel has queued at the listener, then closes it.
    fn take_last<H: Handler>(&mut self, handler: &mut H) {
        let Some(listener) = self.acceptor.listener.take() else { return };
        if let Err(error) = listener.set_nonblocking(true) {
            return handler.accept_failed(&error);
        }
        for _ in 0..FINAL_ACCEPTS_MAX {
            match listener.accept() {
                Ok((socket, _)) => self.admit(socket, handler),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => handler.accept_failed(&error),
                Err(error) => return handler.accept_failed(&error),
            }
        }
    }
}

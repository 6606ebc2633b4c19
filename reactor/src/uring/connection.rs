//! One connection's state, and what follows from it. No system calls and no handler here.

use super::user_data::{InFlight, Op};
use socket2::{SockAddr, Socket};

/// Progress of the peer's end of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eof {
    /// The peer may still send.
    Open,
    /// The kernel has reported it; bytes or a pause keep it from the handler.
    Seen,
    /// The handler knows.
    Reported,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Operations of this connection that are in flight. The slot, the socket and the memory below outlive all of them.
    pub(super) in_flight: InFlight,
    /// The handler requested a pause.
    pub(super) paused: bool,
    /// Waits for a receive buffer in the driver's `parked`.
    pub(super) parked: bool,
    /// Is listed in the driver's `ready`.
    pub(super) ready: bool,
    /// Is being torn down; the handler gets no further call but `closed`.
    pub(super) closing: bool,
    /// The write side is to be shut down once the send in flight is done.
    pub(super) shutdown_wanted: bool,
    pub(super) eof: Eof,
    /// Why the connection failed: an errno, zero if it did not.
    pub(super) failure: i32,
    /// The turn that `delivered` counts for.
    turn: u32,
    /// Bytes given to the handler in that turn.
    delivered: u32,
    /// Bytes of `outgoing` the kernel has taken.
    pub(super) sent: usize,
    /// Bytes being sent. Not touched while a send is in flight.
    pub(super) outgoing: Vec<u8>,
    /// Bytes received but not yet given to the handler, from `kept_start` on.
    kept: Vec<u8>,
    kept_start: usize,
    /// Bytes had to be dropped, as no memory was granted for them: the connection ends once what is kept was delivered.
    pub(super) overrun: bool,
    /// Address of a connect in flight: the kernel reads it, so it has a fixed place in memory.
    pub(super) peer: Option<Box<SockAddr>>,
}

impl Connection {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            in_flight: InFlight::default(),
            paused: false,
            parked: false,
            ready: false,
            closing: false,
            shutdown_wanted: false,
            eof: Eof::Open,
            failure: 0,
            turn: 0,
            delivered: 0,
            sent: 0,
            outgoing: Vec::new(),
            kept: Vec::new(),
            kept_start: 0,
            overrun: false,
            peer: None,
        }
    }

    /// Returns true if a receive should be armed and none is. It is not armed before the cancel of an earlier one has
    /// completed, which could hit the new one.
    pub(super) fn wants_receive(&self) -> bool {
        !(self.closing || self.paused || self.parked || self.overrun)
            && self.eof == Eof::Open
            && self.kept.is_empty()
            && !self.in_flight.contains(Op::Receive)
            && !self.in_flight.contains(Op::CancelReceive)
            && !self.in_flight.contains(Op::Connect)
    }

    /// Returns true if a receive is armed that brings more than can be delivered. A pause alone does not cancel it:
    /// most pauses end before anything is received.
    pub(super) fn wants_receive_cancelled(&self) -> bool {
        (self.has_kept() || self.overrun)
            && self.in_flight.contains(Op::Receive)
            && !self.in_flight.contains(Op::CancelReceive)
    }

    /// Bytes that may be delivered in `turn`, of `bytes_max` altogether.
    pub(super) fn allowance(&mut self, turn: u32, bytes_max: u32) -> u32 {
        if self.turn != turn {
            self.turn = turn;
            self.delivered = 0;
        }
        bytes_max.saturating_sub(self.delivered)
    }

    /// Returns true if bytes were received for it in `turn`.
    pub(super) fn has_received_in(&self, turn: u32) -> bool {
        self.has_kept() || (self.turn == turn && self.delivered > 0)
    }

    /// Counts `bytes` against the allowance of the present turn.
    #[expect(clippy::cast_possible_truncation, reason = "at most the allowance, or one receive buffer; both are u32")]
    pub(super) fn count_delivered(&mut self, bytes: usize) {
        self.delivered = self.delivered.saturating_add(bytes as u32);
    }

    /// Keeps `bytes` for a later turn, behind what is kept already. `reserve` is called with the capacity that this
    /// takes; if it refuses, the connection is overrun.
    pub(super) fn keep(&mut self, bytes: &[u8], reserve: impl FnOnce(usize) -> bool) {
        let (needed, capacity) = (self.kept.len() + bytes.len(), self.kept.capacity());
        let grown = if needed <= capacity { capacity } else { needed.max(2 * capacity) };
        // What follows a gap is of no use.
        self.overrun = self.overrun || (grown > capacity && !reserve(grown - capacity));
        if !self.overrun {
            self.kept.reserve_exact(grown - self.kept.len());
            self.kept.extend_from_slice(bytes);
        }
    }

    /// Returns true if bytes are buffered that must be delivered before any others.
    pub(super) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The oldest kept bytes, at most `bytes_max`.
    pub(super) fn kept(&self, bytes_max: u32) -> &[u8] {
        let rest = &self.kept[self.kept_start..];
        &rest[..rest.len().min(bytes_max as usize)]
    }

    /// Forgets the oldest `bytes` kept. Returns the capacity that this has freed.
    pub(super) fn consume_kept(&mut self, bytes: usize) -> usize {
        self.kept_start += bytes;
        debug_assert!(self.kept_start <= self.kept.len());
        if self.kept_start == self.kept.len() { self.forget_kept() } else { 0 }
    }

    /// Forgets all bytes kept, and returns the capacity that this has freed.
    pub(super) fn forget_kept(&mut self) -> usize {
        self.kept_start = 0;
        std::mem::take(&mut self.kept).capacity()
    }

    /// Returns true if an event is pending for the handler that no completion will bring.
    pub(super) fn has_news(&self) -> bool {
        self.has_kept() || self.overrun || self.eof == Eof::Seen
    }
}

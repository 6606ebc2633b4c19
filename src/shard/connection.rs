//! A connection of one core: its HTTP state, its responses and its phase. And the table of connections.

use super::{arrival::Preface, holders::HolderSlot};
use crate::{
    limits,
    query_pool::{RawQuery, Sharer, response_channel::Reader},
    service::{AdmittedRequest, Caller},
    stats::{Closed, Stamps},
    trace::Traces,
    ui::Job,
};
use http1::{Connection as HttpConnection, Deadline, Disposition};
use reactor::Token;

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Receiving requests.
    Receiving,
    /// The burst used up its share of the turn, or the responses have just been sent: the inbox is processed in the
    /// next turn.
    Ready,
    /// Another thread makes the response.
    Deferred,
    /// The responses wait for the log.
    Held,
    /// The responses are being sent.
    Sending,
    /// The response has begun, and another thread makes the rest.
    Streaming,
    /// The last response was sent and the write side is shut: further data is discarded until the peer closes.
    Lingering,
    /// The driver is closing it.
    Closing,
}

/// The deadline that the connection's timer enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The log, another thread, or the peer reading the responses.
    Response,
    /// The beginning of the response to a query.
    Query,
    /// The beginning of the response to a query that may wait for the log.
    Wait,
    /// The beginning of the response to a query, when the client may have left.
    Left,
    /// The next part of a response that has begun, from the threads that make it.
    More,
    /// The next part of a stream of the live page.
    Live,
    /// The beginning of the response to a job for the live page.
    Job,
    /// The peer's close after the last response.
    Linger,
    /// The request of a connection over the limit.
    Refusal,
}

/// A response that comes in parts from another thread.
#[derive(Debug)]
pub enum Source {
    /// Response to a query.
    Query(Box<RawQuery>),
    /// The stream of the live page; `true` if only its head is wanted, and the client.
    Stream(bool, Sharer),
    /// A job for the live page.
    Job(Box<Job>),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// The driver's token of the connection.
    pub token: Token,
    /// The state of the protocol.
    pub http: HttpConnection<AdmittedRequest>,
    /// The peer, and the listener.
    pub caller: Caller,
    /// The state before the first request.
    pub preface: Preface,
    /// The phase.
    pub phase: Phase,
    /// The deadline of the timer.
    pub timer: Timer,
    /// The source of the response to its query, until its end.
    pub reader: Option<Reader>,
    /// A response from another thread that starts once the responses before it are sent.
    pub next_source: Option<Source>,
    /// Responses of the current burst; lent to the driver while they are sent.
    pub out: Vec<u8>,
    /// The action after they are sent.
    pub after: Disposition,
    /// Log positions that they wait for.
    pub holds: u8,
    /// The deadline of the protocol that begins once they are sent.
    pub deadline: Option<Deadline>,
    /// Timestamps of the stages of the current burst.
    pub stamps: Stamps,
    /// Traces of the current burst.
    pub traces: Traces,
    /// Arrival of the oldest bytes in the inbox while responses are outstanding; 0 if there are none.
    pub buffered_ns: u64,
    /// Number of responses to batches in the current burst.
    pub batch_responses: u32,
    /// Number of other responses in the current burst.
    pub other_responses: u32,
    /// True if the latest visit that served requests cost more than [`limits::LIGHT_WORK_BYTES_MAX`].
    pub is_heavy: bool,
    /// True while the driver does not receive.
    pub paused: bool,
    /// True once the peer has closed its write side.
    pub eof: bool,
    /// True if it is over the connection limit: only `/health` and `/ready` are served, or it was evicted for another.
    pub refused: bool,
    /// True if it was evicted for others.
    pub evicted: bool,
    /// True while the driver has its responses.
    pub sending: bool,
    /// Place among the connections of the same address.
    pub place: HolderSlot,
    /// Bytes of memory that are counted there.
    pub held_bytes: usize,
    /// Bytes of its responses, and bytes that the driver keeps for it.
    pub response_bytes: usize,
    /// See `response_bytes`.
    pub kept_bytes: usize,
    /// Time of its last progress: the begin of a request, [`limits::PROGRESS_BYTES`] of one, or its responses.
    pub progress_ns: u64,
    /// Bytes of its request since its last progress.
    pub progress_bytes: usize,
    /// The reason that is counted when it ends.
    pub closed_for: Closed,
}

impl Connection {
    /// Creates the state of an accepted connection.
    #[must_use]
    pub const fn new(token: Token, caller: Caller, place: HolderSlot, now_ns: u64) -> Self {
        Self {
            token,
            http: HttpConnection::new(),
            caller,
            preface: Preface::Unseen,
            phase: Phase::Receiving,
            timer: Timer::Idle,
            reader: None,
            next_source: None,
            out: Vec::new(),
            after: Disposition::KeepOpen,
            holds: 0,
            deadline: None,
            stamps: Stamps { head_ns: 0, received_ns: 0, decided_ns: 0, written_ns: 0, durable_ns: 0, sent_ns: 0 },
            traces: Traces::new(),
            buffered_ns: 0,
            batch_responses: 0,
            other_responses: 0,
            is_heavy: false,
            paused: false,
            eof: false,
            refused: false,
            evicted: false,
            sending: false,
            place,
            held_bytes: 0,
            response_bytes: 0,
            kept_bytes: 0,
            progress_ns: now_ns,
            progress_bytes: 0,
            closed_for: Closed::ByPeer,
        }
    }

    /// Notes the bytes of a delivery. `goes_on`: they belong to a request that had begun before, and go on with it:
    /// enough of them are progress.
    pub fn note_progress(&mut self, bytes: usize, goes_on: bool, now_ns: u64) {
        self.progress_bytes += bytes;
        if !goes_on || self.progress_bytes >= limits::PROGRESS_BYTES {
            (self.progress_bytes, self.progress_ns) = (0, now_ns);
        }
    }
}

/// The connections by slot, and the spare buffers for responses.
#[derive(Debug, Default)]
pub struct ConnectionTable {
    by_slot: Vec<Option<Box<Connection>>>,
    spare: Vec<Vec<u8>>,
    /// Minimum number of spare buffers since the last trim.
    spare_least: usize,
    spare_bytes: usize,
    open: usize,
}

impl ConnectionTable {
    /// Number of open connections.
    pub const fn len(&self) -> usize {
        self.open
    }

    /// Returns true if no connection is open.
    pub const fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The connection in `slot`, if any.
    pub fn token_at(&self, slot: usize) -> Option<Token> {
        self.by_slot.get(slot)?.as_deref().map(|connection| connection.token)
    }

    /// The connection with `token`, if it is still open.
    pub fn get(&mut self, token: Token) -> Option<&mut Connection> {
        self.by_slot.get_mut(token.slot())?.as_deref_mut().filter(|connection| connection.token == token)
    }

    /// Adds a connection.
    pub fn insert(&mut self, connection: Connection) {
        let slot = connection.token.slot();
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, || None);
        }
        let before = self.by_slot[slot].replace(Box::new(connection));
        assert!(before.is_none(), "a slot is let again only after its last tenant was closed");
        self.open += 1;
    }

    /// Removes a connection.
    pub fn remove(&mut self, token: Token) -> Option<Box<Connection>> {
        self.get(token)?;
        self.open -= 1;
        self.by_slot[token.slot()].take()
    }

    /// An empty buffer for responses.
    pub fn lend_buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_least = self.spare_least.min(self.spare.len());
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer for the next burst, unless there are enough or it is large.
    pub fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (1..=limits::RESPONSE_BUFFER_KEPT_BYTES_MAX).contains(&bytes)
            && self.spare_bytes + bytes <= limits::RESPONSE_BUFFERS_KEPT_BYTES_MAX
        {
            buffer.clear();
            self.spare_bytes += bytes;
            self.spare.push(buffer);
        }
    }

    /// Gives back the buffers that nobody has needed since the last call, and what a crowd that is gone has left of the
    /// table.
    pub fn trim(&mut self) {
        for buffer in self.spare.drain(..self.spare_least) {
            self.spare_bytes -= buffer.capacity();
        }
        self.spare_least = self.spare.len();
        let used = self.by_slot.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.by_slot.truncate(used);
        self.by_slot.shrink_to(2 * used);
    }

    /// Bytes of memory: the table, the connections' own state, and the spare buffers.
    pub const fn memory_bytes(&self) -> usize {
        self.by_slot.capacity() * size_of::<Option<Box<Connection>>>()
            + self.open * size_of::<Connection>()
            + self.spare_bytes
    }

    /// The tokens of all connections, for iteration while the table changes.
    pub fn tokens(&self) -> Vec<Token> {
        self.by_slot.iter().flatten().map(|connection| connection.token).collect()
    }
}

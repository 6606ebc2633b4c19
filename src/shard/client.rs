//! One connection as its core sees it: its HTTP state, its answers, where it stands. And the table of them.

use super::{arrival::Preface, holders::Place};
use crate::{
    limits,
    query_pool::{RawQuery, response_channel::Reader},
    service::{Caller, Ticket},
    stats::{Closed, Stamps},
    trace::Traces,
};
use http1::{After, Connection, Deadline};
use reactor::Token;

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Taking in requests.
    Receiving,
    /// Its burst used up its share of the turn, or its answers have just been sent: the inbox goes on in the next turn.
    Ready,
    /// Another thread makes the answer.
    Deferred,
    /// Its answers wait for the log.
    Held,
    /// Its answers are on their way.
    Sending,
    /// Its answer has begun, and another thread makes the rest.
    Streaming,
    /// Answered for good and the write side shut: what still comes is thrown away until the peer ends it too.
    Lingering,
    /// Given to the driver to close.
    Closing,
}

/// Which deadline the connection's timer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The next request.
    Idle,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The log, another thread, or the peer's taking of the answers.
    Answer,
    /// The beginning of the answer to a query.
    Query,
    /// The same, of a client that may have left.
    Left,
    /// More of an answer that has begun, from the threads that make it.
    More,
    /// The peer's end after the last answer.
    Linger,
    /// The request of a connection over the bound.
    Refusal,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    /// Its name.
    pub token: Token,
    /// The protocol's state.
    pub http: Connection<Ticket>,
    /// Who it belongs to, and how it came in.
    pub caller: Caller,
    /// What comes before its first request.
    pub preface: Preface,
    /// Where it stands.
    pub phase: Phase,
    /// What its timer stands for.
    pub timer: Timer,
    /// Where the answer to its query comes from, until the end of it was taken.
    pub answer: Option<Reader>,
    /// A query that is asked once the answers before it are sent.
    pub next_query: Option<Box<RawQuery>>,
    /// Answers of the current burst; lent to the driver while they are sent.
    pub out: Vec<u8>,
    /// What follows the sending of them.
    pub after: After,
    /// Positions of the log that they wait for.
    pub holds: u8,
    /// The deadline of the protocol that begins once they are sent.
    pub deadline: Option<Deadline>,
    /// When the current burst passed each stage.
    pub stamps: Stamps,
    /// What of the current burst is traced.
    pub traces: Traces,
    /// When the oldest bytes came that wait in the inbox while answers are outstanding; 0: none do.
    pub stashed_ns: u64,
    /// Answers to batches in the current burst.
    pub batch_answers: u32,
    /// Answers to other requests in it.
    pub other_answers: u32,
    /// The driver does not receive for it.
    pub paused: bool,
    /// The peer will send nothing more.
    pub eof: bool,
    /// Over the bound of connections: only `/health` and `/ready` are answered, or it has made place for another.
    pub refused: bool,
    /// Given up for others.
    pub evicted: bool,
    /// The driver has its answers.
    pub sending: bool,
    /// Place among the connections of the same address.
    pub place: Place,
    /// Bytes of memory it is counted with there.
    pub held_bytes: usize,
    /// Those of its answers, and those that the driver keeps for it.
    pub answer_bytes: usize,
    /// See `answer_bytes`.
    pub kept_bytes: usize,
    /// When it last made progress: began a request, brought [`limits::PROGRESS_BYTES`] of one, or was given answers.
    pub progress_ns: u64,
    /// Bytes of its request since then.
    pub progress_bytes: usize,
    /// What is counted when it ends.
    pub closed_for: Closed,
}

impl Client {
    /// A connection that was just taken in.
    #[must_use]
    pub const fn new(token: Token, caller: Caller, place: Place, now_ns: u64) -> Self {
        Self {
            token,
            http: Connection::new(),
            caller,
            preface: Preface::Unseen,
            phase: Phase::Receiving,
            timer: Timer::Idle,
            answer: None,
            next_query: None,
            out: Vec::new(),
            after: After::KeepOpen,
            holds: 0,
            deadline: None,
            stamps: Stamps { head_ns: 0, received_ns: 0, decided_ns: 0, written_ns: 0, durable_ns: 0, answered_ns: 0 },
            traces: Traces::new(),
            stashed_ns: 0,
            batch_answers: 0,
            other_answers: 0,
            paused: false,
            eof: false,
            refused: false,
            evicted: false,
            sending: false,
            place,
            held_bytes: 0,
            answer_bytes: 0,
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

/// The connections by slot, and the buffers of answers that none of them holds at the moment.
#[derive(Debug, Default)]
pub struct Clients {
    by_slot: Vec<Option<Box<Client>>>,
    spare: Vec<Vec<u8>>,
    /// The fewest that were spare at one time since the last trim.
    spare_least: usize,
    spare_bytes: usize,
    open: usize,
}

impl Clients {
    /// How many are open.
    pub const fn len(&self) -> usize {
        self.open
    }

    /// Whether none is open.
    pub const fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Who has `slot` at the moment.
    pub fn token_at(&self, slot: usize) -> Option<Token> {
        self.by_slot.get(slot)?.as_deref().map(|client| client.token)
    }

    /// The connection that `token` names, if it is still here.
    pub fn get(&mut self, token: Token) -> Option<&mut Client> {
        self.by_slot.get_mut(token.slot())?.as_deref_mut().filter(|client| client.token == token)
    }

    /// Takes a connection in.
    pub fn insert(&mut self, client: Client) {
        let slot = client.token.slot();
        if slot >= self.by_slot.len() {
            self.by_slot.resize_with(slot + 1, || None);
        }
        let before = self.by_slot[slot].replace(Box::new(client));
        assert!(before.is_none(), "a slot is let again only after its last tenant was closed");
        self.open += 1;
    }

    /// Takes a connection out.
    pub fn remove(&mut self, token: Token) -> Option<Box<Client>> {
        self.get(token)?;
        self.open -= 1;
        self.by_slot[token.slot()].take()
    }

    /// An empty buffer for answers.
    pub fn lend_buffer(&mut self) -> Vec<u8> {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_least = self.spare_least.min(self.spare.len());
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back for the next burst, unless there are enough or it is large.
    pub fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if (1..=limits::ANSWER_BUFFER_KEPT_BYTES_MAX).contains(&bytes)
            && self.spare_bytes + bytes <= limits::ANSWER_BUFFERS_KEPT_BYTES_MAX
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

    /// Bytes of memory: the table, the connections' own state, and the buffers that none of them holds.
    pub const fn memory_bytes(&self) -> usize {
        self.by_slot.capacity() * size_of::<Option<Box<Client>>>() + self.open * size_of::<Client>() + self.spare_bytes
    }

    /// All of them, to be gone through while they change.
    pub fn tokens(&self) -> Vec<Token> {
        self.by_slot.iter().flatten().map(|client| client.token).collect()
    }
}

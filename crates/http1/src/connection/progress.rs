//! Result of a call of a connection: what it has done and decided, and what its owner does next.

#[cfg(doc)]
use super::Connection;

/// Next action of the owner of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Wait for input: nothing is to be sent.
    AwaitInput,
    /// Call [`Connection::receive`] without bytes, when other connections have had their turn.
    Resume,
    /// Send `out`, and then as this says.
    Send(Disposition),
    /// Get the response to the last request, which the service has deferred, and call
    /// [`Connection::respond_deferred`]. Responses to the requests before it may be in `out`.
    RespondDeferred,
    /// Send `out`, with which the response has begun, then what [`Connection::piece`] makes of each piece, and at last
    /// of the last.
    Stream,
    /// Close the connection: nothing is to be sent.
    Close,
}

/// Disposition of the connection once the responses appended so far have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Go on: [`Connection::receive`].
    KeepOpen,
    /// Close it.
    Close,
    /// End the write side, and give what still arrives to [`Connection::drain`]: closing with bytes unread would reset
    /// the connection, and the peer might lose the response.
    Linger,
}

/// Which clock runs while the connection waits for its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// Between requests.
    Idle,
    /// In a head; counts from its first byte.
    Head,
    /// In a body; counts from the end of the head.
    Body,
}

/// Result of one call: everything that was decided in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Progress<R> {
    /// Responses appended to `out`. (`100 Continue` may have been appended as well: whatever is in `out` is to be
    /// sent.)
    pub responses: usize,
    /// Decisions of the service about the requests, such as what their responses wait for.
    pub result: R,
    /// Next action of the owner.
    pub next: Next,
    /// The burst ended at the bound of a turn, or at a deferred request, and input is left that was not looked at.
    pub more: bool,
    /// Work done, in bytes of content: those of bodies, as they came and decompressed, and some for each request.
    pub work_bytes: usize,
    /// The inbox is over its bound: pause receiving until a `Progress` says otherwise.
    pub pause: bool,
    /// The clock to start afresh; `None`: leave the one that runs. While a request is deferred, and once the connection
    /// has ended, no clock of this crate runs.
    pub deadline: Option<Deadline>,
}

impl Progress<()> {
    /// The same, with what the service has decided.
    pub fn with<R>(self, result: R) -> Progress<R> {
        let Self { responses, result: (), next, more, work_bytes, pause, deadline } = self;
        Progress { responses, result, next, more, work_bytes, pause, deadline }
    }
}

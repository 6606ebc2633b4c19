//! What other threads tell a reactor, through its mailbox. Rare, and never on the way of a batch.

use crate::{http::Status, stats::Report};
use crossbeam_channel::Sender;
use reactor::Token;

/// One message to one reactor.
#[derive(Debug)]
pub enum Mail {
    /// Stop accepting, answer what is in flight, then end.
    Drain,
    /// The time to drain is over: end now.
    GiveUp,
    /// Hand out a copy of your counts.
    Report(Sender<Report>),
    /// The answer to a request that was passed on to another thread.
    Answer(LateAnswer),
}

/// An answer that was made off the reactor.
#[derive(Debug)]
pub struct LateAnswer {
    /// Whose request it answers.
    pub token: Token,
    /// Its status.
    pub status: Status,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

//! What other threads tell a reactor, through its mailbox. Rare, and never on the way of a batch.

use crate::stats::ReportRequest;
use reactor::Token;

/// One message to one reactor.
#[derive(Debug)]
pub enum Mail {
    /// Stop accepting, answer what is in flight, then end.
    Drain,
    /// The time to drain is over: end now.
    GiveUp,
    /// Hand out your counts, and what you measured.
    Report(ReportRequest),
    /// The answer to a request that was passed on to another thread.
    Answer(LateAnswer),
}

/// A document that was made off the reactor: the 200 to a request that was passed on.
#[derive(Debug)]
pub struct LateAnswer {
    /// Whose request it answers.
    pub token: Token,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

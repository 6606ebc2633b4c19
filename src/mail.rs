//! What other threads tell a reactor, through its mailbox. Rare, and never on the way of a batch.

use crate::{pipe::Notice, stats::ReportRequest};
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
    /// Parts of an answer have come whose length nobody knew when it was begun.
    Parts(Notice),
}

/// A document of statistics that was made off the reactor: the 200 to a request that was passed on.
#[derive(Debug)]
pub struct LateAnswer {
    /// Whose request it answers.
    pub token: Token,
    /// Media type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

//! What other threads tell a reactor, through its mailbox. Rare, and never on the way of a batch.

use crate::{
    pipe::Notice,
    rate::ClientKey,
    stats::{Document, ReportRequest, clients},
};
use std::{borrow::Cow, sync::Arc};

/// One message to one reactor.
#[derive(Debug)]
pub enum Mail {
    /// Stop accepting, answer what is in flight, then end.
    Drain,
    /// The time to drain is over: end now.
    GiveUp,
    /// Hand out your counts, and what you measured.
    Report(ReportRequest),
    /// A document of statistics that this reactor has asked for.
    Document(RenderedDocument),
    /// Parts of an answer have come whose length nobody knew when it was begun.
    Parts(Notice),
}

/// A document of statistics, made off the reactors, for all who wait for it.
#[derive(Debug, Clone)]
pub struct RenderedDocument {
    /// Which one.
    pub document: Document,
    /// Its text.
    pub body: Arc<Vec<u8>>,
}

impl RenderedDocument {
    /// The body of the response to a client, which is named in it if the document names clients.
    #[must_use]
    pub fn body_for(&self, asked_by: Option<ClientKey>) -> Cow<'_, [u8]> {
        match asked_by {
            Some(client) => Cow::Owned(clients::with_asker(&self.body, client)),
            None => Cow::Borrowed(&self.body),
        }
    }
}

//! The messages that other threads send to a reactor, through its mailbox. Rare, and never on the path of a batch.

use crate::{
    query_pool::response_channel::{ReadyListener, ReadyNotice},
    stats::{Reactor, RenderedDocument, ReportRequest},
};
use wake::mailbox::Sender;

/// A message to one reactor.
#[derive(Debug)]
pub enum ShardMessage {
    /// Stop accepting, serve what is in flight, then end.
    Drain,
    /// The drain timeout has passed: end now.
    Abort,
    /// Hand out the counters and the histograms.
    Report(ReportRequest),
    /// A document of statistics that this reactor requested.
    Document(RenderedDocument),
    /// More of a response is ready whose length was not known when it began.
    ResponseReady(ReadyNotice),
}

impl Reactor for Sender<ShardMessage> {
    fn request_report(&self, request: ReportRequest) -> Result<(), Option<ReportRequest>> {
        self.post(ShardMessage::Report(request)).map_err(|back| match back {
            ShardMessage::Report(request) => Some(request),
            _ => None,
        })
    }

    fn deliver(&self, document: RenderedDocument) {
        // Its mailbox has space for it. A reactor that has exited has no connections that wait.
        let _ = self.post(ShardMessage::Document(document));
    }
}

impl ReadyListener for Sender<ShardMessage> {
    fn notify(&self, notice: ReadyNotice) {
        // The mailbox has space for it. A reactor that has exited has no connections either.
        let _ = self.post(ShardMessage::ResponseReady(notice));
    }
}

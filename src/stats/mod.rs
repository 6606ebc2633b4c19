//! Statistics. A core owns plain [`Counters`] and [`Histograms`] that nothing else touches, and hands them out as a
//! [`Report`] on request: the counters as a copy, the histograms by a swap. The observer's thread requests, merges, and
//! makes the documents; no lock is taken and no core waits.
//!
//! The map: `counters` and `histograms` (what a core owns), `observer` (the thread), `collector` (requests and merges),
//! `registry` (the table: each statistic's place, family and source), `document` (`/stats`), `families` and
//! `exposition` (`/metrics`), `clients` (`/stats/clients`), `format` (which form is requested), `line` (the line in the
//! log), `points` (what the live page is sent), `refusals` (the last of them), `process` and `threads` (what the kernel
//! says).

pub(crate) mod clients;
mod collector;
mod counters;
mod document;
mod export;
mod exposition;
mod families;
mod format;
mod forwards;
mod histograms;
mod line;
mod observer;
mod points;
pub mod process;
mod queries;
mod refusals;
mod registry;
mod streams;
mod threads;

pub(crate) use counters::labelled;
pub use counters::{Closed, Counters, Protocol, Rejection, Shed, Untraced};
pub use export::{ExportStatus, Figures};
pub use exposition::{Family, Kind, Number, Sample, Value};
pub use format::Format;
pub use forwards::{ForwardStatus, RefusedBy};
pub use histograms::{Distribution, Histograms, Stage, Stamps};
pub use observer::{Document, DocumentRequest, Facts, FiguresOut, Observer, ObserverSetup, unready};
pub use points::{PointSpan, Update};
pub use queries::{Outcome, QueryStatus};
pub use refusals::{Refusal, RefusalRing, RefusedBatch};
pub use streams::{StreamEnd, StreamStatus};

use crossbeam_channel::Sender;
use rate::ClientKey;
use reactor::Counters as DriverCounters;
use std::{borrow::Cow, fmt, sync::Arc};

/// A request for a report.
#[derive(Debug)]
pub struct ReportRequest {
    /// The channel for the report.
    pub reply: Sender<Report>,
    /// Empty histograms to go on with, in exchange for those that are handed out.
    pub empty: Box<Histograms>,
    /// Give back memory that nothing needs.
    pub trim: bool,
}

/// One reactor, as the observer addresses it.
pub trait Reactor: fmt::Debug + Send + Sync {
    /// Requests a report, which goes where the request says. Never blocks.
    ///
    /// # Errors
    /// The reactor's mailbox is full, or it has exited; with the request, if it is still whole.
    fn request_report(&self, request: ReportRequest) -> Result<(), Option<ReportRequest>>;

    /// Hands over a document that the reactor requested. Never blocks.
    fn deliver(&self, document: RenderedDocument);
}

/// A document of statistics, made off the reactors, for all who wait for it.
#[derive(Debug, Clone)]
pub struct RenderedDocument {
    /// The document.
    pub document: Document,
    /// The rendered text.
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

/// The report of one reactor.
#[derive(Debug)]
pub struct Report {
    /// Index of the reactor.
    pub reactor: usize,
    /// Counters since startup.
    pub counters: Counters,
    /// Histograms since the last report.
    pub histograms: Box<Histograms>,
    /// Refusals since the last report.
    pub refusals: Vec<Refusal>,
    /// Counters of the driver.
    pub driver: DriverCounters,
    /// Open connections.
    pub connections_active: u64,
    /// Bytes in the ring that wait for the writer.
    pub queued_bytes: u64,
    /// Maximum of the bytes that have waited.
    pub queued_bytes_max: u64,
    /// Capacity of the ring, in bytes.
    pub ring_bytes: u64,
    /// Bursts whose responses wait for the log.
    pub bursts_held: u64,
    /// Memory of the reactor.
    pub memory: Memory,
    /// Memory held for peers, in bytes.
    pub held_bytes: u64,
    /// Limit of the memory held for peers, in bytes.
    pub held_bytes_limit: u64,
}

/// Memory of one core, in bytes, by owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// The ring to the writer: address space whose pages are allocated on first use.
    pub ring: u64,
    /// The driver's receive buffers.
    pub receive_buffers: u64,
    /// State of connections and of their addresses, and empty buffers for responses.
    pub connections: u64,
    /// Heads and bodies being received, empty buffers for them, and the decompressors.
    pub bodies: u64,
    /// Responses that wait for the log, or are being sent.
    pub responses: u64,
    /// Data received by the driver for paused connections.
    pub kept: u64,
    /// Scratch memory that the decoders of protocols keep between bodies.
    pub decoders: u64,
}

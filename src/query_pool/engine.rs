//! One query on a thread of the pool: from its parameters to the body of the response, and from what is wrong with it
//! to a status.

use super::{
    delivery::{Prepared, Render},
    log_stream::LogStream,
    negotiation,
    pool::{Engine, Failure, Share, unavailable},
    routes::{self, RawQuery},
};
use crate::stats::{Outcome, QueryStatus};
use http1::HttpError;
use log::Published;
use query::{
    Bounds, ExecLimits, QueryResult, Refusal, Rendering, Request, limits::QUERY_COLUMNS_MAX, run, scan::Source,
};
use std::sync::{Arc, atomic::Ordering};
use wake::clock::Clock;

/// Engine that evaluates queries over the log.
#[derive(Debug)]
pub struct LogEngine {
    /// The log.
    pub source: Source,
    /// The log by position.
    pub lines: LogStream,
    /// The limits of one query.
    pub bounds: Bounds,
    /// The clock that also stamps metrics when they arrive.
    pub clock: Clock,
    /// The counters of the data read.
    pub status: Arc<QueryStatus>,
}

impl Engine for LogEngine {
    fn evaluate(&self, query: &RawQuery, share: &Share<'_>) -> Result<Prepared, Failure> {
        if &*query.path == routes::LOG_PATH {
            return self.lines.read(query, share);
        }
        let kind = routes::kind_of(&query.path)?;
        let request = Request::parse(kind, &query.parameters, self.clock.wall_ms())?;
        let limits = ExecLimits {
            threads: share.threads,
            deadline: share.deadline,
            cancel: share.cancelled,
            scanned_bytes: &self.status.scanned_bytes,
        };
        let result = run(&request, &self.source, self.bounds, &limits)?;
        self.status.read_bytes.fetch_add(result.stats.scanned.read_bytes, Ordering::Relaxed);
        self.status.foreign_lines.fetch_add(result.stats.scanned.foreign_lines, Ordering::Relaxed);
        let format = negotiation::format_of(query.accept.as_deref());
        let body = Rendering::new(result, format, QUERY_COLUMNS_MAX, &|| limits.check())?;
        Ok(Prepared { content_type: format.content_type(), fields: Box::default(), body: Box::new(body) })
    }

    fn has_more(&self, than: Published) -> bool {
        self.lines.log.published() != than
    }
}

impl Render for Rendering<QueryResult> {
    fn append_next(&mut self, out: &mut Vec<u8>) -> bool {
        self.append_next(out)
    }

    fn held_bytes(&self) -> usize {
        self.result().held_bytes()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (outcome, error) = match refusal {
            Refusal::Cancelled => return Self::Cancelled,
            Refusal::BadRequest(_) => (Outcome::Invalid, HttpError::BadRequest("")),
            Refusal::OverBound(_) => (Outcome::OverBound, HttpError::OverBound),
            Refusal::Deadline => (Outcome::TimedOut, unavailable()),
            Refusal::Unreadable(_) => (Outcome::Unavailable, unavailable()),
        };
        Self::Refused { outcome, error, text: refusal.to_string(), fields: Box::default() }
    }
}

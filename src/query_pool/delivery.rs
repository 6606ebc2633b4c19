//! A response on its way to its connection: rendered piece by piece, as far as its client has taken what came before. A
//! thread makes pieces while there is space for them, and leaves the rest to whichever is free when there is space
//! again: no client holds one.

use super::{routes::RawQuery, shares::Taken};
use crate::{
    limits,
    query_pool::response_channel::{ResponseEvent, SendError, Writer},
    stats::{Outcome, QueryStatus},
};
use http1::Piece;
use std::{
    fmt,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// The body of a response, made bit by bit.
pub trait Render: Send {
    /// Appends the next bit. `false`: there was none left.
    fn append_next(&mut self, out: &mut Vec<u8>) -> bool;
    /// Bytes of memory that are held for what is left.
    fn held_bytes(&self) -> usize;
}

/// A response that is known: a 200.
pub struct Prepared {
    /// Media type of the body.
    pub content_type: &'static str,
    /// More field lines, each from the CR LF before it on.
    pub fields: Box<[u8]>,
    /// The body.
    pub body: Box<dyn Render>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// The state of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to do, and space for it.
    More,
    /// The client has not read what was produced.
    Full,
    /// The response has ended.
    Ended(Outcome),
}

/// One response. What fits into one piece is sent with its length; what does not, chunk by chunk.
pub(super) struct Delivery {
    pub response: Writer,
    pub arrived: Instant,
    body: Box<dyn Render>,
    /// Rendered, and not yet in a piece from `taken` on.
    rendered: Vec<u8>,
    taken: usize,
    /// The part that found no space, or precedes the first chunk.
    next: [Option<ResponseEvent>; 2],
    stage: Stage,
    begun: Instant,
    handed_over_bytes: u64,
    write_timeout: Duration,
    /// Share of the memory for responses of more than one chunk.
    kept: Option<Taken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Pieces follow.
    Body,
    /// True if the part in `next` is the last.
    End,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("stage", &self.stage)
            .field("bytes", &self.handed_over_bytes)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Makes what comes first.
    pub fn new(
        prepared: Prepared,
        query: &RawQuery,
        response: Writer,
        arrived: Instant,
        write_timeout: Duration,
    ) -> Self {
        let Prepared { content_type, fields, body } = prepared;
        let mut delivery = Self {
            response,
            arrived,
            body,
            rendered: Vec::new(),
            taken: 0,
            next: [None, None],
            stage: Stage::End,
            begun: Instant::now(),
            handed_over_bytes: 0,
            write_timeout,
            kept: None,
        };
        if query.head_only {
            delivery.next[0] = Some(ResponseEvent::Head { content_type, fields });
            return delivery;
        }
        match delivery.make_piece() {
            (body, true) => delivery.next[0] = Some(ResponseEvent::Whole { content_type, fields, body }),
            (piece, false) => {
                delivery.stage = Stage::Body;
                let head = ResponseEvent::Head { content_type, fields };
                delivery.next = [Some(head), Some(ResponseEvent::Piece(piece))];
            }
        }
        delivery
    }

    /// Bytes that it holds until its client has taken it, if it is more than one piece.
    pub fn to_keep(&self) -> Option<usize> {
        (self.stage == Stage::Body).then(|| self.body.held_bytes())
    }

    /// Keeps the shares of the response until the delivery ends.
    pub fn keep(&mut self, kept: Taken) {
        self.kept = Some(kept);
    }

    /// Hands over as many pieces as may wait, and no more in one turn.
    pub fn resume(&mut self, status: &QueryStatus) -> Progress {
        if self.response.cancelled().load(Relaxed) {
            return Progress::Ended(Outcome::Cancelled);
        }
        let earned = Duration::from_secs(self.handed_over_bytes / limits::RESPONSE_BYTES_PER_S_MIN);
        if Instant::now() > self.begun + self.write_timeout + earned {
            return Progress::Ended(Outcome::CutOff);
        }
        for _ in 0..=limits::PIECES_WAITING_MAX {
            let part = match self.next[0].take() {
                Some(part) => {
                    self.next.swap(0, 1);
                    part
                }
                None if self.stage == Stage::End => return Progress::Ended(Outcome::Completed),
                None => match self.make_piece() {
                    (piece, true) => {
                        self.stage = Stage::End;
                        ResponseEvent::Last(piece)
                    }
                    (piece, false) => ResponseEvent::Piece(piece),
                },
            };
            let bytes = match &part {
                ResponseEvent::Whole { body: piece, .. } | ResponseEvent::Piece(piece) | ResponseEvent::Last(piece) => {
                    Some(piece.content().len())
                }
                ResponseEvent::Head { .. } | ResponseEvent::Refused { .. } => None,
            };
            match self.response.send(part) {
                Ok(()) => {}
                Err(SendError::Full(part)) => {
                    self.next.swap(0, 1);
                    self.next[0] = Some(part);
                    return Progress::Full;
                }
                Err(SendError::Left) => return Progress::Ended(Outcome::Cancelled),
            }
            if let Some(bytes) = bytes {
                self.handed_over_bytes += bytes as u64;
                status.pieces.fetch_add(1, Relaxed);
                status.body_bytes.fetch_add(bytes as u64, Relaxed);
            }
        }
        if self.stage == Stage::End && self.next[0].is_none() {
            return Progress::Ended(Outcome::Completed);
        }
        Progress::More
    }

    /// The next piece, and whether it is the last. A full one is that only if nothing follows, and is not followed by
    /// an empty one.
    fn make_piece(&mut self) -> (Piece, bool) {
        /// Rendered at a time.
        const BYTES: usize = 16 * limits::KIB;
        let mut piece = Piece::new();
        loop {
            let left = piece.fill(&self.rendered[self.taken..]).len();
            self.taken = self.rendered.len() - left;
            if left > 0 {
                return (piece, false);
            }
            self.rendered.clear();
            self.taken = 0;
            while self.rendered.len() < BYTES && self.body.append_next(&mut self.rendered) {}
            if self.rendered.is_empty() {
                return (piece, true);
            }
        }
    }
}

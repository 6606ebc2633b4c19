//! The body of an answer in the making: gathers what is written into pieces and hands them over, one behind the other.

use super::{QueryStatus, pool::Loan, routes::Asked};
use crate::{
    http::Piece,
    limits,
    pipe::{Gone, Part, Writer},
};
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// The body of one answer. What fits into one piece is sent with its length; what does not, chunk by chunk.
#[derive(Debug)]
pub struct Body<'a> {
    writer: &'a Writer,
    status: &'a QueryStatus,
    head_only: bool,
    write_timeout: Duration,
    content_type: Option<&'static str>,
    /// The threads of the scan, until it is over.
    loan: Option<Loan>,
    piece: Piece,
    /// When the head was handed over.
    begun: Option<Instant>,
    handed_over_bytes: u64,
}

impl<'a> Body<'a> {
    pub(super) fn new(
        writer: &'a Writer,
        status: &'a QueryStatus,
        asked: &Asked,
        write_timeout: Duration,
        loan: Loan,
    ) -> Self {
        Self {
            writer,
            status,
            head_only: asked.head_only,
            write_timeout,
            content_type: None,
            loan: Some(loan),
            piece: Piece::new(),
            begun: None,
            handed_over_bytes: 0,
        }
    }

    /// Says that the answer is a 200, and of what type. From now on it cannot be refused any more, only cut off. False: nothing is to be
    /// written, as the request was HEAD.
    pub fn begin(&mut self, content_type: &'static str) -> bool {
        self.content_type = Some(content_type);
        self.loan = None;
        !self.head_only
    }

    /// Takes in some of the body. Waits for the client to read when it is far behind.
    ///
    /// # Errors
    /// The client has left, or reads too slowly: there is no use in writing more.
    ///
    /// # Panics
    /// Before [`begin`](Self::begin), or after it said not to write: our own bug.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        assert!(self.content_type.is_some() && !self.head_only, "a body without a type, or where none is wanted");
        loop {
            bytes = self.piece.fill(bytes);
            if bytes.is_empty() {
                // A full piece is kept until more comes: it may be the last, and then the answer's end goes with it.
                return Ok(());
            }
            let piece = std::mem::take(&mut self.piece);
            self.begin_stream()?;
            self.hand_over(piece, Part::Piece)?;
        }
    }

    /// Whether the head was handed over.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// It goes nowhere.
    pub(super) fn finish(mut self) -> Result<(), Gone> {
        let content_type = self.content_type.expect("an answer that ends has a type");
        if self.head_only {
            return self.begin_stream();
        }
        let piece = std::mem::take(&mut self.piece);
        match self.begun {
            None => self.hand_over(piece, |body| Part::Whole { content_type, body }),
            Some(_) => self.hand_over(piece, Part::Last),
        }
    }

    /// Hands over the head, unless that was done.
    fn begin_stream(&mut self) -> Result<(), Gone> {
        if let (None, Some(content_type)) = (self.begun, self.content_type) {
            let now = Instant::now();
            self.writer.send(Part::Head { content_type }, now + self.write_timeout)?;
            self.begun = Some(now);
        }
        Ok(())
    }

    fn hand_over(&mut self, piece: Piece, part: impl FnOnce(Piece) -> Part) -> Result<(), Gone> {
        let bytes = piece.content().len() as u64;
        let begun = self.begun.unwrap_or_else(Instant::now);
        let earned = Duration::from_secs(self.handed_over_bytes / limits::ANSWER_BYTES_PER_S_MIN);
        self.writer.send(part(piece), begun + self.write_timeout + earned)?;
        self.handed_over_bytes += bytes;
        self.status.pieces.fetch_add(1, Relaxed);
        self.status.body_bytes.fetch_add(bytes, Relaxed);
        Ok(())
    }
}

//! The knowledge of every client: the batches that were handed to the log, and what each was promised.

use crate::forwarding::LineId;
use log::{AckLevel, segment::Hold};
use machine::Random;
use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

/// A batch.
#[derive(Debug)]
pub struct Batch {
    /// The life of the server, and the reactor that took it or the connection that it was sent on.
    pub producer: (usize, usize),
    pub level: AckLevel,
    pub text: Vec<u8>,
    /// It was acknowledged, at its level.
    pub is_acknowledged: bool,
    /// It was there, whole, when the log was opened for this life.
    pub is_present: bool,
    /// It was refused, or was not sent whole: it must not be there.
    pub is_refused: bool,
    /// It is on stable storage, whatever level it was acknowledged at.
    pub is_durable: bool,
    /// Retention has deleted it.
    pub is_retired: bool,
    /// Only a part of it may be there: power was lost before it was synced.
    pub may_be_partial: bool,
    /// It may be lost.
    pub may_be_lost: bool,
}

/// All batches, by their numbers.
#[derive(Debug, Default)]
pub struct Book {
    pub batches: Vec<Batch>,
    /// Requests of this life that the limiter may have charged.
    pub charges: Vec<crate::limiter::Charge>,
    /// The batches are sent by clients of the service, so that what has no response may never have been received.
    pub is_sent_by_clients: bool,
    /// Connections of this life.
    pub connections: usize,
    /// The last life that opened the log.
    pub opened_by: Option<usize>,
    /// Power was lost at some time, so that the log may have bytes that no client sent.
    pub lost_power: bool,
    /// The wall clock was set, or a sync failed: see `oracle`.
    pub clock_was_set: bool,
    pub sync_failed: bool,
    /// Lines that the receiver of a forward was sent, and those of them that it acknowledged.
    pub sent_lines: BTreeSet<LineId>,
    pub acknowledged_lines: BTreeSet<LineId>,
    /// The holds of the forward of this life, and whether retention did not wait for one of an earlier life.
    pub holds: Vec<Arc<Hold>>,
    pub was_forfeited: bool,
}

/// The number of the batch that a line begins, if it is the first line of one.
pub fn number_of(line: &[u8]) -> Option<usize> {
    const BEFORE: &[u8] = b"\"tags\":{\"b\":\"";
    let at = line.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let digits = line[at..].split(|&byte| byte == b'.').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl Batch {
    /// A batch of which nothing is known but that it was handed over.
    pub const fn new(producer: (usize, usize), level: AckLevel, text: Vec<u8>) -> Self {
        Self {
            producer,
            level,
            text,
            is_acknowledged: false,
            is_present: false,
            is_refused: false,
            is_durable: false,
            is_retired: false,
            may_be_partial: false,
            may_be_lost: false,
        }
    }

    /// The lines of the batch.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.text).unwrap_or_default().lines()
    }
}

impl Book {
    /// True if retention has deleted what the forward had not read, as it does on a full disk.
    pub fn has_lost_for_forward(&self) -> bool {
        self.was_forfeited || self.holds.iter().any(|hold| hold.lost_bytes() > 0)
    }

    /// The text of the next batch.
    pub fn write(&self, random: &mut Random, lines_max: u64, pad_max: u64) -> Vec<u8> {
        let number = self.batches.len();
        let lines = random.between(1, lines_max);
        let mut text = String::new();
        for line in 0..lines {
            let pad = "x".repeat(random.below(pad_max + 1) as usize);
            let name = random.below(4);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{{\"timestamp\":\"2026-01-02T03:04:05.678Z\",\"name\":\"m{name}\",\"value\":1,\"type\":\"gauge\",\
                 \"tags\":{{\"b\":\"{number}.{line}.{pad}\"}}}}"
            );
        }
        text.into_bytes()
    }
}

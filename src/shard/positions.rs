//! Positions in the log, written into responses that are held: a place in the log is known once the bytes are in the
//! file.
//!
//! Owns the places in held responses that wait for a position, in the order of the ring, which is that of the log.

use super::connection::ConnectionTable;
use log::{Appender, LogPosition, SegmentId};
use reactor::Token;
use std::{collections::VecDeque, io::Write};

/// A place in a response that waits for the position of its batch.
#[derive(Debug)]
struct PendingPosition {
    /// The end of the batch in the ring.
    position: u64,
    token: Token,
    /// Begin of the value in the connection's output.
    at: usize,
}

/// The places of one core.
#[derive(Debug, Default)]
pub(super) struct Positions {
    waiting: VecDeque<PendingPosition>,
    text: PositionText,
}

/// The text of positions. Most are of the segment before.
#[derive(Debug, Default)]
struct PositionText {
    segment: Option<SegmentId>,
    /// The segment and the colon.
    prefix: Vec<u8>,
    text: Vec<u8>,
}

impl Positions {
    /// Adds the places in responses of one connection.
    pub(super) fn push(&mut self, token: Token, places: impl Iterator<Item = (u64, usize)>) {
        self.waiting.extend(places.map(|(position, at)| PendingPosition { position, token, at }));
    }

    /// Writes the positions of the batches that are in the file: those up to `written`.
    pub(super) fn write(&mut self, written: u64, log: &mut Appender, connections: &mut ConnectionTable) {
        while let Some(place) = self.waiting.pop_front_if(|place| place.position <= written) {
            let Some(connection) = connections.get(place.token) else { continue };
            // Unknown: the value stays empty.
            let Some(position) = log.locate(place.position) else { continue };
            let text = self.text.of(position);
            let end = place.at + 1 + LogPosition::TEXT_BYTES_MAX;
            if let Some(value) = connection.out.get_mut(end - text.len()..end) {
                value.copy_from_slice(text);
            }
        }
        log.pass(written);
    }
}

impl PositionText {
    fn of(&mut self, position: LogPosition) -> &[u8] {
        let LogPosition { segment, byte } = position;
        if self.segment != Some(segment) {
            self.segment = Some(segment);
            self.prefix.clear();
            // Writing to a Vec cannot fail.
            let _ = write!(self.prefix, "{segment}:");
        }
        self.text.clear();
        self.text.extend_from_slice(&self.prefix);
        let _ = write!(self.text, "{byte}");
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_positions() {
        let segments = ["first", "after-20260102T030405.678Z", "after-99991231T235959.999Z_000001"];
        let mut text = PositionText::default();
        for (segment, byte) in [0, 1, 0, 2, 1].into_iter().zip([0, 7, 1_000, u64::MAX, u64::MAX]) {
            let position = format!("{}:{byte}", segments[segment]);
            assert_eq!(text.of(position.parse().unwrap()), position.as_bytes());
        }
    }
}

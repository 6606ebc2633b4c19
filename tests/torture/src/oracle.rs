//! The oracle: holds the log against the record of the sent batches.
//!
//! - A batch acknowledged at the level write or fsync is in the log once and whole, whatever ended the process.
//! - One acknowledged at the level memory is so too, unless its process ended uncleanly and nothing later of its
//!   connection is there: what is lost then is an end, never a hole.
//! - A loss of power may take what was not acknowledged at the level fsync, and leave the beginning of such a batch.
//! - A refused batch is not in the log. One without a response is there whole or not at all.
//! - The batches of a connection are in the order of their sending, and a batch is in one segment.
//! - Every line is to the byte what was sent, and the log ends with a line's end.
//!
//! It reads a log that is at rest, and each time only what is new, so that it can look after each of many kills.

use crate::{
    Level,
    batch::{Mark, MarkedLine},
    delivery::Delivery,
    figures::Figures,
    log::{self, Position},
    process::Signal,
    sent_batches::{Connection, End, Fate, Sent, SentBatches},
    server::Server,
};
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

/// Batches seen of one connection.
#[derive(Debug, Default, Clone)]
struct Seen {
    /// Number of times that each batch is there.
    times: Vec<u8>,
    /// The latest batch that is there.
    last: Option<u32>,
}

/// Looks at one log, from its beginning on.
#[derive(Debug, Default)]
pub struct Oracle {
    position: Position,
    archive: Option<PathBuf>,
    seen: Vec<Seen>,
    /// Connections whose batches have all been judged.
    settled: usize,
    /// The forward of the server, if it has one.
    pub delivery: Option<Delivery>,
    /// Counts so far.
    pub figures: Figures,
}

impl Oracle {
    /// One that finds in `archive` what the server has deleted; see [`log::keep`].
    #[must_use]
    pub fn with_archive(archive: &Path) -> Self {
        Self { archive: Some(archive.to_owned()), ..Self::default() }
    }

    /// The same, for a server that forwards to `delivery`.
    #[must_use]
    pub fn with_delivery(self, delivery: Delivery) -> Self {
        Self { delivery: Some(delivery), ..self }
    }

    /// Reads what has come since the last look, and judges every connection whose process has ended.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn look(&mut self, directory: &Path, sent_batches: &SentBatches) -> io::Result<()> {
        self.seen.resize(sent_batches.connections().len(), Seen::default());
        let archive = self.archive.clone();
        let place = log::LogLocation { directory, archive: archive.as_deref() };
        let mut position = std::mem::take(&mut self.position);
        let read = log::read_on(place, &mut position, |segment, bytes| self.read_part(segment, bytes, sent_batches));
        self.position = position;
        read?;
        for number in self.settled..sent_batches.connections().len() {
            self.settle(number, &sent_batches.connections()[number]);
        }
        self.settled = sent_batches.connections().len();
        match &mut self.delivery {
            Some(delivery) => delivery.look(directory, &mut self.figures),
            None => Ok(()),
        }
    }

    /// Adds the forward of a server that was stopped to `command`, which starts it again, waits until the receiver has
    /// everything that is in the log, and stops it.
    ///
    /// # Errors
    /// The server cannot be started, or the log not be read.
    pub fn drain_forward(
        &mut self,
        mut command: Command,
        directory: &Path,
        sent_batches: &SentBatches,
    ) -> io::Result<()> {
        self.configure(&mut command);
        let server = Server::start(command, directory)?;
        self.look(directory, sent_batches)?;
        if let Some(delivery) = &mut self.delivery {
            delivery.wait_until_drained(directory, &mut self.figures)?;
        }
        server.signal(Signal::Terminate);
        let ended = server.end();
        self.figures.promise(ended.status.success(), || format!("a stop ended with {}", ended.status));
        self.look(directory, sent_batches)
    }

    /// Lets a server forward what it stores, if that is looked at.
    pub fn configure(&self, command: &mut Command) {
        if let Some(delivery) = &self.delivery {
            command.arg("--config").arg(delivery.configuration());
        }
    }

    fn read_part(&mut self, segment: &str, bytes: &[u8], sent_batches: &SentBatches) {
        if let Some(delivery) = &mut self.delivery {
            delivery.note_segment(segment);
        }
        // The last line that was read, of a batch that goes on.
        let mut open: Option<MarkedLine> = None;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let place = line.strip_suffix(b"\n").and_then(MarkedLine::of_line);
            let Some(place) = place else {
                self.figures.torn += 1;
                self.figures.tell(|| format!("{segment}: not a line that was sent: {}", shown(line)));
                self.cut_short(segment, open.take(), sent_batches);
                continue;
            };
            self.figures.lines += 1;
            if let Some(delivery) = &mut self.delivery {
                delivery.note_line(place, line.len());
            }
            match open {
                Some(before) if is_next(before, place) => {}
                before => {
                    self.cut_short(segment, before, sent_batches);
                    if place.index == 0 {
                        self.begin(segment, place, sent_batches);
                    } else {
                        self.figures.partial += 1;
                        self.figures.tell(|| format!("{segment}: begins in its middle: {place:?}"));
                    }
                }
            }
            open = (place.index + 1 < place.of).then_some(place);
        }
        self.cut_short(segment, open, sent_batches);
    }

    /// The lines of `open`, if there is any, did not go on to its end.
    fn cut_short(&mut self, segment: &str, open: Option<MarkedLine>, sent_batches: &SentBatches) {
        if let Some(place) = open {
            let is_durable =
                sent_batches.batch(place.mark).map(|sent| sent.fate) == Some(Fate::Acknowledged(Level::Fsync));
            if sent_batches.end_of(place.mark) == Some(End::PowerCut) && !is_durable {
                self.figures.cut_by_power += 1;
                return;
            }
            self.figures.partial += 1;
            self.figures.tell(|| format!("{segment}: ends in its middle: {place:?}"));
        }
    }

    /// The first line of a batch.
    fn begin(&mut self, segment: &str, place: MarkedLine, sent_batches: &SentBatches) {
        let Mark { connection, number } = place.mark;
        let Some(Sent { metrics, broken, fate }) = sent_batches.batch(place.mark) else {
            self.figures.broken_promises += 1;
            self.figures.tell(|| format!("{segment}: nobody has sent {place:?}"));
            return;
        };
        if metrics != place.of {
            self.figures.partial += 1;
            self.figures.tell(|| format!("{segment}: sent with {metrics} metrics: {place:?}"));
        }
        if broken || matches!(fate, Fate::Refused(_)) {
            self.figures.refused_stored += 1;
            self.figures.tell(|| format!("{segment}: broken: {broken}, {fate:?}: {place:?}"));
        }
        let seen = &mut self.seen[connection as usize];
        let number_at = number as usize;
        if seen.times.len() <= number_at {
            seen.times.resize(number_at + 1, 0);
        }
        seen.times[number_at] = seen.times[number_at].saturating_add(1);
        let (times, last) = (seen.times[number_at], seen.last);
        seen.last = last.max(Some(number));
        if times > 1 {
            self.figures.twice += 1;
            self.figures.tell(|| format!("{segment}: there {times} times: {place:?}"));
        } else if last > Some(number) {
            self.figures.disordered += 1;
            self.figures.tell(|| format!("{segment}: behind batch {last:?} of its connection: {place:?}"));
        }
    }

    /// Everything of this connection that will ever be in the log has been read.
    fn settle(&mut self, number: usize, connection: &Connection) {
        let seen = &self.seen[number];
        let figures = &mut self.figures;
        for (batch, sent) in connection.batches.iter().enumerate() {
            let level = match sent.fate {
                Fate::Unanswered => {
                    figures.unanswered += 1;
                    continue;
                }
                Fate::Refused(_) => {
                    figures.refused += 1;
                    continue;
                }
                Fate::Acknowledged(level) => level,
            };
            figures.acknowledged += 1;
            if seen.times.get(batch).is_some_and(|times| *times > 0) {
                continue;
            }
            let is_behind_all = seen.last.is_none_or(|last| last as usize <= batch);
            let is_allowed = match connection.end {
                Some(End::PowerCut) => level != Level::Fsync,
                Some(End::Unclean) => level == Level::Memory && is_behind_all,
                Some(End::Clean) | None => false,
            };
            if is_allowed {
                figures.lost_below_level += 1;
            } else {
                figures.lost += 1;
                figures.tell(|| {
                    format!("batch {batch} of connection {number} was acknowledged ({}) and is lost", level.name())
                });
            }
        }
    }
}

/// Returns true if `place` is the line after `before`, of the same batch.
fn is_next(before: MarkedLine, place: MarkedLine) -> bool {
    place == MarkedLine { index: before.index + 1, ..before }
}

/// The beginning of a line, for a person.
fn shown(line: &[u8]) -> String {
    const SHOWN_BYTES: usize = 160;
    format!("{:?} ({} bytes)", String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]), line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: Fate = Fate::Acknowledged(Level::Write);
    const IN_MEMORY: Fate = Fate::Acknowledged(Level::Memory);

    fn lines(connection: u32, number: u32, indices: impl IntoIterator<Item = u32>, of: u32) -> String {
        let mark = Mark { connection, number };
        indices.into_iter().map(|index| MarkedLine { mark, index, of }.line() + "\n").collect()
    }

    /// Batches of two metrics each with these fates on one connection, and the log.
    fn judged(fates: &[Fate], end: End, log: &str) -> Figures {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("metrics.jsonl"), log).unwrap();
        let mut sent_batches = SentBatches::default();
        sent_batches
            .enter(vec![(0, fates.iter().map(|&fate| Sent { metrics: 2, broken: false, fate }).collect())], end);
        let mut oracle = Oracle::default();
        oracle.look(directory.path(), &sent_batches).unwrap();
        oracle.figures
    }

    fn whole(numbers: &[u32]) -> String {
        numbers.iter().map(|&number| lines(0, number, 0..2, 2)).collect()
    }

    #[test]
    fn what_is_as_promised_is_sound() {
        let fates = [STORED, Fate::Refused(429), Fate::Unanswered, IN_MEMORY, Fate::Unanswered, IN_MEMORY];
        let figures = judged(&fates, End::Unclean, &whole(&[0, 3]));
        assert!(figures.is_sound(), "{figures}");
        assert_eq!((figures.acknowledged, figures.refused, figures.unanswered), (3, 1, 2));
        assert_eq!((figures.lost_below_level, figures.lines), (1, 4));
        assert!(judged(&fates, End::Clean, &whole(&[0, 2, 3, 4, 5])).is_sound());
    }

    #[test]
    fn each_wrong_is_counted_as_what_it_is() {
        let lost = |fates: &[Fate], end, log: &str| judged(fates, end, log).lost;
        assert_eq!(lost(&[STORED], End::Unclean, ""), 1);
        assert_eq!(lost(&[IN_MEMORY], End::Unclean, ""), 0);
        assert_eq!(lost(&[IN_MEMORY], End::Clean, ""), 1, "a clean end loses nothing");
        assert_eq!(lost(&[IN_MEMORY, STORED], End::Unclean, &whole(&[1])), 1, "a hole is no end");

        let two = [STORED; 2];
        let figures = |log: &str| judged(&two, End::Unclean, log);
        assert_eq!(figures(&whole(&[0, 1, 1])).twice, 1);
        assert_eq!(figures(&whole(&[1, 0])).disordered, 1);
        assert_eq!(figures(&(whole(&[0]) + &lines(0, 1, 0..1, 2))).partial, 1, "without its end");
        assert_eq!(figures(&(whole(&[0]) + &lines(0, 1, 1..2, 2))).partial, 1, "without its beginning");
        assert_eq!(figures(&(whole(&[0]) + &lines(0, 1, 0..3, 3))).partial, 1, "with a line too many");
        let all = whole(&[0, 1]);
        assert_eq!(figures(&all[..all.len() - 1]).torn, 1, "without the last line's end");
        assert_eq!(figures(&all.replacen("torture", "tortur", 1)).torn, 1);
        assert_eq!(figures(&(all.clone() + &lines(0, 2, 0..1, 1))).broken_promises, 1, "sent by nobody");
        assert!(figures(&all).is_sound());
        assert_eq!(judged(&[Fate::Refused(503)], End::Clean, &whole(&[0])).refused_stored, 1);
    }

    #[test]
    fn a_batch_over_two_segments_is_partial() {
        let directory = tempfile::tempdir().unwrap();
        let mut sent_batches = SentBatches::default();
        sent_batches.enter(vec![(0, vec![Sent { metrics: 2, broken: false, fate: STORED }])], End::Clean);
        std::fs::write(directory.path().join("metrics-20260102T030405.678Z.jsonl"), lines(0, 0, 0..1, 2)).unwrap();
        std::fs::write(directory.path().join("metrics.jsonl"), lines(0, 0, 1..2, 2)).unwrap();
        let mut oracle = Oracle::default();
        oracle.look(directory.path(), &sent_batches).unwrap();
        assert_eq!(oracle.figures.partial, 2);
    }
}

//! The oracle of a forward: holds what a receiver has acknowledged, and the cursor, against the log.
//!
//! - What was acknowledged is a prefix of the log, in its order, each line at least once: a line comes after all before
//!   it have come. After a start, lines may come again from an earlier one on.
//! - The cursor, which is read while nothing is appended, is never behind a line that was not acknowledged.
//! - A loss of power may take lines that were delivered; nothing else may.

use crate::{batch::MarkedLine, figures::Figures, log, receiver::Receiver};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time without a delivery after which the rest counts as undelivered: far beyond what a request takes on a busy
/// machine, on which a whole log may take as long.
const STANDSTILL_MAX: Duration = Duration::from_secs(120);

/// A segment of the log, and the place of its first byte in the whole log.
#[derive(Debug)]
struct Segment {
    /// `None`: the active one.
    name: Option<String>,
    begin: u64,
}

/// A forward of the server under test, its receiver, and what is known of the log.
#[derive(Debug)]
pub struct Delivery {
    receiver: Receiver,
    configuration: PathBuf,
    /// The number of each line in the log.
    numbers: HashMap<(u32, u32, u32), usize>,
    /// The end of each line, in bytes of the whole log.
    ends: Vec<u64>,
    segments: Vec<Segment>,
    /// Acknowledged lines that were looked at.
    looked_at: usize,
    /// Lines of the log that were acknowledged, from the first on.
    frontier: usize,
    /// There was a loss of power since the last look: lines that were delivered may be lost, and the cursor may be
    /// behind the log's end.
    was_power_cut: bool,
}

impl Delivery {
    /// Starts a receiver, and writes the configuration of its forward beside `directory`.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let receiver = Receiver::start()?;
        let configuration = directory.with_extension("toml");
        let text = format!(
            "[[forward]]\nname = \"torture\"\nurl = \"{}\"\nstart = \"beginning\"\nprotocol = \"1.0\"\n\
             batch_age = \"20ms\"\n",
            receiver.url()
        );
        fs::write(&configuration, text)?;
        Ok(Self {
            receiver,
            configuration,
            numbers: HashMap::new(),
            ends: Vec::new(),
            segments: Vec::new(),
            looked_at: 0,
            frontier: 0,
            was_power_cut: false,
        })
    }

    /// The file to start the server with.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Notes that the lines which follow are of `segment`.
    pub fn note_segment(&mut self, segment: &str) {
        let name = (segment != log::ACTIVE).then(|| segment.to_owned());
        let begin = self.ends.last().copied().unwrap_or(0);
        match self.segments.last_mut() {
            // The active one goes on, or was sealed.
            Some(last) if last.name.is_none() => last.name = name,
            _ => self.segments.push(Segment { name, begin }),
        }
    }

    /// Notes a line of the log, of so many bytes.
    pub fn note_line(&mut self, place: MarkedLine, bytes: usize) {
        self.numbers.insert(key(place), self.ends.len());
        self.ends.push(self.ends.last().copied().unwrap_or(0) + bytes as u64);
    }

    /// Notes a loss of power.
    pub fn note_power_cut(&mut self) {
        self.was_power_cut = true;
    }

    /// Looks at the cursor in `directory`, and at what was acknowledged since the last time. All lines of the log were
    /// noted, and none is appended meanwhile.
    ///
    /// # Errors
    /// The cursor cannot be read.
    pub fn look(&mut self, directory: &Path, figures: &mut Figures) -> io::Result<()> {
        // The cursor first: what it stands for was acknowledged before.
        let cursor = read_cursor(directory)?;
        let was_power_cut = std::mem::take(&mut self.was_power_cut);
        let mut acknowledged = self.receiver.acknowledged();
        for &place in &acknowledged.lines[self.looked_at..] {
            match self.numbers.get(&key(place)) {
                Some(&at) if at == self.frontier => self.frontier += 1,
                Some(&at) if at < self.frontier => {}
                None if was_power_cut => {}
                found => {
                    figures.undelivered += 1;
                    let frontier = self.frontier;
                    figures.tell(|| format!("delivered behind line {frontier}: line {found:?}, {place:?}"));
                }
            }
        }
        self.looked_at = acknowledged.lines.len();
        for problem in acknowledged.problems.drain(..) {
            figures.broken_promises += 1;
            figures.tell(|| format!("the receiver: {problem}"));
        }
        figures.delivered = self.frontier as u64;
        if let Some(cursor) = cursor.filter(|_| !was_power_cut) {
            let before = self.lines_before(&cursor);
            figures.promise(before.is_some_and(|before| before <= self.frontier), || {
                format!("the cursor {cursor} is behind {before:?} lines, and {} are acknowledged", self.frontier)
            });
        }
        Ok(())
    }

    /// Waits until everything in the log is acknowledged, by a server that runs.
    ///
    /// # Errors
    /// See [`look`](Self::look).
    pub fn wait_until_drained(&mut self, directory: &Path, figures: &mut Figures) -> io::Result<()> {
        let mut latest = (self.looked_at, Instant::now());
        // A server sends the log once, and again what was not acknowledged: one that goes on is in a circle.
        let acknowledged_max = self.looked_at + 2 * self.ends.len();
        loop {
            self.look(directory, figures)?;
            if self.frontier == self.ends.len() || !figures.is_sound() {
                return Ok(());
            }
            if self.looked_at > latest.0 && self.looked_at <= acknowledged_max {
                latest = (self.looked_at, Instant::now());
            } else if self.looked_at > acknowledged_max || latest.1.elapsed() > STANDSTILL_MAX {
                let missing = self.ends.len() - self.frontier;
                figures.undelivered += missing as u64;
                figures.tell(|| format!("{missing} lines were not delivered"));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Number of lines before a position. `None`: it is none in this log, or inside a line.
    fn lines_before(&self, position: &str) -> Option<usize> {
        let (segment, byte) = position.split_once(':')?;
        let is_named = |name: &str| {
            let file = format!("metrics-{name}.jsonl");
            self.segments.iter().position(|segment| segment.name.as_deref() == Some(&file))
        };
        let index = match segment.strip_prefix("after-") {
            Some(name) => is_named(name)? + 1,
            None if segment == "first" => 0,
            None => is_named(segment)?,
        };
        // A segment that was begun, and has no line yet, may not be noted.
        let begin =
            self.segments.get(index).map_or_else(|| self.ends.last().copied().unwrap_or(0), |found| found.begin);
        let byte = begin.checked_add(byte.parse().ok()?)?;
        match byte {
            0 => Some(0),
            byte => self.ends.binary_search(&byte).ok().map(|line| line + 1),
        }
    }
}

fn key(place: MarkedLine) -> (u32, u32, u32) {
    (place.mark.connection, place.mark.number, place.index)
}

/// The position in the cursor's file. `None`: there is no such file yet.
fn read_cursor(directory: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(directory.join("forward-torture.state")) {
        Ok(text) => {
            let position = text.lines().find_map(|line| line.strip_prefix("position "));
            position.map(|position| Some(position.to_owned())).ok_or_else(|| io::Error::other("a cursor without one"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Mark;

    fn place(index: u32) -> MarkedLine {
        MarkedLine { mark: Mark { connection: 0, number: 0 }, index, of: 9 }
    }

    /// A log of two segments of three lines, of ten bytes each, and what was acknowledged of it.
    fn judged(acknowledged: &[u32], cursor: &str) -> Figures {
        let directory = tempfile::tempdir().unwrap();
        let mut delivery = Delivery::start(&directory.path().join("data")).unwrap();
        delivery.note_segment("metrics-20260102T030405.678Z.jsonl");
        (0..3).for_each(|index| delivery.note_line(place(index), 10));
        delivery.note_segment(log::ACTIVE);
        (3..6).for_each(|index| delivery.note_line(place(index), 10));
        delivery.receiver.acknowledged().lines.extend(acknowledged.iter().map(|&index| place(index)));
        fs::write(directory.path().join("forward-torture.state"), format!("x\nposition {cursor}\n")).unwrap();
        let mut figures = Figures::default();
        delivery.look(directory.path(), &mut figures).unwrap();
        figures
    }

    #[test]
    fn a_prefix_with_repetitions_is_sound() {
        for (acknowledged, cursor, delivered) in [
            (&[][..], "first:0", 0),
            (&[0, 1], "first:20", 2),
            (&[0, 1, 0, 1, 2, 3], "20260102T030405.678Z:30", 4),
            (&[0, 1, 2, 3, 4, 5], "after-20260102T030405.678Z:30", 6),
        ] {
            let figures = judged(acknowledged, cursor);
            assert!(figures.is_sound() && figures.delivered == delivered, "{figures}");
        }
    }

    #[test]
    fn a_gap_and_a_cursor_ahead_are_found() {
        assert_eq!(judged(&[0, 2], "first:0").undelivered, 1, "a gap");
        assert_eq!(judged(&[0, 7], "first:0").undelivered, 1, "not in the log");
        for cursor in ["first:20", "first:5", "after-20260102T030405.678Z:0", "20270102T030405.678Z:0", "first:999"] {
            assert_eq!(judged(&[0], cursor).broken_promises, 1, "{cursor}");
        }
    }
}

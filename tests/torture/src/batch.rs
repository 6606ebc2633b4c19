//! Batches that can be found again: every line of the log says which batch it is of, where in it, and of how many, and
//! its every byte is known before it is sent.

use crate::random::Random;
use std::fmt::Write as _;

/// The time of every metric, as it is sent and as it is stored.
const SENT_MS: &str = "1767323045678";
const STORED_START: &str = r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"torture","value":"#;
const STORED_TAGS: &str = r#","type":"gauge","tags":{"batch":""#;
const INDEX: &str = r#"","index":""#;
const OF: &str = r#"","of":""#;
/// The time in milliseconds.
const TIMESTAMP_MS: i64 = 1_767_323_045_678;
/// Characters of the texts that metrics carry along so that lines have many lengths.
const TEXTS: &str = concat!(
    "abcdefghijklmnopqrstuvwxyz {}[]:,0123456789",
    "zyxwvutsrqponmlkjihgfedcba }{][,:9876543210",
    "the quick brown fox {jumps: [over, the]} 1 "
);
/// Longest text, in bytes.
const TEXT_BYTES_MAX: u32 = 80;
/// Bytes before the last text.
const TEXT_START_MAX: u32 = 48;
const _: () = assert!((TEXT_START_MAX + TEXT_BYTES_MAX) as usize <= TEXTS.len());

/// Which batch: the how manieth of which connection, of all connections that were ever made to one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The connection.
    pub connection: u32,
    /// The batch on it, from 0 on, in the order of their sending.
    pub number: u32,
}

/// One line, as far as it tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkedLine {
    /// The batch.
    pub mark: Mark,
    /// The metric's index in it.
    pub index: u32,
    /// The batch's metrics.
    pub of: u32,
}

impl MarkedLine {
    /// The text that stands in the metric: the same for the same place.
    fn text(self) -> &'static str {
        let mut random = Random::new(u64::from(self.mark.connection) << 32 | u64::from(self.mark.number));
        let mut random = Random::new(random.number() ^ u64::from(self.index));
        let start = random.below(TEXT_START_MAX + 1) as usize;
        &TEXTS[start..start + random.below(TEXT_BYTES_MAX + 1) as usize]
    }

    fn tags(self) -> String {
        let Self { mark: Mark { connection, number }, index, of } = self;
        format!(r#"{connection}.{number}{INDEX}{index}{OF}{of}","text":"{}"}}}}"#, self.text())
    }

    /// The labels of the metric as a receiver of remote write gets them, which has no labels without a value.
    #[must_use]
    pub fn labels(self) -> Vec<(&'static str, String)> {
        let Self { mark: Mark { connection, number }, index, of } = self;
        let mut labels = vec![
            ("__name__", "torture".to_owned()),
            ("batch", format!("{connection}.{number}")),
            ("index", index.to_string()),
            ("of", of.to_string()),
            ("text", self.text().to_owned()),
        ];
        labels.retain(|(_, value)| !value.is_empty());
        labels
    }

    /// The place that a sample states; `None` if anything of it is not what was sent.
    #[must_use]
    pub fn of_sample(labels: &[(&str, &str)], value: f64, timestamp_ms: i64) -> Option<Self> {
        let label = |name: &str| labels.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let (connection, number) = label("batch")?.split_once('.')?;
        let mark = Mark { connection: connection.parse().ok()?, number: number.parse().ok()? };
        let place = Self { mark, index: label("index")?.parse().ok()?, of: label("of")?.parse().ok()? };
        let is_as_sent = value.to_bits() == f64::from(place.index).to_bits()
            && timestamp_ms == TIMESTAMP_MS
            && place.labels().iter().map(|(name, value)| (*name, value.as_str())).eq(labels.iter().copied());
        is_as_sent.then_some(place)
    }

    /// The line that the log must have.
    #[must_use]
    pub fn line(self) -> String {
        format!("{STORED_START}{}{STORED_TAGS}{}", self.index, self.tags())
    }

    /// Parses the place that a line states; `None` if the line is not, to the byte, what was sent.
    #[must_use]
    pub fn of_line(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let (index, rest) = line.strip_prefix(STORED_START)?.split_once(STORED_TAGS)?;
        let (mark, rest) = rest.split_once(INDEX)?;
        let (_, rest) = rest.split_once(OF)?;
        let (connection, number) = mark.split_once('.')?;
        let mark = Mark { connection: connection.parse().ok()?, number: number.parse().ok()? };
        let (of, _) = rest.split_once('"')?;
        let place = Self { mark, index: index.parse().ok()?, of: of.parse().ok()? };
        (place.line() == line).then_some(place)
    }
}

/// The body of a batch of `of` metrics. A broken one is wrong in its last metric, and must be refused whole.
#[must_use]
pub fn body(mark: Mark, of: u32, broken: bool) -> String {
    let mut body = String::from(r#"{"metrics":["#);
    for index in 0..of {
        let place = MarkedLine { mark, index, of };
        let kind = if broken && index + 1 == of { r#""type":"broken","# } else { "" };
        let comma = if index == 0 { "" } else { "," };
        let tags = place.tags();
        // Writing to a String cannot fail.
        let _ = write!(
            body,
            r#"{comma}{{"name":"torture","value":{index},{kind}"timestamp":{SENT_MS},"tags":{{"batch":"{tags}"#
        );
    }
    body.push_str("]}");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_place_and_a_damaged_one_does_not() {
        let place = MarkedLine { mark: Mark { connection: 17, number: 4 }, index: 998, of: 1_000 };
        let line = place.line();
        assert_eq!(MarkedLine::of_line(line.as_bytes()), Some(place));
        for cut in 0..line.len() {
            assert_eq!(MarkedLine::of_line(&line.as_bytes()[..cut]), None, "cut at {cut}");
            let mut flipped = line.clone().into_bytes();
            flipped[cut] ^= 1;
            assert_ne!(MarkedLine::of_line(&flipped), Some(place), "flipped at {cut}");
        }
        assert_eq!(MarkedLine::of_line(format!("{line}{line}").as_bytes()), None);
    }
}

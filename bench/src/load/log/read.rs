//! Reads a log back. What stands in it may be cut, damaged or made up: every number has a bound, every line a length,
//! and what cannot be a log is an error that names the line. Only the end of a file may be missing.

use super::{
    super::{Failure, stages::Stages},
    COLUMNS, END, Ended, Header, MAGIC, Record, Totals,
};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

/// Bytes of the first and of the last line, which are JSON, and of a record: ten numbers of twenty digits.
const JSON_BYTES_MAX: u64 = 1 << 20;
const RECORD_BYTES_MAX: u64 = 256;
/// A warm-up, a load and a timeout of a day each, and a day of grace.
const TIME_NS_MAX: u64 = 4 * 24 * 3600 * 1_000_000_000;
/// The year 5138: seconds from 1970.
const BEGAN_S_MAX: f64 = 1e11;
/// No count of a load is near this, and a sum of some of them does not overflow.
const COUNT_MAX: u64 = 1 << 53;

/// One line of a file, without its end.
enum Line {
    Whole,
    /// The file ends within it.
    Torn,
    /// The file ends before it.
    None,
}

/// A log that is being read.
#[derive(Debug)]
pub(in crate::load) struct LogReader<R = BufReader<File>> {
    pub name: String,
    pub header: Header,
    input: R,
    line: Vec<u8>,
    number: u64,
}

/// End of a log.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::load) enum Tail {
    Whole(Box<Totals>),
    /// Without its last line; the bytes of a line that is cut are left out.
    Cut {
        torn_bytes: usize,
    },
}

impl LogReader {
    /// Opens a log and reads its head.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        Self::new(name, BufReader::new(file))
    }
}

impl<R: BufRead> LogReader<R> {
    pub fn new(name: String, mut input: R) -> Result<Self, String> {
        let wrong = |what: &str| format!("{name}: {what}");
        let (mut line, cannot) = (Vec::new(), "not a log of load_test --log");
        match next(&mut input, JSON_BYTES_MAX, &mut line).map_err(|error| wrong(&error))? {
            Line::Whole => {}
            Line::None => return Err(wrong("empty: no log of load_test --log")),
            Line::Torn => return Err(wrong(cannot)),
        }
        let text = str::from_utf8(&line).map_err(|_| wrong(cannot))?;
        let header = text.strip_prefix(MAGIC).ok_or_else(|| {
            let other = text.starts_with("# load_test log ");
            wrong(if other { "a log of another version of load_test" } else { cannot })
        })?;
        let header: Header = serde_json::from_str(header).map_err(|error| wrong(&format!("line 1: {error}")))?;
        let times = [header.warm_ns, header.end_ns.unwrap_or(0)];
        if times.iter().any(|time_ns| *time_ns > TIME_NS_MAX) || !(0.0..BEGAN_S_MAX).contains(&header.setup.began_s) {
            return Err(wrong("line 1: a time that cannot be"));
        }
        let setup = &header.setup;
        if [&setup.server, &setup.url, &setup.method, &setup.driver].iter().any(|text| !is_plain(text)) {
            return Err(wrong("line 1: control characters"));
        }
        if [&setup.workload, &setup.host, &setup.maker].iter().any(|value| !is_plain_within(value)) {
            return Err(wrong("line 1: control characters"));
        }
        match next(&mut input, RECORD_BYTES_MAX, &mut line).map_err(|error| wrong(&error))? {
            Line::Whole if line == COLUMNS.as_bytes() => {}
            Line::Whole => return Err(wrong("line 2: other columns")),
            Line::Torn | Line::None => return Err(wrong("cut before its first record")),
        }
        Ok(Self { name, header, input, line, number: 2 })
    }

    /// Gives every record to `take`, and how the log ended.
    pub fn read(&mut self, mut take: impl FnMut(&Record)) -> Result<Tail, String> {
        let pace = self.header.setup.pace.as_ref();
        let stages = pace.and_then(|pace| Stages::of(&pace.profile)).map_or(0, |stages| stages.all().len());
        loop {
            self.number += 1;
            let wrong = |what: &str| format!("{}: line {}: {what}", self.name, self.number);
            let first = self.input.fill_buf().map_err(|error| wrong(&error.to_string()))?.first().copied();
            let bytes_max = if first == Some(b'#') { JSON_BYTES_MAX } else { RECORD_BYTES_MAX };
            match next(&mut self.input, bytes_max, &mut self.line).map_err(|error| wrong(&error))? {
                Line::Whole => {}
                Line::Torn => return Ok(Tail::Cut { torn_bytes: self.line.len() }),
                Line::None => return Ok(Tail::Cut { torn_bytes: 0 }),
            }
            let text = str::from_utf8(&self.line).map_err(|_| wrong("damaged: not text"))?;
            let Some(totals) = text.strip_prefix(END) else {
                take(&record(text, stages).map_err(|error| wrong(&error))?);
                continue;
            };
            let totals: Totals = serde_json::from_str(totals).map_err(|error| wrong(&error.to_string()))?;
            if totals.counts().iter().any(|count| *count > COUNT_MAX)
                || !totals.other_reason.as_deref().is_none_or(is_plain)
            {
                return Err(wrong("an end that cannot be"));
            }
            let times =
                [totals.elapsed_ns, totals.span_ns].into_iter().chain(totals.stages.iter().map(|stage| stage.0));
            if times.max().is_some_and(|time_ns| time_ns > TIME_NS_MAX) || totals.stages.len() != stages {
                return Err(wrong("an end that cannot be"));
            }
            if !self.input.fill_buf().map_err(|error| wrong(&error.to_string()))?.is_empty() {
                return Err(wrong("the end of the log, and more behind it"));
            }
            return Ok(Tail::Whole(Box::new(totals)));
        }
    }
}

/// Nothing in it acts on a terminal.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The same of all texts in a value.
fn is_plain_within(value: &Value) -> bool {
    match value {
        Value::String(text) => is_plain(text),
        Value::Array(all) => all.iter().all(is_plain_within),
        Value::Object(all) => all.iter().all(|(name, value)| is_plain(name) && is_plain_within(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Reads a line of at most `bytes_max`.
fn next(input: &mut impl BufRead, bytes_max: u64, line: &mut Vec<u8>) -> Result<Line, String> {
    line.clear();
    let read = input.take(bytes_max + 1).read_until(b'\n', line).map_err(|error| error.to_string())?;
    match line.last() {
        None => Ok(Line::None),
        Some(b'\n') => {
            line.pop();
            Ok(Line::Whole)
        }
        Some(_) if read as u64 > bytes_max => Err(format!("damaged: over {bytes_max} bytes without an end of line")),
        Some(_) => Ok(Line::Torn),
    }
}

/// One record of a log with so many stages.
fn record(line: &str, stages: usize) -> Result<Record, String> {
    let mut fields = line.split(',');
    let mut names = COLUMNS.split(',');
    let mut field = || {
        let name = names.next().unwrap_or_default();
        fields.next().map(|text| (name, text)).ok_or_else(|| format!("damaged: it ends before {name}"))
    };
    let number = |(name, text): (&str, &str), most: u64| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse::<u64>().ok().filter(|value| digits && *value <= most);
        value.ok_or_else(|| format!("damaged: {name} is no number up to {most}"))
    };
    let intended_ns = number(field()?, TIME_NS_MAX)?;
    let sent_ns = number(field()?, TIME_NS_MAX)?;
    let first = field()?;
    let first_ns = if first.1.is_empty() { None } else { Some(sent_ns + number(first, TIME_NS_MAX)?) };
    let ended_ns = intended_ns + number(field()?, TIME_NS_MAX)?;
    let result = field()?;
    let failure = Failure::ALL.iter().find(|(_, name)| *name == result.1);
    let ended = match failure {
        Some((failure, _)) => Ended::Failed(*failure),
        None => Ended::Status(small(number(result, 999)?)),
    };
    let record = Record {
        intended_ns,
        sent_ns,
        first_ns,
        ended_ns,
        ended,
        connection: small(number(field()?, u64::from(u32::MAX))?),
        stage: small(number(field()?, stages as u64)?),
        metrics: small(number(field()?, u64::from(u32::MAX))?),
        bytes_sent: small(number(field()?, u64::from(u32::MAX))?),
        bytes_received: number(field()?, u64::MAX)?,
    };
    if fields.next().is_some() { Err("damaged: more columns than there are".to_owned()) } else { Ok(record) }
}

/// A number whose bound was checked.
fn small<T: TryFrom<u64> + Default>(value: u64) -> T {
    T::try_from(value).unwrap_or_default()
}

#[cfg(test)]
pub(in crate::load) mod tests {
    use super::*;
    use crate::{drivers::Chosen, load::setup::Setup};
    use proptest::prelude::*;

    /// The log of a load of this command line that has these records.
    pub fn log(line: &str, began_s: f64, records: &[Record], totals: Option<&Totals>) -> Vec<u8> {
        let plan = crate::load::parse(["load_test", "8080"].into_iter().chain(line.split_whitespace())).unwrap();
        let nanoseconds = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap();
        let header = Header {
            setup: Setup { began_s, ..Setup::of(&plan, Chosen::Epoll, began_s) },
            warm_ns: nanoseconds(plan.warmup),
            end_ns: plan.duration.map(|duration| nanoseconds(plan.warmup + duration)),
        };
        let mut bytes = format!("{MAGIC}{}\n{COLUMNS}\n", serde_json::to_string(&header).unwrap()).into_bytes();
        records.iter().for_each(|record| record.write(&mut bytes));
        if let Some(totals) = totals {
            bytes.extend(format!("{END}{}\n", serde_json::to_string(totals).unwrap()).into_bytes());
        }
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<(Vec<Record>, Tail), String> {
        let mut reader = LogReader::new("a.csv".to_owned(), bytes)?;
        let mut records = Vec::new();
        let tail = reader.read(|record| records.push(*record))?;
        Ok((records, tail))
    }

    fn success(intended_ns: u64) -> Record {
        Record {
            intended_ns,
            sent_ns: intended_ns + 10,
            first_ns: Some(intended_ns + 20),
            ended_ns: intended_ns + 30,
            ended: Ended::Status(200),
            connection: 7,
            stage: 0,
            metrics: 3,
            bytes_sent: 361,
            bytes_received: u64::MAX,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let failed = Failure::ALL.map(|(failure, _)| Record {
            ended: Ended::Failed(failure),
            first_ns: None,
            connection: u32::MAX,
            ..success(TIME_NS_MAX - 100)
        });
        let records = [&[success(0), success(999_999_999)][..], &failed].concat();
        let totals = Totals { records: 8, busiest: 0.5, other_reason: Some("a \"b\"".to_owned()), ..Totals::default() };
        let whole = log("4 9 --rate 10", 1e9, &records, Some(&totals));
        assert_eq!(read(&whole), Ok((records.clone(), Tail::Whole(Box::new(totals)))));
        let staged = Record { stage: 2, ..success(1) };
        let (read_back, tail) = read(&log("4 --stages 1s:5,1s:9", 1e9, &[staged], None)).unwrap();
        assert_eq!((read_back, tail), (vec![staged], Tail::Cut { torn_bytes: 0 }));
    }

    #[test]
    fn a_line_is_what_the_documentation_says() {
        let mut line = Vec::new();
        success(1000).write(&mut line);
        assert_eq!(str::from_utf8(&line), Ok("1000,1010,10,30,200,7,0,3,361,18446744073709551615\n"));
        line.clear();
        Record { ended: Ended::Failed(Failure::Timeout), first_ns: None, ..success(0) }.write(&mut line);
        assert_eq!(str::from_utf8(&line), Ok("0,10,,30,timeout,7,0,3,361,18446744073709551615\n"));
    }

    #[test]
    fn a_log_that_is_cut_loses_its_end_only() {
        let records = [success(0), success(100), success(200)];
        let whole = log("4 9", 1e9, &records, Some(&Totals { records: 3, ..Totals::default() }));
        let head = log("4 9", 1e9, &[], None).len();
        for length in 0..whole.len() {
            match read(&whole[..length]) {
                Err(error) => assert!(length < head && error.starts_with("a.csv: "), "{length}: {error}"),
                Ok((read_back, tail)) => {
                    let Tail::Cut { torn_bytes } = tail else { panic!("{length} is not whole") };
                    assert!(length >= head && records.starts_with(&read_back), "{length}");
                    let lines = whole[..length].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
                    assert_eq!(torn_bytes, length - lines, "{length}");
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_is_named_by_its_line() {
        let good = String::from_utf8(log("4 9", 1e9, &[success(0), success(100)], Some(&Totals::default()))).unwrap();
        let line = "100,110,10,30,200,7,0,3,361,18446744073709551615";
        for (damage, says) in [
            ("100,110,10,30,200,7,0,3,361", "line 4: damaged: it ends before bytes_received"),
            ("100,110,10,30,200,7,0,3,361,1,1", "line 4: damaged: more columns"),
            ("-1,110,10,30,200,7,0,3,361,1", "line 4: damaged: intended_ns"),
            ("+1,110,10,30,200,7,0,3,361,1", "line 4: damaged: intended_ns"),
            ("1,99999999999999999999,10,30,200,7,0,3,361,1", "line 4: damaged: sent_ns"),
            ("1,110,10,30,1000,7,0,3,361,1", "line 4: damaged: result"),
            ("1,110,10,30,lost,7,0,3,361,1", "line 4: damaged: result"),
            ("1,110,10,30,200,7,1,3,361,1", "line 4: damaged: stage"),
            ("\0\0\0\0", "line 4: damaged: intended_ns"),
            ("", "line 4: damaged: intended_ns"),
            (&"9".repeat(300), "line 4: damaged: over 256 bytes"),
            ("# end {}", "line 4: missing field"),
        ] {
            let error = read(good.replace(line, damage).as_bytes()).unwrap_err();
            assert!(error.contains(says), "{damage}: {error}");
        }
        let lied = |what: &str, by: &str| good.replace(what, by);
        for (text, says) in [
            (String::new(), "empty"),
            ("a,b\n1,2\n".to_owned(), "not a log"),
            (good.replace("log 1 ", "log 2 "), "another version"),
            (good.replace(",sent_ns", ",send_ns"), "line 2: other columns"),
            (format!("{good}1"), "more behind it"),
            (lied("\"began_unix_s\":1000000000.0", "\"began_unix_s\":-1.0"), "a time that cannot be"),
            (lied("\"method\":\"POST\",\"pace", "\"method\":\"\\u001b[2J\",\"pace"), "control characters"),
            (lied("\"missed\":0", "\"missed\":18446744073709551615"), "an end that cannot be"),
            (lied("\"span_ns\":0", "\"span_ns\":18446744073709551615"), "an end that cannot be"),
            (lied("\"stages\":[]}", "\"stages\":[[1,1,1]]}"), "an end that cannot be"),
        ] {
            assert_ne!(text, good, "{says}");
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..700) {
            let _ = read(&bytes);
            let mut damaged = log("4 --stages 1s:5,1s:9", 1e9, &[success(0), success(1)], Some(&Totals::default()));
            let at = at.min(damaged.len());
            let end = (at + bytes.len()).min(damaged.len());
            damaged.splice(at..end, bytes);
            let _ = read(&damaged);
        }

        #[test]
        fn no_record_makes_the_reader_panic(line in "[0-9a-z,.\\-]{0,80}") {
            let mut text = log("4 9", 1e9, &[], None);
            text.extend(format!("{line}\n").into_bytes());
            let _ = read(&text);
        }
    }
}

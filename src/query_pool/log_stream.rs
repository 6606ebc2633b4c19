//! `GET /log`: whole lines of the log from a position, and the position behind them, from which the next request goes
//! on. A request that finds none may wait for one, without a thread: see `waiters`.

use super::{
    delivery::{Prepared, Render},
    pool::{Failure, Pause, Share, unavailable},
    routes::RawQuery,
};
use crate::{limits, stats::Outcome};
use http1::{HttpError, accept};
use log::{FollowError, Follower, LineBuffer, LogPosition, LogStatus, Start};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use wake::clock::Clock;

const CONTENT_TYPE: &str = "application/x-ndjson";
/// zstd's level for lines: they shrink to a tenth at some hundreds of megabytes a second.
const ZSTD_LEVEL: i32 = 1;

/// The log by position.
#[derive(Debug)]
pub struct LogStream {
    /// The data directory.
    pub directory: PathBuf,
    /// The status of the log, for the position up to which it is written.
    pub log: Arc<LogStatus>,
    /// The clock that `now` is read from.
    pub clock: Clock,
}

/// The place to begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Place(Start),
    /// Epoch milliseconds.
    Time(i64),
}

/// The parameters of a request.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    from: From,
    wait: Duration,
    bytes_max: usize,
}

impl LogStream {
    /// Reads lines for one request.
    ///
    /// # Errors
    /// The reason why there are none.
    pub(super) fn read(&self, query: &RawQuery, share: &Share<'_>) -> Result<Prepared, Failure> {
        let parameters = Parameters::parse(&query.parameters, self.clock.wall_ms()).map_err(|text| refused(&text))?;
        // Before reading: what is written from here on ends the wait.
        let seen = self.log.published();
        let mut follower = self.open(&parameters, share)?;
        let mut lines = LineBuffer::default();
        while lines.len() < parameters.bytes_max {
            check(share)?;
            let left = parameters.bytes_max - lines.len();
            match follower.read(&mut lines, left) {
                Ok(0) => break,
                Ok(_) => {}
                // What is behind is for the next request, and so is the error.
                Err(_) if !lines.is_empty() => break,
                Err(error) => return Err(failure(&error)),
            }
        }
        follower.leave_ended_segment();
        let next = follower.position();
        if lines.is_empty() && !parameters.wait.is_zero() && share.may_pause {
            return Err(Failure::Paused(Pause { at: next, seen, wait: parameters.wait }));
        }
        let takes_zstd = query.accept_encoding.as_ref().is_some_and(|field| accept::takes_coding(field, b"zstd"));
        let mut fields =
            format!("\r\nX-MetricsStream-Next: {next}\r\nVary: Accept-Encoding\r\nCache-Control: no-store")
                .into_bytes();
        let bytes = if takes_zstd && !lines.is_empty() {
            fields.extend_from_slice(b"\r\nContent-Encoding: zstd");
            zstd::bulk::compress(&lines, ZSTD_LEVEL).map_err(|error| failed(format!("zstd: {error}")))?
        } else {
            lines.into_bytes()
        };
        let body = Box::new(Body { bytes, taken: 0 });
        Ok(Prepared { content_type: CONTENT_TYPE, fields: fields.into(), body })
    }

    fn open(&self, parameters: &Parameters, share: &Share<'_>) -> Result<Follower, Failure> {
        let open =
            |start| Follower::open(&self.directory, Arc::clone(&self.log), start).map_err(|error| failure(&error));
        match (share.paused_at, parameters.from) {
            (Some(position), _) => open(Start::At(position)),
            (None, From::Place(start)) => open(start),
            (None, From::Time(from_ms)) => {
                let mut follower = open(Start::Oldest)?;
                match follower.seek_time(from_ms, &|| check(share).is_ok()) {
                    Ok(true) => Ok(follower),
                    // The same reason as there.
                    Ok(false) => Err(check(share).err().unwrap_or(Failure::Cancelled)),
                    Err(error) => Err(failure(&error)),
                }
            }
        }
    }
}

impl Parameters {
    fn parse(text: &str, now_ms: i64) -> Result<Self, String> {
        let [mut from, mut wait, mut bytes_max] = [None, None, None];
        for (name, value) in query::pairs(text).map_err(|refusal| refusal.to_string())? {
            let place = match name.as_str() {
                "from" => &mut from,
                "wait" => &mut wait,
                "max_bytes" => &mut bytes_max,
                name => {
                    return Err(format!("{}: unknown parameter; expected from, wait or max_bytes", query::shown(name)));
                }
            };
            if place.replace(value).is_some() {
                return Err(format!("{name} is repeated"));
            }
        }
        Ok(Self {
            from: from.map_or(Ok(From::Place(Start::Oldest)), |text| parse_from(&text, now_ms))?,
            wait: wait.map_or(Ok(Duration::ZERO), |text| parse_wait(&text))?,
            bytes_max: bytes_max.map_or(Ok(limits::LOG_BYTES_DEFAULT), |text| parse_bytes(&text))?,
        })
    }
}

fn parse_from(text: &str, now_ms: i64) -> Result<From, String> {
    Ok(match (text, text.parse::<LogPosition>()) {
        ("begin", _) => From::Place(Start::Oldest),
        ("end", _) => From::Place(Start::End),
        (_, Ok(position)) => From::Place(Start::At(position)),
        (_, Err(not_a_position)) => match query::moment(text, now_ms) {
            Some(from_ms) => From::Time(from_ms),
            None => {
                let time = query::MOMENT_EXPECTED;
                return Err(format!("from: expected begin, end, a position or a time ({not_a_position}; {time})"));
            }
        },
    })
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s" | "0ms") {
        return Ok(Duration::ZERO);
    }
    let wait = query::span(text).and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    let max_s = limits::LOG_WAIT_MAX.as_secs();
    wait.filter(|wait| *wait <= limits::LOG_WAIT_MAX)
        .ok_or_else(|| format!("wait: expected a time from 0s to {max_s}s, such as 30s"))
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    let bytes =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    bytes
        .filter(|bytes| (1..=limits::LOG_BYTES_MAX).contains(bytes))
        .ok_or_else(|| format!("max_bytes: expected a number of bytes from 1 to {}", limits::LOG_BYTES_MAX))
}

/// The end of a request's time, or of its client.
fn check(share: &Share<'_>) -> Result<(), Failure> {
    if share.cancelled.load(Ordering::Relaxed) {
        return Err(Failure::Cancelled);
    }
    if share.deadline <= Instant::now() {
        let text = "the log could not be read in time".to_owned();
        return Err(Failure::Refused {
            outcome: Outcome::TimedOut,
            error: unavailable(),
            text,
            fields: Box::default(),
        });
    }
    Ok(())
}

fn refused(text: &str) -> Failure {
    Failure::Refused {
        outcome: Outcome::Invalid,
        error: HttpError::BadRequest(""),
        text: text.to_owned(),
        fields: Box::default(),
    }
}

fn failed(text: String) -> Failure {
    Failure::Refused { outcome: Outcome::Unavailable, error: unavailable(), text, fields: Box::default() }
}

fn failure(error: &FollowError) -> Failure {
    match error {
        FollowError::Gone { oldest } => Failure::Refused {
            outcome: Outcome::Gone,
            error: HttpError::Gone,
            text: error.to_string(),
            fields: format!("\r\nX-MetricsStream-Oldest: {oldest}").into_bytes().into(),
        },
        FollowError::InsideLine => refused(&error.to_string()),
        FollowError::Unreadable(_) => failed(error.to_string()),
    }
}

/// The lines, from `taken` on.
struct Body {
    bytes: Vec<u8>,
    taken: usize,
}

impl Render for Body {
    fn append_next(&mut self, out: &mut Vec<u8>) -> bool {
        /// Appended at a time.
        const BYTES: usize = 16 * limits::KIB;
        let end = self.bytes.len().min(self.taken + BYTES);
        out.extend_from_slice(&self.bytes[self.taken..end]);
        end > std::mem::replace(&mut self.taken, end)
    }

    fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let parse = |text: &str| Parameters::parse(text, 1_767_323_045_678);
        let default =
            Parameters { from: From::Place(Start::Oldest), wait: Duration::ZERO, bytes_max: limits::LOG_BYTES_DEFAULT };
        assert_eq!(parse(""), Ok(default));
        let position = "after-20260102T030405.678Z:4096";
        for (text, from) in [
            ("begin", From::Place(Start::Oldest)),
            ("end", From::Place(Start::End)),
            (position, From::Place(Start::At(position.parse().unwrap()))),
            ("first%3A0", From::Place(Start::At(LogPosition::FIRST))),
            ("2026-01-02T03:04:05Z", From::Time(1_767_323_045_000)),
            ("-15m", From::Time(1_767_322_145_678)),
        ] {
            assert_eq!(parse(&format!("from={text}")).unwrap().from, from, "{text}");
        }
        let all = parse("wait=1m&from=end&max_bytes=8388608").unwrap();
        assert_eq!((all.wait, all.bytes_max), (limits::LOG_WAIT_MAX, limits::LOG_BYTES_MAX));
        assert_eq!(parse("wait=0s").unwrap().wait, Duration::ZERO);
    }

    #[test]
    fn what_is_wrong_with_parameters_is_named() {
        for (text, part) in [
            ("from=", "expected begin, end"),
            ("from=first", "expected begin, end"),
            ("from=20260102T030405.678Z:-1", "expected begin, end"),
            ("from=begin&from=end", "from is repeated"),
            ("from!=begin", "from!: unknown parameter; expected from, wait or max_bytes"),
            ("wait=61s", "from 0s to 60s"),
            ("wait=30", "from 0s to 60s"),
            ("max_bytes=0", "from 1 to 8388608"),
            ("max_bytes=8388609", "from 1 to 8388608"),
            ("max_bytes=+1", "from 1 to 8388608"),
            ("name=cpu", "name: unknown parameter"),
            ("fro%1b%6d=end", "fro\\u{1b}m: unknown parameter"),
            ("from=%zz", "two hexadecimal digits"),
        ] {
            let error = Parameters::parse(text, 0).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

//! Marks: named spans of time, such as the runs of a load test, which the live page draws over its charts. They are
//! posted from outside, and kept in memory for as long as the server runs.

use super::jobs::{Body, JSON, JobResult};
use crate::limits;
use http1::{Head, HttpError, parameters};
use serde_json::{Value, json};
use std::{collections::VecDeque, sync::Arc};

/// A request of `POST /ui/marks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkRequest {
    /// Begin a mark of this name.
    Begin(String),
    /// End the mark of this number.
    End(u64),
}

impl MarkRequest {
    /// The request that a head makes.
    ///
    /// # Errors
    /// An unknown or invalid parameter, by name.
    pub fn of(head: &Head<'_>) -> Result<Self, HttpError> {
        Self::of_query(head.query)
    }

    fn of_query(query: Option<&str>) -> Result<Self, HttpError> {
        const NAME: HttpError =
            HttpError::BadRequest("name must be 1 to 64 printable ASCII characters, without a space at either end");
        const END: HttpError = HttpError::BadRequest("end must be the number of a mark");
        const ONE: HttpError = HttpError::BadRequest("one parameter is required: name or end");
        const _: () = assert!(limits::MARK_NAME_BYTES_MAX == 64, "the text says so");
        let mut found = None;
        for (parameter, value) in parameters(query) {
            let mut buffer = [0; limits::MARK_NAME_BYTES_MAX];
            let value = value.and_then(|value| value.decode(&mut buffer)).unwrap_or_default();
            let request = if parameter.means("name") {
                let is_name = !value.is_empty()
                    && value.trim_ascii().len() == value.len()
                    && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                Self::Begin(is_name.then(|| value.to_owned()).ok_or(NAME)?)
            } else if parameter.means("end") {
                let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
                Self::End(value.parse().ok().filter(|_| is_number).ok_or(END)?)
            } else {
                return Err(HttpError::UnknownParameter { name: parameter.into(), known: "name or end" });
            };
            if found.replace(request).is_some() {
                return Err(ONE);
            }
        }
        found.ok_or(ONE)
    }
}

/// The way in which a mark ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It has not ended.
    None,
    /// As it was posted.
    Posted(i64),
    /// No end was posted within [`limits::MARK_OPEN_MS_MAX`]: the time at which that was over.
    Unknown(i64),
}

#[derive(Debug)]
struct Mark {
    number: u64,
    name: String,
    from_ms: i64,
    /// Nanoseconds of its beginning, by a clock that cannot be set.
    begun_ns: u64,
    end: End,
}

impl Mark {
    fn to_json(&self) -> Value {
        let (to_ms, end) = match self.end {
            End::None => (None, "none"),
            End::Posted(at_ms) => (Some(at_ms), "posted"),
            End::Unknown(at_ms) => (Some(at_ms), "unknown"),
        };
        json!({ "mark": self.number, "name": self.name, "from_ms": self.from_ms, "to_ms": to_ms, "end": end })
    }
}

/// The last marks, oldest first.
#[derive(Debug, Default)]
pub struct Marks {
    marks: VecDeque<Mark>,
    begun: u64,
}

impl Marks {
    /// Begins or ends a mark, at a time of the wall clock and of one that cannot be set. The response is that mark.
    pub fn apply(&mut self, request: MarkRequest, now_ms: i64, monotonic_ns: u64) -> JobResult {
        let mark = match request {
            MarkRequest::Begin(name) => {
                self.begun += 1;
                if self.marks.len() == limits::MARKS_MAX {
                    self.marks.pop_front();
                }
                let (number, begun_ns) = (self.begun, monotonic_ns);
                self.marks.push_back(Mark { number, name, from_ms: now_ms, begun_ns, end: End::None });
                self.marks.back()
            }
            MarkRequest::End(number) => {
                let mut marks = self.marks.iter_mut();
                let mark = marks.find(|mark| mark.number == number && !matches!(mark.end, End::Posted(_)));
                mark.map(|mark| {
                    // The clock may have been set back.
                    mark.end = End::Posted(now_ms.max(mark.from_ms));
                    &*mark
                })
            }
        };
        let mark = mark.ok_or_else(|| (HttpError::NotFound, "no mark of this number is open".to_owned()))?;
        let bytes = format!("{}\n", mark.to_json()).into_bytes().into();
        Ok(Body { content_type: JSON, fields: Box::default(), bytes })
    }

    /// Ends the marks whose end does not come. Returns true if there are any.
    pub fn expire(&mut self, monotonic_ns: u64) -> bool {
        let mut any = false;
        for mark in self.marks.iter_mut().filter(|mark| mark.end == End::None) {
            let open_ms = i64::try_from(monotonic_ns.saturating_sub(mark.begun_ns) / 1_000_000).unwrap_or(i64::MAX);
            if open_ms >= limits::MARK_OPEN_MS_MAX {
                mark.end = End::Unknown(mark.from_ms.saturating_add(limits::MARK_OPEN_MS_MAX));
                any = true;
            }
        }
        any
    }

    /// The line of the stream; `None` without marks.
    pub fn line(&self) -> Option<Arc<[u8]>> {
        let marks: Vec<Value> = self.marks.iter().map(Mark::to_json).collect();
        let line = json!({ "type": "marks", "marks": marks });
        (!marks.is_empty()).then(|| format!("{line}\n").into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(ms: i64) -> u64 {
        1_000_000 * u64::try_from(ms).unwrap()
    }

    fn applied(marks: &mut Marks, request: MarkRequest, now_ms: i64) -> Value {
        serde_json::from_slice(&marks.apply(request, now_ms, ns(now_ms)).unwrap().bytes).unwrap()
    }

    fn listed(marks: &Marks) -> Vec<Value> {
        let line: Value = serde_json::from_slice(&marks.line().unwrap()).unwrap();
        assert_eq!(line["type"], "marks");
        line["marks"].as_array().unwrap().clone()
    }

    #[test]
    fn a_mark_begins_and_ends_once() {
        let mut marks = Marks::default();
        assert_eq!(marks.line(), None);
        let begun = applied(&mut marks, MarkRequest::Begin("run \"A\"".into()), 1_000);
        assert_eq!(begun, json!({ "mark": 1, "name": "run \"A\"", "from_ms": 1_000, "to_ms": null, "end": "none" }));
        applied(&mut marks, MarkRequest::Begin("run \"A\"".into()), 2_000);
        let ended = applied(&mut marks, MarkRequest::End(1), 3_000);
        assert_eq!((&ended["to_ms"], &ended["end"]), (&3_000.into(), &"posted".into()));
        for number in [0, 1, 3, u64::MAX] {
            assert!(marks.apply(MarkRequest::End(number), 4_000, ns(4_000)).is_err(), "{number}");
        }
        assert_eq!(listed(&marks).iter().map(|mark| mark["to_ms"].as_i64()).collect::<Vec<_>>(), [Some(3_000), None]);
    }

    #[test]
    fn a_mark_without_an_end_is_ended_at_the_bound() {
        let mut marks = Marks::default();
        applied(&mut marks, MarkRequest::Begin("lost".into()), 1_000);
        assert!(!marks.expire(ns(limits::MARK_OPEN_MS_MAX + 999)));
        assert!(marks.expire(ns(limits::MARK_OPEN_MS_MAX + 5_000)));
        assert!(!marks.expire(ns(limits::MARK_OPEN_MS_MAX + 9_000)), "once");
        let lost = &listed(&marks)[0];
        assert_eq!((&lost["to_ms"], &lost["end"]), (&(limits::MARK_OPEN_MS_MAX + 1_000).into(), &"unknown".into()));
        // A long run ends after all.
        let ended = applied(&mut marks, MarkRequest::End(1), 2 * limits::MARK_OPEN_MS_MAX);
        assert_eq!((&ended["to_ms"], &ended["end"]), (&(2 * limits::MARK_OPEN_MS_MAX).into(), &"posted".into()));
    }

    #[test]
    fn a_clock_that_is_set_neither_ends_a_mark_nor_keeps_it_open() {
        const DAY_MS: i64 = 86_400_000;
        for step_ms in [-DAY_MS, DAY_MS] {
            let mut marks = Marks::default();
            applied(&mut marks, MarkRequest::Begin("run".into()), DAY_MS);
            let begun_ns = ns(DAY_MS);
            assert!(!marks.expire(begun_ns + ns(limits::MARK_OPEN_MS_MAX) - 1));
            let ended = marks.apply(MarkRequest::End(1), DAY_MS + step_ms, begun_ns + 1).unwrap();
            let ended: Value = serde_json::from_slice(&ended.bytes).unwrap();
            assert_eq!((&ended["end"], &ended["to_ms"]), (&"posted".into(), &(DAY_MS + step_ms.max(0)).into()));
            applied(&mut marks, MarkRequest::Begin("lost".into()), DAY_MS);
            assert!(marks.expire(begun_ns + ns(limits::MARK_OPEN_MS_MAX)));
        }
    }

    #[test]
    fn marks_are_bounded_and_the_oldest_goes() {
        let mut marks = Marks::default();
        for number in 0..3 * limits::MARKS_MAX as i64 {
            applied(&mut marks, MarkRequest::Begin("run".into()), number);
        }
        let listed = listed(&marks);
        assert_eq!((listed.len(), &listed[0]["mark"]), (limits::MARKS_MAX, &(2 * limits::MARKS_MAX + 1).into()));
    }

    #[test]
    fn marks_are_requested_by_name_or_number() {
        let begin = |name: &str| Ok(MarkRequest::Begin(name.into()));
        assert_eq!(MarkRequest::of_query(Some("name=run%20A+%22%3C")), begin("run A \"<"));
        assert_eq!(MarkRequest::of_query(Some(&format!("name={}", "x".repeat(64)))), begin(&"x".repeat(64)));
        assert_eq!(MarkRequest::of_query(Some("end=7")), Ok(MarkRequest::End(7)));
        let long = format!("name={}", "x".repeat(65));
        for query in [
            None,
            Some(""),
            Some("name="),
            Some("name"),
            Some("name=%20a"),
            Some("name=a%0A"),
            Some("name=%C3%A4"),
            Some("name=%00"),
            Some(&long),
            Some("end="),
            Some("end=-1"),
            Some("end=+1"),
            Some("end=18446744073709551616"),
            Some("name=a&end=1"),
            Some("name=a&name=b"),
            Some("nmae=a"),
        ] {
            assert!(MarkRequest::of_query(query).is_err(), "{query:?}");
        }
    }
}

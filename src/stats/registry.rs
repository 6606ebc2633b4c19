//! The registry of statistics: what each is, said once. `/stats`, both text formats of `/metrics` and the export by
//! OTLP are rendered from its table; a statistic is added by a row of it.
//!
//! The number of samples is bounded by the configuration and by constants; nothing that a client sends becomes a label.

mod table;

use super::{
    Distribution, Protocol, Report,
    exposition::{Kind, Number},
    observer::Snapshot,
};
use crate::stats::ForwardStatus;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

pub(super) use table::TABLE;

/// One statistic.
pub(super) struct Statistic {
    /// Place in the document of `/stats`: names of members, with `/` between them. Empty: it is not in the document.
    pub json: &'static str,
    /// Type and name of its family in `/metrics`, at most one; none: it is in the document alone. The name is without
    /// `_total` and `_info`, and may be followed by a label in braces, where several statistics share a family. A unit
    /// is the end of the name: `_seconds`, `_bytes`.
    pub family: &'static [(Kind, &'static str)],
    /// The help text of the family, one sentence; where several statistics share a family, that of the first.
    pub help: &'static str,
    /// The source of the value.
    pub read: Read,
}

/// The owner of a statistic, and the function that reads it there.
pub(super) enum Read {
    /// The server.
    Server(for<'a> fn(&'a Snapshot<'_>) -> Reading<'a>),
    /// Each reactor: the place in the document is within its element of `reactors`; the label is `reactor`.
    Reactor(for<'a> fn(&'a Report) -> Reading<'a>),
    /// Each forward: the place is within its element of `forwards`; the label is `forward`.
    Forward(for<'a> fn(&'a ForwardStatus) -> Reading<'a>),
    /// Each protocol: the place is within its member of `protocols`; the label is `protocol`.
    Protocol(fn((&Snapshot<'_>, Protocol)) -> Reading<'static>),
}

/// The value of a statistic.
pub(super) enum Reading<'a> {
    /// A number.
    Number(Number),
    /// A condition: true or false in the document, 1 or 0 as a sample.
    Flag(bool),
    /// A part of the document; it has no samples.
    Json(Value),
    /// A value that is unavailable: null in the document, no sample.
    Absent,
    /// Several values, by the values of one label: an object in the document.
    By(&'static str, Vec<(&'static str, Reading<'a>)>),
    /// Several numbers by more than one label, given as `a="b",c="d"`; not for the document.
    Samples(Vec<(String, u64)>),
    /// A distribution since the start, and where it is known that of the last interval.
    Distribution(Unit, Cow<'a, Distribution>, Option<&'a Distribution>),
}

/// The unit of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Recorded in nanoseconds; microseconds in the document, seconds in the families.
    Times,
    /// Bytes.
    Bytes,
    /// Metrics.
    Metrics,
}

impl From<u64> for Reading<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Reading<'_> {
    fn from(number: usize) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Reading<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number.into())
    }
}

impl From<&AtomicU64> for Reading<'_> {
    fn from(counter: &AtomicU64) -> Self {
        counter.load(Ordering::Relaxed).into()
    }
}

impl From<bool> for Reading<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<&str> for Reading<'_> {
    fn from(text: &str) -> Self {
        Self::Json(json!(text))
    }
}

impl From<String> for Reading<'_> {
    fn from(text: String) -> Self {
        Self::Json(Value::String(text))
    }
}

impl From<Value> for Reading<'_> {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Reading<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

impl<'a> Reading<'a> {
    /// The values of `variants`, by their labels.
    fn by<T: Copy + 'a, R: Into<Self>>(
        label: &'static str,
        variants: &'static [T],
        name: fn(T) -> &'static str,
        value: impl Fn(T) -> R,
    ) -> Self {
        Self::By(label, variants.iter().map(|&variant| (name(variant), value(variant).into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn every_family_has_one_type_and_one_sentence_of_help() {
        let mut families = BTreeMap::new();
        for statistic in TABLE {
            let Some(&(kind, name)) = statistic.family.first() else {
                assert_eq!(statistic.help, "", "{} is in the document alone, where help is not shown", statistic.json);
                continue;
            };
            let name = name.split('{').next().unwrap();
            let help = statistic.help.trim_start();
            match families.insert(name, kind) {
                None => assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help:?}"),
                Some(before) => assert!(before == kind && help.is_empty(), "{name}: the first has the help"),
            }
            let unit = name.ends_with("_total") || name.ends_with("_info");
            assert!(!unit, "{name}: the formats add the ending");
        }
        assert!(families.len() > 100);
    }

    #[test]
    fn every_place_in_the_document_is_taken_once() {
        let mut places = BTreeSet::new();
        for Statistic { json, read, family, .. } in TABLE {
            let owner = match read {
                Read::Server(_) => "",
                Read::Reactor(_) => "reactors/",
                Read::Forward(_) => "forwards/",
                Read::Protocol(_) => "protocols/",
            };
            assert!(!json.is_empty() || !family.is_empty(), "a statistic is shown somewhere");
            assert!(json.is_empty() || places.insert(format!("{owner}{json}")), "{owner}{json} twice");
        }
        // No value is where others have an object.
        for (place, next) in places.iter().zip(places.iter().skip(1)) {
            assert!(!next.starts_with(&format!("{place}/")), "{place} and {next}");
        }
    }
}

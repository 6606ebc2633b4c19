//! Prometheus remote write: <https://prometheus.io/docs/specs/prw/remote_write_spec/> and its version 2.0. One series a
//! sample, as Prometheus' queue sends them.

use super::{exporter::Kind, scrape::Sample, wire::Writer};
use std::collections::HashMap;

/// A `prometheus.WriteRequest`. Metadata goes in requests of its own, and is left out.
pub(super) fn version_1<'a>(samples: impl Iterator<Item = Sample<'a>>) -> Vec<u8> {
    let mut request = Writer::default();
    for sample in samples {
        request.message_field(1, |series| {
            labels(&sample).for_each(|(name, value)| {
                series.message_field(1, |label| {
                    label.string_field(1, name);
                    label.string_field(2, value);
                });
            });
            series.message_field(2, |point| write_point(point, &sample));
        });
    }
    request.into_bytes()
}

/// An `io.prometheus.write.v2.Request`: each text once, in the order of its first use.
pub(super) fn version_2<'a>(samples: impl Iterator<Item = Sample<'a>>) -> Vec<u8> {
    let (mut symbols, mut all_series) = (Symbols::default(), Writer::default());
    // The first symbol is empty, and stands for no text.
    symbols.reference("");
    let mut references = Vec::new();
    for sample in samples {
        references.clear();
        for (name, value) in labels(&sample) {
            references.extend([symbols.reference(name), symbols.reference(value)]);
        }
        let help = symbols.reference(&sample.series.help);
        all_series.message_field(5, |series| {
            series.packed_field(1, &references);
            series.message_field(2, |point| write_point(point, &sample));
            series.message_field(5, |metadata| {
                metadata.varint_field(1, metric_type(sample.series.kind));
                metadata.varint_field(3, u64::from(help));
            });
        });
    }
    let mut request = Writer::default();
    symbols.texts.iter().for_each(|text| request.string_field(4, text));
    [request.into_bytes(), all_series.into_bytes()].concat()
}

/// `Metadata.MetricType` of version 2.0.
fn metric_type(kind: Kind) -> u64 {
    match kind {
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Summary => 5,
    }
}

fn write_point(point: &mut Writer, sample: &Sample<'_>) {
    point.double_field(1, sample.number.float());
    point.varint_field(2, sample.timestamp_ms.cast_unsigned());
}

/// Name and labels, sorted: `__name__` is before all names of small letters.
fn labels<'a>(sample: &Sample<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let instance = sample.instance;
    let labels = sample.series.labels.iter();
    [("__name__", sample.series.name.as_str())]
        .into_iter()
        .chain(labels.map(move |(name, value)| (*name, if *name == "instance" { instance } else { value })))
}

#[derive(Debug, Default)]
struct Symbols<'a> {
    texts: Vec<&'a str>,
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Symbols<'a> {
    fn reference(&mut self, text: &'a str) -> u32 {
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(text).or_insert_with(|| {
            self.texts.push(text);
            next
        })
    }
}

//! Remote write 1.0: `prometheus.WriteRequest`, in which each label has its texts with it.

use super::super::protobuf::Message;
use super::super::span::Span;
use super::cached::Lookup;
use super::{RemoteWrite, SAMPLES, Shape, Version, Written, message_of};
use crate::{DecodeError, LineSink, Skip};

/// Numbers of fields of `WriteRequest`.
const TIMESERIES: u32 = 1;
/// The key of a series: its number with the wire type of messages.
const TIMESERIES_KEY: u8 = 1 << 3 | 2;
const METADATA: u32 = 3;
/// Numbers of fields of `TimeSeries`.
const LABELS: u32 = 1;
const EXEMPLARS: u32 = 3;
const HISTOGRAMS: u32 = Version::V1.histograms();
/// Keys of the strings of a `Label`: their numbers, 1 and 2, with the wire type of bytes.
const NAME_KEY: u8 = 1 << 3 | 2;
const VALUE_KEY: u8 = 2 << 3 | 2;

impl RemoteWrite {
    /// Decodes a decompressed body of version 1.0 and writes what is valid in it to `sink`.
    ///
    /// # Errors
    /// If the body is malformed or exceeds a bound: nothing of it may be stored.
    pub fn decode_v1(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<Written, DecodeError> {
        if u32::try_from(body.len()).is_err() {
            return Err(DecodeError::TooLarge);
        }
        self.labels.begin_body();
        let mut written = Written::default();
        let mut request = Message::new(body);
        let mut index = 0;
        while let Some(series) = next_series(&mut request, body, sink)? {
            let lookup = self.push_cached_v1(series, sink);
            if lookup == Lookup::Stored {
                written.samples += 1;
            } else {
                let shape = self.read_v1(body, series)?;
                self.finish_series(body, shape, index, sink, &mut written)?;
            }
            if lookup == Lookup::Missed {
                self.cache_v1(series);
            }
            index += 1;
        }
        Ok(written)
    }

    /// Collects the labels of a series and looks at what else is in it.
    #[inline]
    fn read_v1<'a>(&mut self, body: &[u8], series: &'a [u8]) -> Result<Shape<'a>, DecodeError> {
        self.labels.begin_series();
        let mut shape = Shape::new(Version::V1);
        let mut fields = Message::new(series);
        loop {
            fields.skip(self.labels.take_shared(body, fields.rest()));
            let before = fields.clone();
            let Some(field) = fields.next_of(body)? else { return Ok(shape) };
            match field.number {
                LABELS => {
                    let (name, value) = label(body, message_of(body, &fields, field.content)?)?;
                    let wire = Span::at(before.offset_in(body), before.rest().len() - fields.rest().len());
                    self.labels.push(body, name, value, wire);
                }
                SAMPLES | HISTOGRAMS => shape.count_value(before, field, HISTOGRAMS),
                EXEMPLARS => {
                    message_of(body, &fields, field.content)?;
                    shape.exemplars = shape.exemplars.saturating_add(1);
                }
                _ => {}
            }
        }
    }
}

/// The next series of a request. Metadata before it is counted.
#[inline]
fn next_series<'a>(
    request: &mut Message<'a>,
    body: &'a [u8],
    sink: &mut LineSink<'_>,
) -> Result<Option<&'a [u8]>, DecodeError> {
    loop {
        if let Some(series) = request.next_with_key(TIMESERIES_KEY) {
            return Ok(Some(series));
        }
        let Some(field) = request.next_of(body)? else { return Ok(None) };
        match field.number {
            TIMESERIES => return message_of(body, request, field.content).map(Some),
            METADATA => {
                message_of(body, request, field.content)?;
                sink.skip(Skip::Metadata, 1);
            }
            _ => {}
        }
    }
}

#[inline]
fn label(body: &[u8], bytes: &[u8]) -> Result<(Span, Span), DecodeError> {
    // As every sender has them: a short name, and a short value that ends the message.
    if let [NAME_KEY, length @ 0..0x80, rest @ ..] = bytes
        && let Some((name, [VALUE_KEY, length @ 0..0x80, value @ ..])) = rest.split_at_checked(usize::from(*length))
        && value.len() == usize::from(*length)
    {
        return Ok((Span::new(body, name), Span::new(body, value)));
    }
    let mut fields = Message::new(bytes);
    let (mut name, mut value) = (Span::default(), Span::default());
    while let Some(field) = fields.next_of(body)? {
        match field.number {
            1 => name = Span::new(body, message_of(body, &fields, field.content)?),
            2 => value = Span::new(body, message_of(body, &fields, field.content)?),
            _ => {}
        }
    }
    Ok((name, value))
}

//! Remote write 2.0: `io.prometheus.write.v2.Request`, in which labels are references into a table of symbols.
//!
//! The table is read before the series wherever it is on the wire, as the order of fields is the sender's choice: where
//! symbols are found behind a series, what was decoded until then is dropped, and the body decoded once more. What a
//! body multiplies by referring to one symbol many times is bounded by the bytes reserved for its lines.

use super::super::protobuf::{Content, Message, each_varint};
use super::super::span::Span;
use super::cached::Lookup;
use super::labels::Labels;
use super::references::Symbols;
use super::{RemoteWrite, SAMPLES, Shape, Version, Written, integer_of, low_32_bits, message_of};
use crate::limits::SYMBOLS_MAX;
use crate::sink::Part;
use crate::{DecodeError, Kind, LineSink};

/// Numbers of fields of `Request`.
const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;
/// Keys of a symbol and of a series: their numbers with the wire type of strings and messages.
const SYMBOLS_KEY: u8 = 4 << 3 | 2;
const TIMESERIES_KEY: u8 = 5 << 3 | 2;
/// Numbers of fields of `TimeSeries`.
const LABELS_REFS: u32 = 1;
const HISTOGRAMS: u32 = Version::V2.histograms();
const EXEMPLARS: u32 = 4;
const METADATA: u32 = 5;

impl RemoteWrite {
    /// Decodes a decompressed body of version 2.0 and writes what is valid in it to `sink`.
    ///
    /// # Errors
    /// If the body is malformed, which includes a table of symbols that does not begin with the empty one, or exceeds a
    /// bound: nothing of it may be stored.
    pub fn decode_v2(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Result<Written, DecodeError> {
        if u32::try_from(body.len()).is_err() {
            return Err(DecodeError::TooLarge);
        }
        let then = sink.decoded();
        // The table is mostly in front of the series: then one pass is enough. Else, and for the error of a body that
        // has one, it is read from the beginning.
        if let Some(written) = self.decode_in_one_pass(body, sink) {
            return Ok(written);
        }
        sink.reset_to(then);
        self.begin_body();
        self.read_symbols(body)?;
        self.seen.begin_table(self.tables.other());
        self.decode_series(body, Message::new(body), true, sink).map(Option::unwrap_or_default)
    }

    /// Decodes a body with its table in front; `None` if it is another one, or there is an error in it.
    fn decode_in_one_pass(&mut self, body: &[u8], sink: &mut LineSink<'_>) -> Option<Written> {
        self.begin_body();
        let mut request = Message::new(body);
        self.read_front_symbols(body, &mut request).ok()?;
        let table = body.get(..request.offset_in(body))?;
        self.seen.begin_table(self.tables.find(&self.symbols, table));
        let written = self.decode_series(body, request, false, sink);
        self.tables.end_body(&self.symbols);
        written.ok().flatten()
    }

    fn begin_body(&mut self) {
        self.symbols.clear();
        self.labels.begin_body();
        self.texts.begin_body();
        self.numbered.begin_body(&mut self.texts);
    }

    /// Decodes the series that are left of `request`. `None` if there is a symbol among them and the table was not
    /// known to be whole.
    fn decode_series<'a>(
        &mut self,
        body: &'a [u8],
        mut request: Message<'a>,
        is_table_whole: bool,
        sink: &mut LineSink<'_>,
    ) -> Result<Option<Written>, DecodeError> {
        let mut written = Written::default();
        let mut index = 0;
        loop {
            let series = match request.next_part_with_key(TIMESERIES_KEY) {
                Some(series) => series,
                None => match request.next_of(body)? {
                    None => return Ok(Some(written)),
                    Some(field) if field.number == TIMESERIES => Part::of(message_of(body, &request, field.content)?),
                    Some(field) if field.number == SYMBOLS && !is_table_whole => return Ok(None),
                    Some(_) => continue,
                },
            };
            let lookup = self.push_cached_v2(body, series, sink);
            if lookup == Lookup::Stored {
                written.samples += 1;
            } else {
                let shape = self.read_v2(body, series.text())?;
                self.finish_series(body, shape, index, sink, &mut written)?;
            }
            if lookup == Lookup::Missed {
                self.cache_v2();
            }
            index += 1;
        }
    }

    /// Reads the symbols at the front of `request`.
    fn read_front_symbols(&mut self, body: &[u8], request: &mut Message<'_>) -> Result<(), DecodeError> {
        while let Some(symbol) = request.next_with_key(SYMBOLS_KEY) {
            self.push_symbol(body, symbol)?;
        }
        Ok(())
    }

    /// Reads the whole table of symbols.
    fn read_symbols(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let mut request = Message::new(body);
        loop {
            self.read_front_symbols(body, &mut request)?;
            while request.next_with_key(TIMESERIES_KEY).is_some() {}
            let Some(field) = request.next_of(body)? else { return Ok(()) };
            if field.number == SYMBOLS {
                self.push_symbol(body, message_of(body, &request, field.content)?)?;
            }
        }
    }

    #[inline]
    fn push_symbol(&mut self, body: &[u8], symbol: &[u8]) -> Result<(), DecodeError> {
        if self.symbols.len() == 0 && !symbol.is_empty() {
            let byte = Message::new(symbol).offset_in(body);
            return Err(DecodeError::Malformed { byte, text: "the first symbol is not the empty string" });
        }
        if self.symbols.len() == SYMBOLS_MAX {
            return Err(DecodeError::TooLarge);
        }
        self.symbols.push(Span::new(body, symbol));
        Ok(())
    }

    /// Collects the labels of a series and looks at what else is in it.
    #[inline]
    fn read_v2<'a>(&mut self, body: &[u8], series: &'a [u8]) -> Result<Shape<'a>, DecodeError> {
        self.labels.begin_series();
        let mut shape = Shape::new(Version::V2);
        // Of a pair of which only the name has come.
        let mut name = None;
        let mut fields = Message::new(series);
        loop {
            let before = fields.clone();
            let Some(field) = fields.next_of(body)? else { break };
            match field.number {
                LABELS_REFS => self.push_refs(body, &before, field.content, &mut name)?,
                SAMPLES | HISTOGRAMS => shape.count_value(before, field, HISTOGRAMS),
                EXEMPLARS => {
                    message_of(body, &fields, field.content)?;
                    shape.exemplars = shape.exemplars.saturating_add(1);
                }
                METADATA => {
                    shape.has_metadata = true;
                    if let Some(kind) = metadata_type(body, message_of(body, &fields, field.content)?)? {
                        shape.kind = kind;
                    }
                }
                _ => {}
            }
        }
        if name.is_some() {
            self.labels.reject("the references to labels are not pairs");
        }
        Ok(shape)
    }

    #[inline]
    fn push_refs(
        &mut self,
        body: &[u8],
        before: &Message<'_>,
        refs: Content<'_>,
        name: &mut Option<Span>,
    ) -> Result<(), DecodeError> {
        let pushed = match refs {
            Content::Bytes(pairs) if name.is_none() => self.push_pairs(body, pairs, name),
            refs => {
                let (symbols, labels) = (&self.symbols, &mut self.labels);
                each_varint(refs, |reference| {
                    let symbol = symbol(symbols, labels, reference);
                    match name.take() {
                        None => *name = Some(symbol),
                        // Not the whole of what encodes it: it is found again in no other series.
                        Some(name) => labels.push(body, name, symbol, Span::default()),
                    }
                })
            }
        };
        pushed.map_err(|text| DecodeError::Malformed { byte: before.offset_in(body), text })
    }

    /// Reads packed references. `name` is that of the last one if there is none for its value.
    #[inline]
    fn push_pairs(&mut self, body: &[u8], pairs: &[u8], name: &mut Option<Span>) -> Result<(), &'static str> {
        let (symbols, labels) = (&self.symbols, &mut self.labels);
        let mut pairs = Message::new(pairs);
        loop {
            pairs.skip(labels.take_shared(body, pairs.rest()));
            if pairs.is_empty() {
                return Ok(());
            }
            let wire = pairs.rest();
            let first = symbol(symbols, labels, pairs.varint()?);
            if pairs.is_empty() {
                *name = Some(first);
                return Ok(());
            }
            let second = symbol(symbols, labels, pairs.varint()?);
            let wire = Span::new(body, &wire[..wire.len() - pairs.rest().len()]);
            labels.push(body, first, second, wire);
        }
    }
}

/// The symbol that a label refers to. Without it, the series is rejected.
#[inline]
fn symbol(symbols: &Symbols, labels: &mut Labels, reference: u64) -> Span {
    symbols.text(low_32_bits(reference) as usize).unwrap_or_else(|| {
        labels.reject("a reference is outside of the table of symbols");
        Span::default()
    })
}

/// The type that a number stands for; `None` if it is not known.
#[inline]
pub(super) const fn kind_of(metric_type: u32) -> Option<Kind> {
    match metric_type {
        1 => Some(Kind::Counter),
        // Information and sets of states are values of 1 and 0.
        2 | 6 | 7 => Some(Kind::Gauge),
        3 | 4 => Some(Kind::Histogram),
        5 => Some(Kind::Summary),
        _ => None,
    }
}

/// The type of a series: `None` if the metadata has no such field, and `Some(None)` if it is not known.
pub(super) fn metadata_type(body: &[u8], bytes: &[u8]) -> Result<Option<Option<Kind>>, DecodeError> {
    let mut fields = Message::new(bytes);
    let mut kind = None;
    while let Some(field) = fields.next_of(body)? {
        match field.number {
            1 => {
                kind = Some(kind_of(low_32_bits(integer_of(body, &fields, field.content)?)));
            }
            // References to help and unit.
            3 | 4 => {
                integer_of(body, &fields, field.content)?;
            }
            _ => {}
        }
    }
    Ok(kind)
}

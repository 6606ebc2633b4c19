//! Bounds of buckets and quantiles: their one text in the log, the ends of exponential buckets, and the classic series
//! of a histogram.
//!
//! Clients spell the same bound differently (`1`, `1.0`, `1e0`), and as a tag each spelling would be a series of its
//! own. The text here is the one Prometheus gives `le` and `quantile`: the shortest digits that read back as the same
//! float, with `.0` behind an integer, and an exponent from 1e+06 on and below 1e-04.

use crate::{DecodeError, Kind, LineSink, Reject, Series, SeriesMark, Value};
use memchr::memchr;

/// The text of a bound.
#[derive(Debug, Clone, Copy)]
pub struct BoundText {
    bytes: [u8; Self::BYTES_MAX],
    length: usize,
}

impl Default for BoundText {
    fn default() -> Self {
        Self { bytes: [0; Self::BYTES_MAX], length: 0 }
    }
}

impl BoundText {
    /// `-2.2250738585072014e-308` has 24; the rest is spare.
    const BYTES_MAX: usize = 32;
    /// Decimal exponents with which a bound is written without one.
    const PLAIN_EXPONENTS: std::ops::Range<i32> = -4..6;

    /// The text of `bound`.
    #[must_use]
    pub fn new(bound: f64) -> Self {
        let mut text = Self::default();
        if bound.is_nan() {
            text.put(b"NaN");
        } else if bound.is_infinite() {
            text.put(if bound > 0.0 { b"+Inf" } else { b"-Inf" });
        } else if bound == 0.0 {
            text.put(b"0.0");
        } else {
            text.put_finite(bound);
        }
        text
    }

    /// Returns its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn put_finite(&mut self, bound: f64) {
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(bound.abs());
        let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

        // All digits, without the zeros around them; the first of `all` stands for 10^exponent.
        let mut all = Self::default();
        all.put(whole.as_bytes());
        all.put(fraction.as_bytes());
        let zeros = all.as_bytes().iter().take_while(|&&digit| digit == b'0').count();
        let digits = &all.as_bytes()[zeros..];
        let end = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        let digits = &digits[..end];
        let places = |count: usize| i32::try_from(count).unwrap_or(0);
        let exponent = exponent.parse::<i32>().unwrap_or(0) + places(whole.len()) - 1 - places(zeros);

        if bound < 0.0 {
            self.put(b"-");
        }
        if Self::PLAIN_EXPONENTS.contains(&exponent) {
            self.put_plain(digits, exponent);
        } else {
            self.put_scientific(digits, exponent);
        }
    }

    fn put_plain(&mut self, digits: &[u8], exponent: i32) {
        const ZEROS: &[u8] = b"00000";
        let Ok(whole) = usize::try_from(exponent + 1) else {
            self.put(b"0.");
            self.put(&ZEROS[..(exponent + 1).unsigned_abs() as usize]);
            return self.put(digits);
        };
        if whole == 0 {
            self.put(b"0.");
            self.put(digits);
        } else if digits.len() <= whole {
            self.put(digits);
            self.put(&ZEROS[..whole - digits.len()]);
            self.put(b".0");
        } else {
            self.put(&digits[..whole]);
            self.put(b".");
            self.put(&digits[whole..]);
        }
    }

    fn put_scientific(&mut self, digits: &[u8], exponent: i32) {
        let (first, rest) = digits.split_at(1);
        self.put(first);
        if !rest.is_empty() {
            self.put(b".");
            self.put(rest);
        }
        self.put(if exponent < 0 { b"e-" } else { b"e+" });
        // At most 324.
        let magnitude = exponent.unsigned_abs();
        for (power, is_optional) in [(100, true), (10, false), (1, false)] {
            if !is_optional || magnitude >= power {
                self.put(&[b'0' + u8::try_from(magnitude / power % 10).unwrap_or(0)]);
            }
        }
    }
}

/// The one text of the bound in `text`, the value of a tag `le` or `quantile`. It is `text` itself if that is so
/// spelled, or no number.
#[inline]
#[must_use]
pub fn normalise_bound<'t>(text: &'t [u8], buffer: &'t mut BoundText) -> &'t [u8] {
    if is_normal(text) || text == b"+Inf" {
        return text;
    }
    let Some(bound) = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()) else { return text };
    *buffer = BoundText::new(bound);
    buffer.as_bytes()
}

/// True for decimals that are seen to be the shortest of their float: those of at most 15 digits are.
fn is_normal(text: &[u8]) -> bool {
    let Some(point) = memchr(b'.', text) else { return false };
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    let is_plain =
        matches!(whole, [b'0'] | [b'1'..=b'9', ..]) && whole.len() <= 6 && whole.iter().all(u8::is_ascii_digit);
    let is_short = matches!(fraction, [b'0'] | [.., b'1'..=b'9'])
        && fraction.len() <= 9
        && fraction.iter().all(u8::is_ascii_digit);
    // Below 1e-04 there is an exponent.
    is_plain && is_short && !(whole == b"0" && fraction.starts_with(b"0000"))
}

/// The end of an exponential bucket: 2^(`index` × 2^-`schema`). It is the upper end of bucket `index` in Prometheus,
/// and of bucket `index` - 1 in OTLP, where `schema` is called scale.
///
/// 2^1024, which no float is, is the greatest float, so that the bucket below it keeps an end; beyond is infinity. Ends
/// that are too small for a float are 0.
#[must_use]
pub fn exponential_bound(schema: i32, index: i64) -> f64 {
    let (exponent, fraction) = if schema <= 0 {
        // Of an index beyond 4,096, or a shift by more, nothing is a float.
        (index.clamp(-4096, 4096) << schema.unsigned_abs().min(12), 0.0)
    } else {
        let shift = schema.min(62);
        #[expect(clippy::cast_precision_loss, reason = "exact up to schema 53, the nearest beyond")]
        let fraction = (index & ((1 << shift) - 1)) as f64 / (1_i64 << shift) as f64;
        (index >> shift, fraction)
    };
    match exponent {
        1024 if fraction == 0.0 => f64::MAX,
        1024.. => f64::INFINITY,
        ..-1075 => 0.0,
        // In two steps, of which only the second may round.
        -1075..-1022 => fraction.exp2() * power_of_two(-1022) * power_of_two(exponent + 1022),
        _ => fraction.exp2() * power_of_two(exponent),
    }
}

/// 2^`exponent`, which is in -1022..=1023.
fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023).cast_unsigned() & 0x7ff) << 52)
}

/// The classic series of a histogram: `_bucket` with `le` for each bound, cumulative and ascending, then `_sum` and
/// `_count`.
///
/// A bound that is not above the one before it adds its observations to that: buckets that overlap by rounding, or lie
/// within the zero bucket, stay one ascending line of bounds.
pub struct ClassicHistogram<'h, 'out> {
    sink: &'h mut LineSink<'out>,
    series: &'h mut Series,
    /// The series without any suffix.
    base: SeriesMark,
    /// The series named `_bucket`, without `le`.
    bucket: SeriesMark,
    timestamp_ms: Option<i64>,
    at: usize,
    pending: Option<(f64, Value<'static>)>,
}

impl<'h, 'out> ClassicHistogram<'h, 'out> {
    /// Lines of `series`, which is named as the histogram is. It is as before once the histogram is
    /// [finished](Self::finish).
    ///
    /// # Errors
    /// If the lines would not be fit to store, of which nothing is then written: there is no name, it gets too long, or
    /// there is no place for `le`.
    pub fn new(
        sink: &'h mut LineSink<'out>,
        series: &'h mut Series,
        timestamp_ms: Option<i64>,
        at: usize,
    ) -> Result<Self, Reject> {
        let base = series.mark();
        let tried = series.push_name(b"_bucket").map(|()| series.mark()).and_then(|bucket| {
            series.push_tag(b"le", b"-2.2250738585072014e-308")?;
            Ok(bucket)
        });
        match tried {
            Ok(bucket) => {
                series.reset_to(bucket);
                Ok(Self { sink, series, base, bucket, timestamp_ms, at, pending: None })
            }
            Err(reason) => {
                series.reset_to(base);
                Err(reason)
            }
        }
    }

    /// The observations up to `bound`.
    ///
    /// # Errors
    /// As [`LineSink::push`].
    pub fn bucket(&mut self, bound: f64, cumulative: Value<'static>) -> Result<(), DecodeError> {
        match &mut self.pending {
            Some((pending, value)) if bound <= *pending => *value = cumulative,
            pending => {
                let before = pending.replace((bound, cumulative));
                if let Some((bound, cumulative)) = before {
                    self.line(bound, cumulative)?;
                }
            }
        }
        Ok(())
    }

    /// The observations in all, and their sum if there is one.
    ///
    /// # Errors
    /// As [`LineSink::push`].
    pub fn finish(mut self, count: Value<'static>, sum: Option<Value<'static>>) -> Result<(), DecodeError> {
        if let Some((bound, cumulative)) = self.pending.take()
            && bound < f64::INFINITY
        {
            self.line(bound, cumulative)?;
        }
        self.line(f64::INFINITY, count)?;
        for (suffix, value) in [(&b"_sum"[..], sum), (b"_count", Some(count))] {
            self.series.reset_to(self.base);
            // Shorter than the suffix that was tried, or as long.
            if let Some(value) = value
                && self.series.push_name(suffix).is_ok()
            {
                self.sink.push(self.series, Kind::Histogram, value, self.timestamp_ms, self.at)?;
            }
        }
        self.series.reset_to(self.base);
        Ok(())
    }

    fn line(&mut self, bound: f64, cumulative: Value<'static>) -> Result<(), DecodeError> {
        // Tried with a text that is as long as any.
        let _ = self.series.push_bound(b"le", bound);
        let pushed = self.sink.push(self.series, Kind::Histogram, cumulative, self.timestamp_ms, self.at);
        self.series.reset_to(self.bucket);
        pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;
    use proptest::prelude::*;

    fn text(bound: f64) -> String {
        String::from_utf8(BoundText::new(bound).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn bounds_are_spelled_as_prometheus_does() {
        for (bound, expected) in [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (10.0, "10.0"),
            (0.5, "0.5"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (0.99, "0.99"),
            (2.5, "2.5"),
            (123_456.0, "123456.0"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (1e16, "1e+16"),
            (1e100, "1e+100"),
            (-2.5e-7, "-2.5e-07"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(text(bound), expected, "{bound:e}");
        }
    }

    #[test]
    fn each_spelling_of_a_bound_becomes_one() {
        for (from, to) in [
            ("1", "1.0"),
            ("1.0", "1.0"),
            ("1.00", "1.0"),
            ("01.5", "1.5"),
            ("1e0", "1.0"),
            ("+1", "1.0"),
            (".5", "0.5"),
            ("0.00001", "1e-05"),
            ("0.00000", "0.0"),
            ("1000000.0", "1e+06"),
            ("1e6", "1e+06"),
            ("+Inf", "+Inf"),
            ("Inf", "+Inf"),
            ("inf", "+Inf"),
            ("-Inf", "-Inf"),
            ("NaN", "NaN"),
            ("", ""),
            ("abc", "abc"),
            ("1.2.3", "1.2.3"),
            ("0.", "0.0"),
            (".", "."),
            ("\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(normalise_bound(from.as_bytes(), &mut BoundText::default()), to.as_bytes(), "{from}");
        }
        assert_eq!(normalise_bound(b"\xff", &mut BoundText::default()), b"\xff");
    }

    #[test]
    fn exponential_bounds_meet_across_schemas() {
        for (schema, index, bound) in [
            (0, 0, 1.0),
            (0, 1, 2.0),
            (0, -1, 0.5),
            (0, 1023, 2_f64.powi(1023)),
            (0, 1024, f64::MAX),
            (0, 1025, f64::INFINITY),
            (0, -1074, 5e-324),
            (0, -1076, 0.0),
            (1, 1, std::f64::consts::SQRT_2),
            (1, 2, 2.0),
            (1, -2, 0.5),
            (3, 8 * 1024, f64::MAX),
            (8, 256, 2.0),
            (20, 3 << 20, 8.0),
            (-1, 1, 4.0),
            (-4, 1, 65536.0),
            (-4, 64, f64::MAX),
            (-9, 2, f64::MAX),
            (-9, 3, f64::INFINITY),
            (i32::MIN, 0, 1.0),
            (i32::MIN, -1, 0.0),
            (i32::MIN, i64::MAX, f64::INFINITY),
            (i32::MAX, 0, 1.0),
        ] {
            assert_eq!(exponential_bound(schema, index), bound, "{schema} {index}");
        }
    }

    #[test]
    fn a_classic_histogram_ascends() {
        let mut out = vec![0; 4096];
        let mut sink = LineSink::new(&mut out, 0);
        let mut series = Series::new(Bounds::default());
        series.push_name(b"h").unwrap();
        let mut histogram = ClassicHistogram::new(&mut sink, &mut series, None, 0).unwrap();
        for (bound, count) in [(-1.0, 1), (0.5, 2), (0.5, 3), (0.25, 4), (1.0, 5), (f64::INFINITY, 6)] {
            histogram.bucket(bound, Value::Uint(count)).unwrap();
        }
        histogram.finish(Value::Uint(6), Some(Value::Float(0.5))).unwrap();
        assert_eq!((series.name(), series.tags()), (&b"h"[..], 0));
        let bytes = sink.decoded().bytes;
        let lines: Vec<_> = std::str::from_utf8(&out[..bytes]).unwrap().lines().map(|line| &line[48..]).collect();
        let expected = [
            r#"h_bucket","value":1,"type":"histogram","tags":{"le":"-1.0"}}"#,
            r#"h_bucket","value":4,"type":"histogram","tags":{"le":"0.5"}}"#,
            r#"h_bucket","value":5,"type":"histogram","tags":{"le":"1.0"}}"#,
            r#"h_bucket","value":6,"type":"histogram","tags":{"le":"+Inf"}}"#,
            r#"h_sum","value":0.5,"type":"histogram","tags":{}}"#,
            r#"h_count","value":6,"type":"histogram","tags":{}}"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_classic_histogram_has_a_place_for_le() {
        let mut out = vec![0; 1024];
        let mut sink = LineSink::new(&mut out, 0);
        let mut series = Series::new(Bounds { tags_limit: 1, name_bytes_limit: 8, ..Bounds::default() });
        series.push_name(b"h").unwrap();
        let base = series.mark();
        series.push_tag(b"k", b"v").unwrap();
        assert_eq!(ClassicHistogram::new(&mut sink, &mut series, None, 0).err(), Some(Reject::Tags));
        series.reset_to(base);
        series.push_tag(b"le", b"v").unwrap();
        assert_eq!(ClassicHistogram::new(&mut sink, &mut series, None, 0).err(), Some(Reject::Tags));
        series.reset_to(base);
        assert!(ClassicHistogram::new(&mut sink, &mut series, None, 0).is_ok());
        series.reset_to(base);
        series.push_name(b"h").unwrap();
        assert_eq!(ClassicHistogram::new(&mut sink, &mut series, None, 0).err(), Some(Reject::Name));
        assert_eq!(series.name(), b"hh");
    }

    proptest! {
        #[test]
        fn a_bound_reads_back_as_itself(bits: u64) {
            let bound = f64::from_bits(bits);
            prop_assume!(bound.is_finite() && bound != 0.0);
            prop_assert_eq!(text(bound).parse::<f64>().unwrap().to_bits(), bits);
            prop_assert!(text(bound).contains(['.', 'e']));
        }

        #[test]
        fn a_bound_is_normalised_by_its_value(text in "[+-]?[0-9]{0,7}\\.?[0-9]{0,6}(e[+-]?[0-9])?") {
            let mut buffer = BoundText::default();
            let normal = normalise_bound(text.as_bytes(), &mut buffer);
            match text.parse() {
                Ok(bound) => {
                    let expected = BoundText::new(bound);
                    prop_assert_eq!(normal, expected.as_bytes());
                }
                Err(_) => prop_assert_eq!(normal, text.as_bytes()),
            }
        }

        #[test]
        fn exponential_bounds_ascend(schema in -9..=52, index in -300_000_i64..300_000) {
            prop_assert!(exponential_bound(schema, index) <= exponential_bound(schema, index + 1));
        }

        #[test]
        fn no_exponential_bound_panics(schema: i32, index: i64) {
            prop_assert!(exponential_bound(schema, index) >= 0.0);
        }
    }
}

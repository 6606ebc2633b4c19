use super::*;
use crate::Line;

fn lines(write: impl FnOnce(&mut LineSink<'_>, &mut Series)) -> (Vec<String>, Decoded) {
    let mut out = vec![0; 4096];
    let mut sink = LineSink::new(&mut out, 1_767_323_045_678);
    write(&mut sink, &mut Series::new(Bounds::default()));
    let decoded = sink.decoded();
    let text = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    (text.lines().map(str::to_owned).collect(), decoded)
}

#[test]
fn a_sample_is_a_line_of_the_log() {
    let (lines, decoded) = lines(|sink, series| {
        series.push_name(b"cpu").unwrap();
        series.push_name(b"_total").unwrap();
        series.push_tag(b"host", b"a\"b\\\n\x01\xc3\xa9").unwrap();
        series.push_tag(b"empty", b"").unwrap();
        sink.push(series, Kind::Counter, Value::Float(0.1), Some(0), 0).unwrap();
        sink.push(series, Kind::Untyped, Value::Uint(u64::MAX), None, 1).unwrap();
    });
    assert_eq!(
        lines,
        [
            r#"{"timestamp":"1970-01-01T00:00:00.000Z","name":"cpu_total","value":0.1,"type":"counter","tags":{"host":"a\"b\\\n\u0001é","empty":""}}"#,
            r#"{"timestamp":"2026-01-02T03:04:05.678Z","name":"cpu_total","value":18446744073709551615,"type":"untyped","tags":{"host":"a\"b\\\n\u0001é","empty":""}}"#,
        ]
    );
    assert_eq!((decoded.metrics, decoded.far_from_now, decoded.rejected()), (2, 1, 0));
    assert!(lines.iter().all(|line| Line::parse(line.as_bytes()).is_ok()));
}

#[test]
fn the_last_value_of_a_tag_counts() {
    let (lines, _) = lines(|sink, series| {
        series.push_name(b"m").unwrap();
        for (key, value) in [(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"a", b"4"), (b"c", b"5")] {
            series.set_tag(key, value).unwrap();
        }
        assert_eq!(series.push_tag(b"b", b"x"), Err(Reject::Tags));
        sink.push(series, Kind::Gauge, Value::Int(i64::MIN), None, 0).unwrap();
    });
    assert!(lines[0].ends_with(r#""value":-9223372036854775808,"type":"gauge","tags":{"b":"2","a":"4","c":"5"}}"#));
}

#[test]
fn a_bound_has_one_spelling_however_its_tag_is_set() {
    let spelled = |set: &dyn Fn(&mut Series)| {
        let mut series = Series::new(Bounds::default());
        set(&mut series);
        String::from_utf8(series.tags.to_vec()).unwrap()
    };
    for (key, from, to) in [("le", "1", "1.0"), ("quantile", "0.50", "0.5"), ("le", "x\"", "x\\\""), ("lE", "1", "1")] {
        let (key, value) = (key.as_bytes(), from.as_bytes());
        let expected = format!(r#""{}":"{to}""#, String::from_utf8_lossy(key));
        assert_eq!(spelled(&|series| series.push_tag(key, value).unwrap()), expected);
        assert_eq!(spelled(&|series| series.push_unique_tag(key, value).unwrap()), expected);
        assert_eq!(spelled(&|series| series.set_tag(key, value).unwrap()), expected);
        assert_eq!(spelled(&|series| assert_eq!(series.push_tag_over(key, value), Ok(None))), expected);
    }
    let replaced = spelled(&|series| {
        series.push_tag(b"le", b"0.5").unwrap();
        series.push_tag(b"z", b"1").unwrap();
        assert!(series.replace_value(0, b"1e6") && series.replace_value(1, b"1e6"));
    });
    assert_eq!(replaced, r#""le":"1e+06","z":"1e6""#);
    assert_eq!(spelled(&|series| series.push_bound(b"le", f64::INFINITY).unwrap()), r#""le":"+Inf""#);
}

#[test]
fn a_mark_takes_the_suffix_and_the_bucket_back() {
    let (lines, _) = lines(|sink, series| {
        series.push_name(b"m").unwrap();
        let base = series.mark();
        series.push_name(b"_bucket").unwrap();
        series.push_tag(b"le", b"1.0").unwrap();
        sink.push(series, Kind::Histogram, Value::Uint(1), None, 0).unwrap();
        series.reset_to(base);
        sink.push(series, Kind::Histogram, Value::Stale, None, 0).unwrap();
    });
    assert!(lines[0].contains(r#""m_bucket""#) && lines[0].ends_with(r#"{"le":"1.0"}}"#));
    assert!(
        lines[1].contains(r#""name":"m","value":"NaN","stale":true,"type":"histogram","tags":{}}"#),
        "{}",
        lines[1]
    );
}

#[test]
fn a_metric_that_cannot_be_stored_is_rejected() {
    let (lines, decoded) = lines(|sink, series| {
        assert_eq!(series.push_name(&[b'n'; 256]), Err(Reject::Name));
        assert_eq!(series.push_name(b"\xff"), Err(Reject::Name));
        sink.push(series, Kind::Gauge, Value::Int(1), None, 6).unwrap();
        series.push_name(b"m").unwrap();
        assert_eq!(series.push_tag(b"k", b"\xff"), Err(Reject::Tags));
        for index in 0..128 {
            series.push_tag(format!("k{index}").as_bytes(), b"v").unwrap();
        }
        assert_eq!(series.push_tag(b"one more", b"v"), Err(Reject::Tags));
        sink.push(series, Kind::Gauge, Value::Int(1), Some(i64::MAX), 7).unwrap();
        sink.reject(Reject::Tags, 2, 9).unwrap();
    });
    assert!(lines.is_empty());
    assert_eq!(decoded.rejected(), 4);
    assert_eq!(decoded.first_rejected, Some(Rejected::new(Reject::Name, 6)));
}

#[test]
fn the_reserved_bytes_and_the_count_are_bounds() {
    let mut series = Series::new(Bounds::default());
    series.push_name(b"m").unwrap();
    let mut out = vec![0; 300];
    let mut sink = LineSink::new(&mut out, 0);
    let pushed =
        (0..10).take_while(|_| sink.push(&series, Kind::Gauge, Value::Float(f64::MIN), None, 0).is_ok()).count();
    assert_eq!((pushed, sink.decoded().metrics), (2, 2));
    assert_eq!(sink.push(&series, Kind::Gauge, Value::Int(1), None, 0), Err(DecodeError::TooLarge));
    assert_eq!(sink.reject(Reject::Name, 100_000, 0), Err(DecodeError::TooManyMetrics));
    assert_eq!(sink.reject(Reject::Name, 99_998, 0), Ok(()));
    assert_eq!(sink.reject(Reject::Name, 1, 0), Err(DecodeError::TooManyMetrics));
}

#[test]
fn a_rejected_element_is_found_in_its_body() {
    let body = b"a\nbad line\n";
    let first = Rejected { text: "missing fields", offset: 2, len: 8, ..Rejected::new(Reject::Syntax, 2) };
    let (_, decoded) = lines(|sink, _| {
        sink.reject_as(3, first).unwrap();
        sink.reject(Reject::Name, 1, 3).unwrap();
    });
    assert_eq!((decoded.first_rejected, decoded.rejected()), (Some(first), 4));
    assert_eq!(first.element(body), Some(&b"bad line"[..]));
    assert_eq!((first.element(b"short"), Rejected::new(Reject::Name, 3).element(body)), (None, None));
    assert_eq!(Rejected { len: usize::MAX, ..first }.element(body), None);
}

//! Requests over a bound are refused by name, and requests below it are evaluated.

use super::{log::Metric, *};

fn refused(log: &Log, parameters: &str, bounds: Bounds) -> Refusal {
    let request = Request::parse(Kind::Query, parameters, 10_000_000).unwrap();
    run(&request, &Source::directory(log.path()), bounds, &limits(2)).unwrap_err()
}

fn over(log: &Log, parameters: &str, bounds: Bounds, part: &str) {
    let refusal = refused(log, parameters, bounds);
    assert!(matches!(&refusal, Refusal::OverBound(what) if what.contains(part)), "{parameters}: {refusal:?}");
}

fn many(series: usize) -> Vec<Metric> {
    let metric = |number: usize| {
        let host = format!("host{number:06}");
        Metric::new(i64::try_from(number).unwrap(), "n", &number.to_string(), &[("host", &host)])
    };
    (0..series).map(metric).collect()
}

#[test]
fn each_bound_is_named() {
    let log = Log::new(&many(2_000), &[(700, log::Lies::Indexed), (700, log::Lies::Compressed)]);
    let bounds = Bounds::default();
    let range = "name=n&from=0&to=10000";
    over(&log, &format!("{range}&by=host"), Bounds { series_limit: 1_999, ..bounds }, "more than 1999 series");
    over(&log, &format!("{range}&step=1ms"), Bounds { points_limit: 1_999, ..bounds }, "more than 1999 points");
    over(&log, &format!("{range}&agg=raw"), Bounds { points_limit: 1_999, ..bounds }, "more than 1999 points");
    over(
        &log,
        &format!("{range}&agg=p50"),
        Bounds { held_bytes_limit: 4_000, ..bounds },
        "more than 4000 bytes of memory",
    );
    over(
        &log,
        &format!("{range}&agg=rate"),
        Bounds { held_bytes_limit: 100_000, ..bounds },
        "more than 100000 bytes of memory",
    );
    over(
        &log,
        &format!("{range}&by=*"),
        Bounds { held_bytes_limit: 100_000, ..bounds },
        "more than 100000 bytes of memory",
    );
    over(&log, range, Bounds { scanned_bytes_limit: 1_000, ..bounds }, "more than 1000 bytes of the log");
    // Just at them.
    for (parameters, bounds) in [
        ("&by=host", Bounds { series_limit: 2_000, points_limit: 2_000, ..bounds }),
        ("&step=1ms", Bounds { series_limit: 1, points_limit: 2_000, ..bounds }),
        ("&agg=raw", Bounds { points_limit: 2_000, ..bounds }),
        // The latest of each do not have to be held.
        ("&agg=raw&points=1&by=nothing", Bounds { points_limit: 1, ..bounds }),
    ] {
        let request = Request::parse(Kind::Query, &format!("{range}{parameters}"), 10_000_000).unwrap();
        assert!(run(&request, &Source::directory(log.path()), bounds, &limits(2)).is_ok(), "{parameters}");
    }
}

#[test]
fn a_deadline_and_a_cancellation_end_it() {
    let log = Log::new(&many(10), &[]);
    let request = Request::parse(Kind::Query, "name=n&from=0&to=10000", 10_000_000).unwrap();
    let source = Source::directory(log.path());
    let late = ExecLimits { deadline: Instant::now(), ..limits(1) };
    assert_eq!(run(&request, &source, Bounds::default(), &late).unwrap_err(), Refusal::Deadline);
    let cancelled = AtomicBool::new(true);
    let limits = ExecLimits { cancel: &cancelled, ..limits(1) };
    assert_eq!(run(&request, &source, Bounds::default(), &limits).unwrap_err(), Refusal::Cancelled);
}

#[test]
fn a_table_has_so_many_columns() {
    let keys: Vec<_> = (0..=crate::limits::QUERY_COLUMNS_MAX).map(|number| format!("key{number}")).collect();
    let metrics: Vec<_> = keys.iter().map(|key| Metric::new(0, "n", "1", &[(key, "v")])).collect();
    let result = |metrics: &[Metric]| ask(&Log::new(metrics, &[]), Kind::Series, "from=0&to=1", 1).unwrap();
    let rendered = |metrics: &[Metric], format| {
        crate::Rendering::new(result(metrics), format, crate::limits::QUERY_COLUMNS_MAX, &|| Ok(())).map(drop)
    };
    assert_eq!(rendered(&metrics[1..], Format::Csv), Ok(()));
    assert_eq!(rendered(&metrics, Format::Json), Ok(()));
    let Err(Refusal::OverBound(what)) = rendered(&metrics, Format::Csv) else { panic!("taken") };
    assert!(what.contains("1024 tag keys"), "{what}");
}

/// Names by an expression, values by another: each text is long, the states are many, and the deadline is looked at
/// within.
#[test]
fn an_expression_does_not_outlive_the_deadline() {
    let text: String =
        (0..20_000_u32).map(|at| if at.wrapping_mul(2_654_435_761) >> 13 & 1 == 1 { '1' } else { '0' }).collect();
    let metrics: Vec<_> =
        (0..40).map(|number| Metric::new(0, &format!("n{number}{text}"), "1", &[("v", &text)])).collect();
    for lies in [log::Lies::Plain, log::Lies::Indexed, log::Lies::Compressed] {
        let log = Log::new(&metrics, &[(20, lies)]);
        for parameters in ["name=~.*[01]*1[01]{3400}2", "name=~.*&tag.v=~[01]*1[01]{3400}2"] {
            let request = Request::parse(Kind::Query, &format!("{parameters}&from=0&to=1"), 10_000_000).unwrap();
            let soon = ExecLimits { deadline: Instant::now() + Duration::from_millis(100), ..limits(2) };
            let refused = run(&request, &Source::directory(log.path()), Bounds::default(), &soon);
            // All of it would take minutes.
            assert_eq!(refused.unwrap_err(), Refusal::Deadline, "{parameters}");
        }
    }
}

#[test]
fn a_hundred_thousand_series_are_answered() {
    let log = Log::new(&many(100_000), &[(50_000, log::Lies::Indexed)]);
    for (kind, parameters) in [
        (Kind::Query, "name=n&agg=last&by=host&from=0&to=1000000"),
        (Kind::Query, "name=n&agg=avg&by=*&from=0&to=1000000"),
        (Kind::Query, "name=n&agg=raw&from=0&to=1000000"),
        (Kind::Series, "from=0&to=1000000"),
        (Kind::TagValues("host".into()), "from=0&to=1000000"),
    ] {
        let result = ask(&log, kind, parameters, 2).unwrap();
        assert_eq!(result.series.len(), 100_000, "{parameters}");
        let mut longest = 0;
        result
            .write_to(Format::Json, |piece| {
                longest = longest.max(piece.len());
                Ok::<_, std::convert::Infallible>(())
            })
            .unwrap();
        assert!(longest < 2 * crate::limits::QUERY_PIECE_BYTES, "it comes in pieces");
    }
    let rates = ask(&log, Kind::Query, "name=n&agg=rate&from=0&to=1000000", 2).unwrap();
    assert!(rates.series.is_empty(), "one value of each series has no rate");
}

#[test]
fn writing_ends_with_the_first_error() {
    let log = Log::new(&many(10_000), &[]);
    let result = ask(&log, Kind::Query, "name=n&agg=raw&from=0&to=1000000", 1).unwrap();
    for format in [Format::Json, Format::Csv, Format::JsonLines] {
        let mut pieces = 0;
        let gone = result.write_to(format, |_| {
            pieces += 1;
            if pieces == 2 { Err("gone") } else { Ok(()) }
        });
        assert_eq!((gone, pieces), (Err("gone"), 2));
    }
}

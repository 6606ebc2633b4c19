use super::{forms::percent, *};
use crate::load::{Arrival, Begun, Ending, Failure, Observed, Tally};
use serde_json::{Value, json};

fn plan(more: &str) -> Plan {
    crate::load::parse("load_test 8080 10 100 -t 1 ".split_whitespace().chain(more.split_whitespace())).unwrap()
}

fn ended(tally: Tally) -> Outcome {
    Outcome {
        tally,
        interrupted: false,
        nothing_listens: false,
        too_many_errors: false,
        began_s: 0.0,
        observed: Observed::default(),
        logged: None,
    }
}

fn at(now_ns: u64) -> Arrival {
    Arrival { now_ns, first_ns: None, steady: true }
}

/// Two seconds with a thousand successes of 1 to 1,000 us, twice as slow from their intended start in an open loop.
fn outcome(open_loop: bool) -> Outcome {
    let mut tally = Tally::new(0, None, open_loop);
    let ahead = u64::from(open_loop);
    for latency_us in 1..=1000 {
        let (now_ns, took_ns) = (latency_us * 2_000_000, latency_us * 1000);
        let start_ns = now_ns - took_ns;
        tally.add_response(200, 3, Begun { intended_ns: start_ns - ahead * took_ns, start_ns }, at(now_ns));
    }
    tally.add_response(429, 3, Begun { intended_ns: 0, start_ns: 0 }, at(1_000_000));
    tally.failed(Failure::Reset, 1, true);
    tally.span.sent(4_000_000);
    tally.span.reach(2_000_000_000, true);
    tally.span.close(2_000_000_000, Ending::Count);
    (tally.elapsed_ns, tally.cpu_ns, tally.bytes) = (2_000_000_000, 5_010_000, 4_000_000);
    tally.scheduled = ahead * 2000;
    ended(tally)
}

#[test]
fn both_forms_show_the_same_figures() {
    let (plan, outcome) = (plan(""), outcome(false));
    let shown = Report::new(&plan, Chosen::Epoll, &outcome);
    let report = shown.json();
    assert_eq!((&report["requests"], &report["successes"]), (&json!(1002), &json!(1000)));
    assert_eq!(report["statuses"], json!({"200": 1000, "429": 1}));
    assert_eq!(report["errors"]["reset"], 1);
    assert_eq!(report["requests_per_second"], 500.0);
    assert_eq!(report["metrics_per_second"], 1500.0);
    assert_eq!(report["megabytes_per_second"], 2.0);
    assert_eq!(report["cpu_us_per_request"], 5.0);
    assert_eq!(
        (&report["model"], &report["target_rate"], &report["latency_raw_us"]),
        (&json!("closed"), &Value::Null, &Value::Null)
    );
    let p99 = report["latency_us"]["p99"].as_f64().unwrap();
    assert!((989.0..=991.0).contains(&p99), "{p99}");
    let text = shown.text();
    for part in [
        "1000 (99.800 %)",
        "429  1",
        "reset  1",
        "500 requests/s",
        "1500 metrics/s",
        "2.00 MB/s",
        "5.00 us/request",
        "closed loop",
        "p99.99",
    ] {
        assert!(text.contains(part), "{part} is in\n{text}");
    }
}

#[test]
fn an_open_loop_shows_corrected_and_raw() {
    let (plan, mut outcome) = (plan("--rate 1000"), outcome(true));
    (outcome.tally.late, outcome.tally.missed) = (17, 4);
    outcome.tally.scheduled -= 4;
    let shown = Report::new(&plan, Chosen::IoUring, &outcome);
    let report = shown.json();
    assert_eq!(
        (&report["model"], &report["target_rate"], &report["achieved_percent"]),
        (&json!("open"), &json!(1000.0), &json!(50.0))
    );
    let p50 = |which: &str| report[which]["p50"].as_f64().unwrap();
    assert!(
        (999.0..=1001.0).contains(&p50("latency_us")) && (499.0..=501.0).contains(&p50("latency_raw_us")),
        "{report}"
    );
    assert_eq!((&report["late_sends"], &report["missed_sends"]), (&json!(17), &json!(4)));
    let text = shown.text();
    for part in [
        "open loop",
        "of 1000 (50.00 %: 1000 of 2000 sends)",
        "corrected",
        "raw",
        "17 by more than 1 ms, 4 missed",
        "4 sends still waiting",
    ] {
        assert!(text.contains(part), "{part} is in\n{text}");
    }
}

#[test]
fn the_load_says_when_it_is_the_limit_itself() {
    let (plan, mut outcome) = (plan("--rate 1000"), outcome(true));
    let remarks = |outcome: &Outcome| Report::new(&plan, Chosen::IoUring, outcome).remarks;
    assert_eq!(remarks(&outcome), [""; 0]);
    outcome.tally.busiest = 0.95;
    assert!(remarks(&outcome)[0].contains("load_test, not the server, may be the limit: one of its threads ran 95 %"));
    outcome.tally.starved = 0.2;
    outcome.tally.late_by_itself = 2;
    assert!(remarks(&outcome)[1].contains("kept waiting for its core 20 %"));
    assert!(remarks(&outcome)[2].contains("2 sends were late although a client was free"));
}

#[test]
fn the_course_has_a_row_for_each_interval() {
    let (plan, outcome) = (plan(""), outcome(false));
    let csv = Report::new(&plan, Chosen::Epoll, &outcome).csv();
    let rows: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|line| line.split(',').map(|field| field.parse().unwrap_or(0.0)).collect()).collect();
    assert_eq!(rows.iter().map(|row| row[2]).sum::<f64>(), 1002.0, "{csv}");
    assert_eq!(rows.iter().map(|row| row[3]).sum::<f64>(), 1000.0);
    assert!(rows.iter().all(|row| row.len() == csv.lines().next().unwrap().split(',').count()));
    assert_eq!(rows[5][..5], [0.5, 0.1, 50.0, 50.0, 500.0]);
}

#[test]
fn the_distribution_has_the_form_of_hdrhistogram() {
    let (plan, outcome) = (plan("--rate 1000"), outcome(true));
    let text = Report::new(&plan, Chosen::Epoll, &outcome).hgrm();
    let rows: Vec<Vec<f64>> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
        .collect();
    assert!(text.starts_with("          Value     Percentile TotalCount 1/(1-Percentile)\n\n"), "{text}");
    for row in &rows[..rows.len() - 1] {
        assert!(row.len() == 4 && (row[3] - 1.0 / (1.0 - row[1])).abs() < 0.01 * row[3], "{row:?}");
    }
    assert!(rows.is_sorted_by(|one, next| one[0] <= next[0] && one[1] <= next[1] && one[2] <= next[2]));
    assert_eq!(rows.last().unwrap()[1..], [1.0, 1000.0]);
    let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
    assert!((median[0] - 1.0).abs() < 0.01, "milliseconds: {median:?}");
    assert!(text.contains("Total count    =         1000") && text.contains("#[raw p50 = 0.5"), "{text}");
}

#[test]
fn the_distribution_tells_single_microseconds_apart() {
    let mut tally = Tally::new(0, None, false);
    (1..=100).for_each(|us| tally.add_response(200, 1, Begun { intended_ns: 0, start_ns: 0 }, at(us * 1000)));
    tally.add_response(200, 1, Begun { intended_ns: 0, start_ns: 0 }, at(1_001_000));
    tally.add_response(200, 1, Begun { intended_ns: 0, start_ns: 0 }, at(1_002_000));
    let (plan, outcome) = (plan(""), ended(tally));
    let text = Report::new(&plan, Chosen::Epoll, &outcome).hgrm();
    let rows: Vec<(f64, f64, u64)> = text
        .lines()
        .skip(2)
        .take_while(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split_whitespace();
            let mut number = || fields.next().unwrap().parse().unwrap();
            let (millis, quantile) = (number(), number());
            (millis, quantile, fields.next().unwrap().parse().unwrap())
        })
        .collect();
    for (millis, quantile, count) in &rows {
        // Up to a value stand as many requests as it has microseconds; of the last two, a thousandth can be seen.
        let wanted_us = if *count <= 100 { *count as f64 } else { 900.0 + *count as f64 };
        assert!((millis * 1000.0 - wanted_us).abs() <= 0.001 * wanted_us, "{millis} at {quantile}: {count}");
        assert!(*count as f64 >= (quantile * 102.0).floor(), "{quantile}: {count}");
    }
    assert_eq!((rows[0].0, rows.last().unwrap().2), (0.001, 102), "no value is rounded to 0.00 ms");
    assert!(rows.windows(2).filter(|pair| pair[0].2 < pair[1].2).all(|pair| pair[0].0 < pair[1].0), "{text}");
}

#[test]
fn the_figures_can_be_drawn() {
    let (plan, outcome) = (plan("--rate 1000"), outcome(true));
    let file = tempfile::NamedTempFile::new().unwrap();
    crate::load::draw(&Report::new(&plan, Chosen::Epoll, &outcome), file.path()).unwrap();
    let svg = std::fs::read_to_string(file.path()).unwrap();
    for part in [
        "<svg",
        "99.9 %",
        "corrected",
        "raw",
        "p99",
        "max",
        "percentile",
        "latency",
        "seconds since",
        "Responses and errors over time",
        "per second",
        "errors",
        "</svg>",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("no response with 2xx"), "every interval had one");
}

#[test]
fn a_failing_run_has_a_picture_too() {
    let plan = plan("");
    let file = tempfile::NamedTempFile::new().unwrap();
    let drawn = |outcome: &Outcome| {
        crate::load::draw(&Report::new(&plan, Chosen::Epoll, outcome), file.path()).unwrap();
        std::fs::read_to_string(file.path()).unwrap()
    };
    let mut failing = ended(Tally::new(0, None, false));
    failing.tally.failed(Failure::Reset, 50_000_000, true);
    failing.tally.elapsed_ns = 100_000_000;
    for outcome in [&failing, &ended(Tally::new(0, None, false))] {
        let svg = drawn(outcome);
        assert!(svg.contains("no request succeeded") && svg.contains("errors") && svg.contains("</svg>"), "{svg}");
    }
    crate::load::draw_message(file.path(), "a & b", "nothing <listens>").unwrap();
    let svg = std::fs::read_to_string(file.path()).unwrap();
    assert!(svg.contains("a &amp; b") && svg.contains("nothing &lt;listens&gt;"), "{svg}");
}

#[test]
fn an_outage_is_a_gap_in_the_picture() {
    let (plan, mut outcome) = (plan(""), outcome(false));
    outcome.tally.add_response(
        200,
        3,
        Begun { intended_ns: 4_000_000_000, start_ns: 4_000_000_000 },
        at(4_100_000_000),
    );
    outcome.tally.elapsed_ns = 4_200_000_000;
    let file = tempfile::NamedTempFile::new().unwrap();
    crate::load::draw(&Report::new(&plan, Chosen::Epoll, &outcome), file.path()).unwrap();
    assert!(std::fs::read_to_string(file.path()).unwrap().contains("no response with 2xx"));
}

#[test]
fn a_hundred_percent_is_never_rounded_up_to() {
    assert_eq!(percent(100.0), "100");
    assert_eq!(percent(99.999_99), "99.999");
}

#[test]
fn what_was_not_measured_is_null_and_a_dash() {
    let nothing = Outcome { interrupted: true, ..ended(Tally::new(0, None, true)) };
    let plan = plan("--rate 1000");
    let shown = Report::new(&plan, Chosen::Epoll, &nothing);
    let report = shown.json();
    for pointer in [
        "/requests_per_second",
        "/metrics_per_second",
        "/megabytes_per_second",
        "/success_percent",
        "/achieved_percent",
        "/cpu_us_per_request",
        "/cpu_cores",
        "/latency_us/p50",
        "/latency_us/max",
        "/latency_raw_us/min",
        "/connect_us/mean",
        "/first_byte_us/p99",
    ] {
        assert_eq!(report.pointer(pointer), Some(&Value::Null), "{pointer}");
    }
    assert_eq!(shown.csv().lines().count(), 1);
    let text = shown.text();
    for line in ["0 (- %)", "throughput  - requests/s of 1000 (- %: 0 of 0 sends)", "- metrics/s", "p99              -"]
    {
        assert!(text.contains(line), "{line} is in\n{text}");
    }
    assert!(!text.contains("0.0 us"), "{text}");
    let hgrm = shown.hgrm();
    assert!(hgrm.contains("Total count    =            0") && hgrm.contains("[raw p50 = -]"), "{hgrm}");
}

#[test]
fn an_interval_without_success_has_no_latency() {
    let (plan, mut outcome) = (plan(""), outcome(false));
    outcome.tally.failed(Failure::Timeout, 3_050_000_000, true);
    outcome.tally.elapsed_ns = 3_100_000_000;
    let shown = Report::new(&plan, Chosen::Epoll, &outcome);
    let report = shown.json();
    let row = report["intervals"].as_array().unwrap().last().unwrap();
    assert_eq!((&row["p50_us"], &row["failures"], &row["whole"]), (&Value::Null, &json!(1), &json!(false)));
    assert!(shown.csv().trim_end().ends_with("1,0,0.0,,,,,"), "{}", shown.csv());
}

#[test]
fn no_share_is_over_a_hundred_percent() {
    // At 3 a second two sends fall into half a second, which makes 4 a second: all that were scheduled, and no more.
    let plan = plan("--rate 3");
    let mut tally = Tally::new(0, Some(500_000_000), true);
    (0..2).for_each(|_| tally.add_response(200, 3, Begun { intended_ns: 0, start_ns: 0 }, at(400_000_000)));
    (tally.scheduled, tally.elapsed_ns) = (2, 500_000_000);
    tally.span.close(500_000_000, Ending::Time);
    let outcome = ended(tally);
    let text = Report::new(&plan, Chosen::Epoll, &outcome).text();
    assert!(text.contains("4 requests/s of 3 (100.00 %: 2 of 2 sends)"), "{text}");
}

#[test]
fn a_hung_request_is_named_and_leaves_the_rate_alone() {
    let (plan, mut outcome) = (plan(""), outcome(false));
    let before = Report::new(&plan, Chosen::Epoll, &outcome).json()["requests_per_second"].clone();
    outcome.tally.failed(Failure::Timeout, 12_000_000_000, true);
    outcome.tally.elapsed_ns = 12_000_000_000;
    let report = Report::new(&plan, Chosen::Epoll, &outcome).json();
    assert_eq!((&report["requests_per_second"], &report["measured_s"]), (&before, &json!(2.0)));
    assert!(report["remarks"].to_string().contains("1 requests hung"), "{report}");
}

#[test]
fn prometheus_gets_what_was_measured_and_nothing_else() {
    let (plan, outcome) = (plan(""), outcome(false));
    let text = Report::new(&plan, Chosen::Epoll, &outcome).prometheus();
    for line in [
        "load_test_responses{status=\"200\"} 1000",
        "load_test_errors{reason=\"reset\"} 1",
        "load_test_requests_per_second 500",
        "load_test_measured_seconds 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is in\n{text}");
    }
    assert!(text.contains("load_test_latency_seconds{quantile=\"0.99\"} 0.00"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("load_test_") && value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
    }
    let nothing = ended(Tally::new(0, None, false));
    let text = Report::new(&plan, Chosen::Epoll, &nothing).prometheus();
    assert!(!text.contains("quantile") && !text.contains("NaN"), "{text}");
}

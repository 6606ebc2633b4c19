use super::*;

/// A report whose intervals have `rate`, a hundredth of that as latencies, and so much CPU.
fn report(rate: f64, server_cpu_us: f64) -> Value {
    let rows: Vec<_> = (0..12)
        .map(|_| {
            json!({"whole": true, "requests_per_second": rate, "cpu_us_per_request": 4.0, "p50_us": rate / 100.0,
                   "p99_us": rate / 10.0})
        })
        .collect();
    json!({
        "form": FORM, "interrupted": false, "setup": {"clients": 64, "path": "/metrics"}, "host": {"name": "a"},
        "load_test": {"version": "1"}, "began_unix_s": rate, "success_percent": 100.0, "requests_per_second": rate,
        "starved_thread_percent": 1.0, "server_starved_percent": 1.0, "other_cores": 0.05, "host_cores": 4,
        "cpu_us_per_request": 4.0, "latency_us": {"p50": rate / 100.0, "p99": rate / 10.0}, "intervals": rows,
        "server_cpu_us_per_request": server_cpu_us, "server_cpu_us_intervals": vec![server_cpu_us; 12],
    })
}

fn three(rate: f64, server_cpu_us: f64) -> Vec<Value> {
    [0.995, 1.0, 1.005].map(|by| report(rate * by, server_cpu_us * by)).to_vec()
}

fn compared(before: &[Value], now: &[Value]) -> (Vec<Change>, Vec<String>) {
    let runs = |reports: &[Value]| reports.iter().map(Run::new).collect();
    let (last, with) = now.split_last().unwrap();
    Baseline { before: runs(before), with: runs(with) }.compare(Some(Run::new(last)))
}

fn verdicts(before: &[Value], now: &[Value]) -> Vec<String> {
    compared(before, now).0.iter().map(|change| change.verdict.to_string()).collect()
}

const NOISE: &str = "no difference beyond noise";
const STARVED: &str = "no verdict: something else had the cores";

#[test]
fn each_figure_has_its_word() {
    let (less, more) = (three(1000.0, 5.0), three(1200.0, 5.5));
    assert_eq!(verdicts(&less, &more), ["faster", "slower", "slower", "more", NOISE]);
    assert_eq!(verdicts(&more, &less), ["slower", "faster", "faster", "less", NOISE]);
    assert_eq!(verdicts(&less, &less), [NOISE; 5]);
    let worse =
        |before: &[Value], now: &[Value]| compared(before, now).0.iter().map(Change::is_worse).collect::<Vec<_>>();
    assert_eq!(worse(&less, &more), [false, true, true, true, false]);
    assert_eq!(worse(&more, &less), [true, false, false, false, false]);
}

#[test]
fn one_run_each_gives_no_verdict() {
    let (changes, _) = compared(&[report(1000.0, 5.0)], &[report(1200.0, 5.5)]);
    assert!(changes[..4].iter().all(Change::is_undecided) && !changes.iter().any(Change::is_worse), "{changes:?}");
    assert_eq!(
        verdicts(&[report(1000.0, 5.0)], &[report(4000.0, 5.0)])[..2],
        ["faster", "slower"],
        "out of proportion"
    );
}

#[test]
fn a_starved_run_is_not_judged() {
    let (less, mut more) = (three(1000.0, 5.0), three(2000.0, 6.0));
    // By the server, which shares the cores: that does not touch its CPU time.
    more.iter_mut().for_each(|report| report["starved_thread_percent"] = json!(30.0));
    assert_eq!(verdicts(&less, &more), [STARVED, STARVED, STARVED, "more", STARVED]);
    // By something else.
    more.iter_mut().for_each(|report| report["other_cores"] = json!(0.5));
    assert_eq!(verdicts(&less, &more), [STARVED; 5]);
    // By who knows what.
    more.iter_mut().for_each(|report| report["other_cores"] = Value::Null);
    assert_eq!(verdicts(&less, &more), [STARVED; 5]);
    let mut busy = three(2000.0, 6.0);
    busy.iter_mut().for_each(|report| report["other_cores"] = json!(1.0));
    let (changes, remarks) = compared(&less, &busy);
    assert!(changes.iter().all(|change| change.verdict == Verdict::Starved), "{changes:?}");
    assert!(remarks[0].contains("something else had the cores during this run"), "{remarks:?}");
}

#[test]
fn a_starved_run_is_left_out_beside_good_ones() {
    let (less, mut more) = (three(1000.0, 5.0), three(1000.0, 5.0));
    more.push(report(9000.0, 50.0));
    more[3]["other_cores"] = json!(3.0);
    let (changes, _) = compared(&less, &more);
    assert!(changes.iter().all(|change| change.runs == (3, 3) && change.verdict == Verdict::Noise), "{changes:?}");
}

#[test]
fn failing_runs_are_not_judged() {
    let mut failing = three(2000.0, 6.0);
    failing[1]["success_percent"] = json!(98.0);
    let (changes, remarks) = compared(&three(1000.0, 5.0), &failing);
    assert!(changes.iter().all(|change| change.verdict == Verdict::Failing));
    assert!(remarks.iter().any(|remark| remark.contains("only 98 % succeeded")), "{remarks:?}");
}

#[test]
fn a_figure_of_one_side_is_not_compared() {
    let mut unknown = three(1000.0, 5.0);
    unknown.iter_mut().for_each(|report| report["server_cpu_us_per_request"] = Value::Null);
    let (changes, _) = compared(&three(1000.0, 5.0), &unknown);
    assert!(changes.len() == 4 && changes.iter().all(|change| change.figure.name != "server CPU"));
}

#[test]
fn what_is_not_comparable_is_refused() {
    let base = Run::new(&report(1000.0, 5.0));
    let baseline = Baseline { before: vec![base.clone()], with: vec![] };
    assert_eq!(baseline.check(&base.workload, &base.host), Ok(()));
    let refused = baseline.check(&json!({"clients": 500, "path": "/metrics", "batch": 3}), &json!({"name": "b"}));
    let refused = refused.unwrap_err();
    for part in ["clients 64 there, 500 here", "batch null there, 3 here", "host name \"a\" there, \"b\" here"] {
        assert!(refused.contains(part), "{part} is in {refused}");
    }
}

#[test]
fn runs_that_were_not_made_in_turns_are_remarked() {
    let (_, remarks) = compared(&three(1000.0, 5.0), &three(1200.0, 5.0));
    assert!(remarks.iter().any(|remark| remark.contains("not made in turns")), "{remarks:?}");
    let (_, remarks) = compared(&three(1000.0, 5.0), &three(1000.0, 5.0));
    assert_eq!(remarks, [""; 0]);
    let mut other = three(1000.0, 5.0);
    other[0]["load_test"] = json!({"version": "2"});
    assert!(compared(&three(1000.0, 5.0), &other).1[0].contains("same build"));
}

#[test]
fn a_file_that_is_no_report_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let paths = [file.path().to_owned()];
    let mut interrupted = report(1.0, 1.0);
    interrupted["interrupted"] = json!(true);
    for (text, says) in [
        (String::new(), "not JSON"),
        ("[]".to_owned(), "not a report"),
        ("{\"latency_us\":1}".to_owned(), "not a report"),
        ("{\"latency_us\":{},\"intervals\":[]}".to_owned(), "another version"),
        (interrupted.to_string(), "interrupted"),
    ] {
        fs::write(file.path(), text).unwrap();
        let refused = Baseline::read(&paths, &[]).unwrap_err();
        assert!(refused.contains(says) && refused.contains(&*file.path().to_string_lossy()), "{refused}");
    }
    fs::write(file.path(), report(1.0, 1.0).to_string()).unwrap();
    assert!(Baseline::read(&paths, &paths).is_ok());
    let other = tempfile::NamedTempFile::new().unwrap();
    let mut unlike = report(1.0, 1.0);
    unlike["setup"]["clients"] = json!(1);
    fs::write(other.path(), unlike.to_string()).unwrap();
    assert!(Baseline::read(&paths, &[other.path().to_owned()]).unwrap_err().contains("clients 1 there, 64 here"));
}

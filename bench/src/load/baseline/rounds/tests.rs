use super::*;
use testkit::random::Random;

/// Factors by which the host slows both slices of a pair: it drifts, and it jumps between two speeds.
fn host(pair: u32) -> f64 {
    let jump = if (pair / 7).is_multiple_of(2) { 1.0 } else { 1.7 };
    jump * (1.0 + 0.01 * f64::from(pair % 13))
}

/// Scatter of a slice by itself, of some per cent to both sides; the same for the same number.
fn scatter(slice: u32) -> f64 {
    let number = u32::try_from(Random::new(u64::from(slice)).number() % 2001).unwrap();
    1.0 + 0.03 * (f64::from(number) / 1000.0 - 1.0)
}

fn slice(server_cpu_us: f64, own_cpu_us: f64) -> Value {
    json!({
        "form": FORM, "load_test": {"version": "1"}, "host": {"name": "a"}, "setup": {"clients": 64},
        "began_unix_s": 1.0, "requests_per_second": 1e6 / server_cpu_us, "latency_us": {"p50": 64.0 * server_cpu_us,
        "p99": 90.0 * server_cpu_us}, "server_cpu_us_per_request": server_cpu_us, "cpu_us_per_request": own_cpu_us,
        "success_percent": 100.0, "starved_thread_percent": 1.0, "server_starved_percent": 1.0, "other_cores": 0.05,
        "host_cores": 2,
    })
}

/// A round of so many pairs: the host's speed changes all figures of a pair, and the second server costs by a factor
/// more CPU time of its own, and of the load.
fn round(number: u32, pairs: u32, server: f64, own: f64) -> Vec<[Value; 2]> {
    (0..pairs)
        .map(|pair| {
            let (at, host) = (1000 * number + pair, host(pair + 3 * number));
            let one = |side: u32, server: f64, own: f64| {
                let noise = scatter(2 * at + side);
                slice(5.0 * host * noise * server, 4.0 * host * noise * own)
            };
            [one(0, 1.0, 1.0), one(1, server, own)]
        })
        .collect()
}

fn three(server: f64, own: f64) -> Vec<Vec<[Value; 2]>> {
    (0..3).map(|number| round(number, 20, server, own)).collect()
}

fn verdicts(rounds: &[Vec<[Value; 2]>]) -> Vec<String> {
    let rounds = Rounds(rounds.iter().map(|round| Round::of(round).unwrap()).collect());
    rounds.compare(None).0.iter().map(|change| change.verdict.to_string()).collect()
}

const NOISE: &str = "no difference beyond noise";
const STARVED: &str = "no verdict: something else had the cores";
const SHORT: &str = "no verdict: too few intervals, run longer";

#[test]
fn the_same_server_twice_on_a_host_that_drifts_is_no_change() {
    assert_eq!(verdicts(&three(1.0, 1.0)), [NOISE; 5]);
}

#[test]
fn a_tenth_more_is_found_on_a_host_that_drifts() {
    assert_eq!(verdicts(&three(1.1, 1.0))[3..], ["more", NOISE]);
    assert_eq!(verdicts(&three(1.0 / 1.1, 1.0))[3..], ["less", NOISE]);
    assert_eq!(verdicts(&three(1.2, 1.0)), ["slower", "slower", "slower", "more", NOISE]);
    assert_eq!(verdicts(&three(1.0 / 1.2, 1.0)), ["faster", "faster", "faster", "less", NOISE]);
}

#[test]
fn what_the_load_costs_more_is_its_own_figure() {
    assert_eq!(verdicts(&three(1.0, 1.2)), [NOISE, NOISE, NOISE, NOISE, "more"]);
}

#[test]
fn rounds_that_differ_in_direction_are_no_change() {
    let mut rounds = three(1.1, 1.0);
    rounds[1] = round(1, 20, 1.0 / 1.1, 1.0);
    assert_eq!(verdicts(&rounds), [NOISE; 5]);
}

#[test]
fn a_single_round_claims_twice_the_floor_only() {
    assert_eq!(verdicts(&[round(0, 40, 1.04, 1.0)])[3], NOISE);
    assert_eq!(verdicts(&[round(0, 40, 1.15, 1.0)])[3], "more");
    assert_eq!(verdicts(&three(1.04, 1.0))[3], "more");
}

#[test]
fn disturbed_slices_are_left_out_and_a_disturbed_round_not_judged() {
    let mut rounds = three(1.0, 1.0);
    for pair in rounds[0].iter_mut().take(9) {
        pair[1] = slice(50.0, 50.0);
        pair[1]["other_cores"] = json!(1.0);
    }
    assert_eq!(verdicts(&rounds), [NOISE; 5]);
    for pair in rounds[0].iter_mut().skip(9).take(3) {
        pair[0]["other_cores"] = json!(1.0);
    }
    assert_eq!(verdicts(&rounds), [STARVED; 5]);
    let (_, remarks) = Rounds(vec![Round::of(&rounds[0]).unwrap()]).compare(None);
    assert!(remarks[0].contains("12 of 20 pairs") && remarks[1].contains("--round"), "{remarks:?}");
}

#[test]
fn a_slice_without_a_response_is_no_failure() {
    let mut rounds = three(1.1, 1.0);
    rounds[0][3][1]["success_percent"] = Value::Null;
    assert_eq!(verdicts(&rounds)[3], "more");
    rounds[0][3][1]["success_percent"] = json!(50.0);
    assert!(verdicts(&rounds)[3].contains("too many requests failed"));
}

#[test]
fn too_few_pairs_give_no_verdict() {
    assert_eq!(verdicts(&[round(0, 15, 2.0, 1.0)]), [SHORT; 5]);
    assert!(Round::of(&[]).is_none());
}

#[test]
fn the_interval_of_a_median_covers_what_the_sign_test_says() {
    let all: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(interval(&all[..15]), None);
    assert_eq!(interval(&all[..16]), Some((1.0, 16.0)));
    // Of 60 values fewer than 18 are below the median once in 2,000 times; to the safe side, 17.
    assert_eq!(interval(&all[..60]), Some((17.0, 44.0)));
}

#[test]
fn a_stored_round_is_read_as_it_was() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let made = Round::of(&round(0, 20, 1.2, 1.0)).unwrap();
    let (changes, remarks) = Rounds::default().compare(Some(&made));
    fs::write(&path, made.json(&changes, &remarks).to_string()).unwrap();
    let read = Rounds::read(&[path.clone(), path.clone()]).unwrap();
    assert_eq!((read.0[1].slices.len(), &read.0[1].origin), (20, &made.origin));
    let again = Rounds::default().compare(Some(&read.0[1])).0;
    let shown = |changes: &[Change]| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&again), shown(&changes));
    let unlike = read.check(&json!({"clients": 1}), &json!({"name": "a"})).unwrap_err();
    assert!(unlike.contains("clients 64 there, 1 here"), "{unlike}");
    for (text, says) in [
        ("{}", "not a report of load_test --against"),
        (r#"{"setup":{},"slices":[],"form":1}"#, "another version"),
        (r#"{"setup":{},"slices":[[{}]],"form":2}"#, "no partner"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = Rounds::read(std::slice::from_ref(&path)).unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
}

//! The shape of an open loop: stages, and arrivals at random.

use crate::harness::{DRIVERS, Floor, program, reported, responding};
use serde_json::{Value, json};

#[test]
fn stages_make_every_send_of_their_area() {
    for driver in DRIVERS {
        let floor = Floor::start(driver);
        // A ramp from 0, a level, a jump, and down to nothing: 100 + 200 + 120 + 60.
        let stages = "200ms:1000,200ms:1000,0s:600,200ms:600,200ms:0";
        let (report, status) = reported(floor.port, &format!("8 --stages {stages} -t 2 --driver {driver}"));
        // The last sends may still wait for a free client when the time is over, on a busy machine.
        let missed = report["missed_sends"].as_u64().unwrap();
        let sent = json!(480 - missed);
        assert_eq!((status, &report["requests"]), (i32::from(missed > 0), &sent), "{report}");
        assert_eq!(report["successes"], sent, "{report}");
        let all = report["stages"].as_array().unwrap();
        let fields = |name: &str| all.iter().map(|stage| stage[name].clone()).collect::<Value>();
        assert_eq!(fields("sends"), json!([100, 200, 120, 60]), "{report}");
        for stage in all {
            let of = |name: &str| stage[name].as_u64().unwrap();
            assert_eq!(of("successes") + of("missed_sends"), of("sends"), "{report}");
        }
        assert_eq!(fields("rate_wanted"), json!([500.0, 1000.0, 600.0, 300.0]));
        assert_eq!(
            (fields("rate_from"), fields("rate_to")),
            (json!([0.0, 1000.0, 600.0, 600.0]), json!([1000.0, 1000.0, 600.0, 0.0]))
        );
        assert!(missed > 0 || fields("success_percent") == json!([100.0, 100.0, 100.0, 100.0]), "{report}");
        for stage in all {
            assert!(stage["requests_per_second"].as_f64().unwrap() > 0.0, "{stage}");
            assert!(stage["latency_us"]["p50"].as_f64().unwrap() <= stage["latency_us"]["max"].as_f64().unwrap());
        }
        assert_eq!(
            (&report["measured_s"], &report["model"], &report["target_rate"]),
            (&json!(0.8), &json!("open"), &Value::Null)
        );
    }
}

#[test]
fn a_stage_shows_its_own_failures() {
    let busy = responding("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let (report, status) = reported(busy, "4 --stages 0s:100,100ms:100,0s:200,100ms:200");
    assert_eq!(
        (status, &report["stages"][0]["requests"], &report["stages"][1]["requests"]),
        (1, &json!(10), &json!(20))
    );
    for stage in report["stages"].as_array().unwrap() {
        assert_eq!((&stage["success_percent"], &stage["requests_per_second"]), (&json!(0.0), &json!(0.0)), "{stage}");
        assert_eq!(stage["latency_us"]["p50"], Value::Null, "there was none");
    }
}

#[test]
fn each_form_of_the_report_has_the_stages() {
    let floor = Floor::start("auto");
    let directory = tempfile::tempdir().unwrap();
    let plot = directory.path().join("run.svg");
    let of = |format: &str| {
        let mut command = program();
        command.args([&floor.port.to_string(), "4", "--stages", "0s:500,100ms:500,100ms:1500", "--format", format]);
        let output = command.arg("--plot").arg(&plot).output().unwrap();
        // 1 where a busy machine did not make each send in time.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = of("text");
    for part in [
        "stages      seconds",
        "wanted/s",
        "reached/s",
        "0 to 0.1",
        "500 to 1500",
        "500/s in 0.1 s, 500 to 1500/s in 0.1 s",
    ] {
        assert!(text.contains(part), "{part} is in\n{text}");
    }
    let text = of("prometheus");
    for part in [
        "load_test_stage_rate_wanted{stage=\"2\"} 1000",
        "load_test_stage_latency_seconds{stage=\"1\",quantile=\"0.5\"}",
    ] {
        assert!(text.contains(part), "{part} is in\n{text}");
    }
    assert!(std::fs::read_to_string(&plot).unwrap().contains("wanted rate"));
}

#[test]
fn poisson_arrivals_make_the_same_sends_for_the_same_seed() {
    let floor = Floor::start("auto");
    // Code 1 is a run on a busy machine that did not make each send in time: it is made again.
    let sends = |arguments: &str| {
        let runs = (0..20).map(|_| reported(floor.port, &format!("8 {arguments} --arrivals poisson")));
        let (report, _) =
            runs.inspect(|(_, status)| assert!(matches!(status, 0 | 1))).find(|&(_, status)| status == 0).unwrap();
        assert_eq!((&report["requests"], &report["arrivals"]), (&report["successes"], &json!("poisson")), "{report}");
        report["requests"].as_u64().unwrap()
    };
    let one = sends("-d 300ms --rate 1000 --seed 3");
    assert_eq!(one, sends("-d 300ms --rate 1000 --seed 3 -t 2"));
    // 300 arrivals scatter by 17.
    assert!((200..400).contains(&one), "{one}");
    assert_eq!(sends("25 -w 50ms --rate 2000"), 200, "by count");
    assert!(sends("--stages 0s:1000,200ms:1000") > 100);
}

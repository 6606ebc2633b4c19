//! The decoders agree on what is timed, and the program shows all of them.

use metricstream_bench::decoders;
use serde_json::Value;
use std::process::Command;

#[test]
fn structs_and_our_decoders_read_the_same_metrics() {
    for mut case in decoders::cases(1, None) {
        decoders::compare(&mut case).unwrap();
        assert_eq!(case.decoders[0].name, decoders::OURS);
    }
}

#[test]
fn a_decoder_that_reads_something_else_is_found() {
    let mut case = decoders::cases(1, None).remove(0);
    let mut other = decoders::cases(2, None).remove(0);
    // The last decoder reads another body than the one it is given.
    let (mut liar, body) = (other.decoders.remove(2), other.bodies.remove(1));
    case.decoders[2].decode = Box::new(move |_, out| (liar.decode)(&body, out));
    let message = decoders::compare(&mut case).unwrap_err();
    assert!(message.contains("prost, lines") && message.contains("is not"), "{message}");
}

#[test]
fn the_smoke_run_shows_a_line_for_each_protocol() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_benchmark_decoders")).args(["--smoke", "--format", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|line| line["protocol"].as_str().unwrap()).collect();
    assert_eq!(names, decoders::cases(1, None).iter().map(|case| case.name).collect::<Vec<_>>());
    for row in lines.iter().flat_map(|line| line["decoders"].as_array().unwrap()) {
        assert!(row["ns_per_metric"].as_f64().unwrap() > 0.0 && row["gb_per_s"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn passes_without_times_say_what_one_reads_and_writes() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_benchmark_decoders")).args(arguments).output().unwrap();
    let output = run(&["--protocol", "remote write 2.0", "--decode", "2", "--decoder", "prost, lines"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.starts_with(b"remote write 2.0: 16000 metrics, "), "{output:?}");
    let output = run(&["--protocol", "remote write 2.0, four real scrapes", "--decode", "1"]);
    assert!(output.stdout.starts_with(b"remote write 2.0, four real scrapes: 16224 metrics, "), "{output:?}");
    assert_eq!(run(&["--decode", "1", "--decoder", "mine"]).status.code(), Some(1));
}

//! Every command with a standard output or a standard error that takes nothing, and with a terminal: what it exits
//! with, and what it lets through.
#![expect(clippy::unwrap_used, reason = "in the server unwrap() is a way to stop it; here it is an assertion")]

use std::{
    fs::{self, OpenOptions},
    io::{Read, pipe},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;
use testkit::{process::terminal, server::program};

fn metricstream(arguments: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_metricstream"));
    command.args(arguments);
    command
}

fn full_device() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn left_by_its_reader() -> Stdio {
    pipe().unwrap().1.into()
}

/// The exit code; a signal is none.
fn code(mut command: Command, stdout: Stdio, stderr: Stdio) -> i32 {
    let status = command.stdout(stdout).stderr(stderr).status().unwrap();
    status.code().unwrap_or_else(|| panic!("{command:?}: signal {:?}", status.signal()))
}

/// Runs the command with standard output as given; returns its exit code and its standard error.
fn said(mut command: Command, stdout: Stdio) -> (Option<i32>, String) {
    let output = command.stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

const NAME: &str = r"\u001b]0;t\u0007";

/// A log with one name of which every character does something to a terminal, or looks like a formula.
fn log() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let line = |name: &str| {
        format!(
            "{{\"timestamp\":\"2026-01-02T03:04:05.000Z\",\"name\":\"{name}\",\"value\":-5,\"type\":\"gauge\",\"tags\":{{\"k\":\"\u{9b}31m\u{202e}\"}}}}\n"
        )
    };
    let lines = [line(&format!("{NAME}\u{7f}\u{200b}")), line("=1+1")].concat();
    fs::write(directory.path().join("metrics.jsonl"), lines).unwrap();
    directory
}

const RANGE: &str = "from=2026-01-02T03:04:00Z&to=2026-01-02T04:00:00Z";

#[test]
fn exit_codes_survive_a_broken_standard_error() {
    let log = log();
    let path = log.path().to_str().unwrap();
    for (arguments, expected) in [
        (&["--help"][..], 0),
        (&["--version"], 0),
        (&["--speed", "9"], 2),
        (&["man", "nothing"], 2),
        (&["completions", "sh"], 2),
        (&["verify", "/nonexistent"], 2),
        (&["verify", path], 0),
        (&["query", "nme=x", path], 2),
        (&["query", &format!("name==1%2B1&{RANGE}"), path], 0),
        (&["query", "name=nothing", path, "--format", "table"], 0),
        (&["forwards", "--data-dir", path], 0),
        (&["forwards", "--data-dir", "/nonexistent"], 2),
        (&["--cores", "900"], 2),
    ] {
        for stderr in [full_device(), left_by_its_reader()] {
            assert_eq!(code(metricstream(arguments), Stdio::null(), stderr), expected, "{arguments:?}");
        }
    }
}

/// A report that cannot be written is a failure with one line; a reader that has left is none, and the verdict stays
/// what it is.
#[test]
fn exit_codes_with_a_broken_standard_output() {
    let sound = log();
    let damaged = tempfile::tempdir().unwrap();
    fs::write(damaged.path().join("metrics.jsonl"), "no line of ours\n").unwrap();
    let (sound, damaged) = (sound.path().to_str().unwrap(), damaged.path().to_str().unwrap());
    let query = format!("name=~.*&agg=raw&{RANGE}");
    for (arguments, full, left) in [
        (&["--help"][..], 1, 0),
        (&["--version"], 1, 0),
        (&["man"], 1, 0),
        (&["completions", "bash"], 1, 0),
        (&["verify", sound], 2, 0),
        (&["verify", sound, "--json"], 2, 0),
        (&["verify", damaged], 2, 1),
        (&["query", &query, sound], 1, 0),
        (&["query", &query, sound, "--format", "table"], 1, 0),
        (&["forwards", "--data-dir", sound], 2, 0),
        (&["forwards", "--data-dir", sound, "--format", "json"], 2, 0),
    ] {
        let (code, err) = said(metricstream(arguments), full_device());
        assert_eq!((code, err.lines().count()), (Some(full), 1), "{arguments:?}: {err}");
        assert!(err.starts_with("metricstream: cannot "), "{err}");
        let (code, err) = said(metricstream(arguments), left_by_its_reader());
        assert_eq!((code, err.as_str()), (Some(left), ""), "{arguments:?}");
    }
    let doctor = |stdout| said(metricstream(&["doctor", "--data-dir", sound]), stdout);
    let (verdict, _) = doctor(Stdio::null());
    assert_eq!(doctor(left_by_its_reader()), (verdict, String::new()));
    let (code, err) = doctor(full_device());
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
}

/// Standard output and standard error in files that may not grow (`ulimit -f 0`): the write fails, and no signal ends
/// the command.
#[test]
fn exit_codes_survive_a_limit_of_file_sizes() {
    let log = log();
    let path = log.path().to_str().unwrap();
    let query = format!("name=~.*&agg=raw&{RANGE}");
    for (arguments, expected) in [
        (&["--help"][..], 1),
        (&["man"], 1),
        (&["verify", path], 2),
        (&["query", &query, path], 1),
        (&["forwards", "--data-dir", path], 2),
        (&["--speed", "9"], 2),
        (&["--data-dir", path, "--listen", "127.0.0.1:0", "--cores", "900"], 2),
    ] {
        let [out, err] = [(); 2].map(|()| Stdio::from(tempfile::tempfile().unwrap()));
        let command = metricstream(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -f 0; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
        assert_eq!(code(shell, out, err), expected, "{arguments:?}");
    }
}

/// Runs a command on a terminal and returns what it prints.
fn shown(arguments: &[&str]) -> String {
    let (mut shown, written) = terminal().unwrap();
    let mut command = metricstream(arguments);
    command.stdout(written.try_clone().unwrap()).stderr(written);
    let mut child = command.spawn().unwrap();
    // It has the writing ends too.
    drop(command);
    let mut bytes = Vec::new();
    // Ends with EIO (pty(7)).
    let _ = shown.read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Apart from line ends, and the sequences by which this program sets colours and erases its progress.
fn is_harmless(text: &str) -> bool {
    let own = regex::Regex::new("\r\x1b\\[K|\x1b\\[[0-9;]*m|\r\n").unwrap();
    let odd = regex::Regex::new(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]").unwrap();
    !odd.is_match(&own.replace_all(text, ""))
}

#[test]
fn every_form_on_a_terminal_is_harmless() {
    let log = log();
    let path = log.path().to_str().unwrap();
    let points = format!("name=~.*&agg=raw&{RANGE}");
    for form in ["table", "chart", "svg", "json", "jsonl", "csv"] {
        let text = shown(&["query", &points, path, "--format", form]);
        assert!(text.contains("1+1") && is_harmless(&text), "{form}: {text:?}");
    }
    for (kind, form) in
        [("names", "json"), ("names", "csv"), ("tags/k", "jsonl"), ("tags/k", "table"), ("series", "json")]
    {
        let text = shown(&["query", RANGE, path, "--path", kind, "--format", form]);
        assert!(text.contains("31m") || text.contains("1+1"), "{kind} {form}: {text:?}");
        assert!(is_harmless(&text), "{kind} {form}: {text:?}");
    }
}

#[test]
fn reports_and_refusals_on_a_terminal_are_harmless() {
    let parent = tempfile::tempdir().unwrap();
    let odd = parent.path().join("a\u{1b}[31m\u{202e}\nb\u{9b}");
    fs::create_dir(&odd).unwrap();
    fs::write(odd.join("metrics.jsonl"), b"garbage\x1b[31m\n").unwrap();
    let path = odd.to_str().unwrap();
    for arguments in [
        &["verify", path][..],
        &["verify", path, "--json"],
        &["verify", &format!("{path}/nothing")],
        &["query", "name=x", &format!("{path}/nothing")],
        &["query", "na\u{1b}[31mme=x", path],
        &["--acks\u{1b}[31m\u{202e}", "x"],
        &["doctor", "--data-dir", path],
        &["doctor", "--json", "--data-dir", path],
        &["man", "\u{1b}[31m\u{9b}"],
    ] {
        let text = shown(arguments);
        assert!(!text.is_empty() && is_harmless(&text), "{arguments:?}: {text:?}");
        assert!(!text.contains("\x1b[31m"), "{arguments:?}: {text:?}");
    }
}

/// Away from a terminal, JSON has no control character that JSON lets stand raw, and means the same; CSV has no
/// formula.
#[test]
fn output_to_a_pipe_is_exact_and_has_no_raw_controls() {
    let log = log();
    let query = |arguments: &[&str]| {
        let output = metricstream(&[&["query"], arguments, &[log.path().to_str().unwrap()]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = query(&[&format!("name=~.*&agg=raw&{RANGE}")]);
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    assert_eq!(document["series"][0]["tags"]["k"], "\u{9b}31m\u{202e}");
    assert_eq!(document["series"][1]["name"], "\u{1b}]0;t\u{7}\u{7f}\u{200b}");
    let output = metricstream(&["query", &format!("name=~.*&agg=raw&{RANGE}")])
        .arg(log.path())
        .args(["--format", "csv"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("'=1+1,") && line.ends_with(",-5")), "{text:?}");
}

/// An empty variable, one that there is none of, and a bad value are refused by name, by each command that reads a
/// configuration.
#[test]
fn variables_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], name: &str, value: &str, part: &str| {
        let mut command = metricstream(arguments);
        command.env(name, value);
        let (code, err) = said(command, Stdio::null());
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{arguments:?} {name}={value}: {err}");
        assert!(err.contains(name) && err.contains(part), "{name}={value}: {err}");
    };
    let path = directory.path().to_str().unwrap();
    let commands = [
        &["serve", "--data-dir", path][..],
        &["doctor", "--data-dir", path],
        &["verify", path],
        &["query", "name=x", path],
        &["forwards", "--data-dir", path],
    ];
    for arguments in commands {
        refused(arguments, "METRICSTREAM_DATA_DRI", "/x", "did you mean METRICSTREAM_DATA_DIR?");
        refused(arguments, "METRICSTREAM_ACK", "", "is empty");
    }
    for (name, value, part) in [
        ("METRICSTREAM_STATS_INTERVAL", "", "is empty"),
        ("METRICSTREAM_API_KEYS", "", "is empty"),
        ("METRICSTREAM_STATS_INTERVAL", "ten", "expected a time"),
        ("METRICSTREAM_ACK", "disk", "invalid value 'disk'"),
        ("METRICSTREAM_LOG", "debgu", "expected one of off, error, warn, info"),
    ] {
        refused(&["serve", "--data-dir", path], name, value, part);
    }
    let mut helped = metricstream(&["--help"]);
    helped.env("METRICSTREAM_DATA_DRI", "/x");
    assert_eq!(said(helped, Stdio::null()), (Some(0), String::new()));
    let mut linked = metricstream(&["verify", path]);
    linked.envs([("METRICSTREAM_PORT", "tcp://10.0.0.1:8080"), ("METRICSTREAM_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(said(linked, Stdio::null()), (Some(0), String::new()));
}

/// A file of keys that is none, or not only its owner's and its group's, is refused, and never waited for.
#[test]
fn a_key_file_is_refused_in_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let refusal = |keys: &Path| {
        let mut command = metricstream(&["--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(directory.path().join("data")).arg("--api-keys").arg(keys);
        let (code, err) = said(command, Stdio::null());
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
        err
    };
    assert!(refusal(&fifo).contains("it is not a regular file"));
    assert!(refusal(directory.path()).contains("it is not a regular file"));
    fs::write(&file, "secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refusal(&file).contains("chmod g-wx,o-rwx "));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    for text in ["", "# none\n", "sec\x07ret\n", "s\u{e9}cret\n", "Bearer secret\n"] {
        fs::write(&file, text).unwrap();
        let err = refusal(&file);
        assert!(err.contains("keys") && !err.contains("sec") && !err.contains('\x07'), "{err}");
    }
}

/// Too little address space, or data, is one line at the start, never an abort: at each size it either listens or says
/// why not.
#[test]
fn too_little_address_space_is_one_line() {
    let space = [90_000, 130_000, 200_000, 300_000, 500_000].map(|kilobytes| ("-v", kilobytes));
    let data = [20_000, 60_000, 100_000, 150_000].map(|kilobytes| ("-d", kilobytes));
    for (flag, kilobytes) in space.into_iter().chain(data) {
        let directory = tempfile::tempdir().unwrap();
        let server = metricstream(&["--listen", "127.0.0.1:0", "--reactors", "1", "--data-dir"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {flag} {kilobytes}; exec \"$@\""), "sh"]);
        shell.arg(server.get_program()).args(server.get_args()).arg(directory.path()).stdin(Stdio::null());
        let (code, err) = said(shell, Stdio::null());
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{flag} {kilobytes}: {err}");
        let is_named = err.contains("the limit of ") && err.contains(&format!("(ulimit {flag}, RLIMIT_"));
        assert!(is_named, "{flag} {kilobytes}: {err}");
    }
}

/// A small stack is used as far as its hard limit lets it grow, and else refused in one line.
#[test]
fn too_small_a_stack_is_one_line() {
    let under = |limit: &str, arguments: &[&str]| {
        let command = metricstream(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
        shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        said(shell, Stdio::null())
    };
    let directory = log();
    let directory = directory.path().to_str().unwrap();
    for arguments in [&["verify", directory][..], &["query", "name=a", directory], &["--help"], &["--ack", "disk"]] {
        let (code, err) = under("-s 64", arguments);
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{arguments:?}: {err}");
        assert!(err.contains("the stack (ulimit -s, RLIMIT_STACK) is 64 KiB"), "{err}");
        let code_without = under("-s 8192", arguments).0;
        assert_eq!(under("-S -s 64", arguments).0, code_without, "{arguments:?}");
    }
}

/// The cursor of a forward, as the server writes it.
fn cursor(directory: &Path, name: &str, position: &str) {
    let text = format!("metricstream forward 1\nposition {position}\n");
    let crc32 = crc32fast::hash(text.as_bytes());
    fs::write(directory.join(format!("forward-{name}.state")), format!("{text}crc32 {crc32:08x}\n")).unwrap();
}

/// Exit code, standard output and standard error of `metricstream forwards`.
fn forwards(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = metricstream(&["forwards", "--data-dir"]);
    let output = command.arg(directory).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A log of a sealed segment and an active one, of two lines each, and the bytes of one line.
fn log_of_two_segments() -> (TempDir, u64) {
    let directory = tempfile::tempdir().unwrap();
    let line = |second: u32| {
        let time = format!("2026-01-02T03:04:0{second}.000Z");
        format!("{{\"timestamp\":\"{time}\",\"name\":\"a\",\"value\":1,\"type\":\"gauge\",\"tags\":{{}}}}\n")
    };
    let file = |name: &str, lines: [u32; 2]| fs::write(directory.path().join(name), lines.map(line).concat()).unwrap();
    file("metrics-20260102T030405.678Z.jsonl", [1, 2]);
    file("metrics.jsonl", [3, 4]);
    (directory, line(1).len() as u64)
}

#[test]
fn forwards_are_listed_with_what_is_behind() {
    let (directory, line) = log_of_two_segments();
    let path = directory.path();
    let (code, out, _) = forwards(path, &[]);
    assert_eq!((code, out.as_str()), (Some(0), "no forward has a cursor in this directory\n"));
    cursor(path, "a", "first:0");
    cursor(path, "b", &format!("after-20260102T030405.678Z:{line}"));
    cursor(path, "c", &format!("after-20260102T030405.678Z:{}", 2 * line));
    fs::write(path.join("forward-\u{9b}31m.state"), "not ours").unwrap();
    let (code, out, err) = forwards(path, &["--format", "json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let field = |forward: usize, name: &str| report["forwards"][forward][name].clone();
    assert_eq!(report["forwards"].as_array().unwrap().len(), 3);
    assert!(report["server"].is_null());
    assert_eq!((field(0, "name"), field(0, "bytes_behind")), ("a".into(), (4 * line).into()));
    assert_eq!((field(0, "next_timestamp"), field(0, "held_segments")), ("2026-01-02T03:04:01.000Z".into(), 1.into()));
    assert_eq!(
        (field(1, "next_timestamp"), field(1, "bytes_behind")),
        ("2026-01-02T03:04:04.000Z".into(), line.into())
    );
    assert_eq!((field(2, "bytes_behind"), field(2, "held_bytes")), (0.into(), 0.into()));
    let (code, out, _) = forwards(path, &[]);
    assert!(
        code == Some(0) && out.contains("  position  first:0\n") && out.contains("everything is delivered"),
        "{out}"
    );
    // What cannot be read on is shown, and is a failure.
    cursor(path, "b", &format!("first:{}", 1_000 * line));
    fs::write(path.join("forward-c.state"), [0xff; 100_000]).unwrap();
    let (code, out, err) = forwards(path, &[]);
    assert!(code == Some(1) && err.is_empty(), "{err}");
    for part in
        ["the oldest is 20260102T030405.678Z:0\n", "  position  unknown\n", "error     the cursor cannot be read: "]
    {
        assert!(out.contains(part), "{out}");
    }
}

#[test]
fn a_forward_is_moved_to_the_beginning_of_a_line() {
    let (directory, line) = log_of_two_segments();
    let path = directory.path();
    let state = || fs::read_to_string(path.join("forward-a.state")).unwrap();
    cursor(path, "a", "first:0");
    for (to, position) in [
        ("end", format!("after-20260102T030405.678Z:{}", 2 * line)),
        ("beginning", "20260102T030405.678Z:0".to_owned()),
        (&format!("first:{line}"), format!("20260102T030405.678Z:{line}")),
        (&format!("after-20260102T030405.678Z:{line}"), format!("after-20260102T030405.678Z:{line}")),
    ] {
        let (code, out, err) = forwards(path, &["--reset", "a", "--to", to]);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{to}");
        assert!(out.contains(&format!("position  {position}\n")) && state().contains(&position), "{to}: {out}");
    }
    let before = state();
    let refused = |arguments: &[&str], part: &str| {
        let (code, out, err) = forwards(path, arguments);
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
        assert_eq!(state(), before);
    };
    refused(&["--reset", "a", "--to", "first:1"], "not at the beginning of a line");
    refused(&["--reset", "a", "--to", "first:1000000"], "the log does not hold this position");
    refused(&["--reset", "a", "--to", "20270102T030405.678Z:0"], "the log does not hold this position");
    refused(&["--reset", "a", "--to", "now"], "expected beginning, end or a position");
    refused(&["--reset", "b", "--to", "end"], "there is no forward b; there is a");
    refused(&["--reset", "a"], "--to");
    refused(&["--to", "end"], "--reset");
    // While a server has the directory, it is listed only.
    let lock = fs::File::open(path).unwrap();
    lock.lock().unwrap();
    refused(&["--reset", "a", "--to", "end"], "stop the server");
    let (code, out, _) = forwards(path, &[]);
    assert!(code == Some(0) && out.starts_with("a server "), "{out}");
    drop(lock);
    // A cursor that is damaged can be moved.
    fs::write(path.join("forward-a.state"), "damaged").unwrap();
    assert_eq!(forwards(path, &["--reset", "a", "--to", "beginning"]).0, Some(0));
    assert!(state().contains("position 20260102T030405.678Z:0\n"));
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(files.filter(|name| name.ends_with(".tmp")).count(), 0);
}

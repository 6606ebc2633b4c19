//! Forwarding to a remote write receiver that misbehaves: what it refuses is counted, what it does not acknowledge is
//! sent again, nothing is lost, and the order is that of the log, also over restarts.

use crate::{
    BINARY,
    http::{get, post},
    log,
    process::Signal,
    receiver::{Act, Knows, Receiver, TAKE, tls_file},
    server::{Driver, Server, Setup, program, until},
    with_driver,
};
use std::{collections::BTreeMap, fs, net::TcpListener, path::Path};

fn setup(receiver: &Receiver) -> Setup {
    with_driver(Driver::Epoll).flag("--forward", receiver.url())
}

/// A setup with a table `[[forward]]`, and the file that it is in.
pub fn table(receiver: &Receiver, more: &str) -> (Setup, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("[[forward]]\nname = \"store\"\nurl = \"{}\"\n{more}\n", receiver.url())).unwrap();
    (with_driver(Driver::Epoll).flag("--config", file.path().display()), file)
}

/// Stores metrics, each given as JSON, in batches.
pub fn store_all(server: &Server, metrics: &[String]) {
    for metrics in metrics.chunks(500) {
        let body = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
        assert_eq!(server.request(&post(body)).processed(), metrics.len());
    }
}

/// Stores `count` metrics, named by `mark` and their number.
pub fn store(server: &Server, mark: &str, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("{mark}_{number}")).collect();
    let metrics: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}","value":1}}"#)).collect();
    store_all(server, &metrics);
    names
}

pub fn wait_for(receiver: &Receiver, names: &[String]) {
    until("everything to be delivered", || {
        let received = receiver.names();
        names.iter().all(|name| received.contains(name)).then_some(())
    });
}

pub fn state_file(directory: &Path) -> std::path::PathBuf {
    let find = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name.starts_with("forward-") && name.ends_with(".state")).then(|| entry.path())
    };
    until("the cursor", || fs::read_dir(directory).unwrap().find_map(|entry| find(entry.unwrap())))
}

/// The responses of a receiver that neither acknowledge nor refuse: each is to be tried again.
const MISDEEDS: [Act; 18] = [
    Act::Respond(429, "Retry-After: 1\r\n"),
    Act::Respond(500, ""),
    Act::Respond(503, "Connection: close\r\n"),
    Act::Respond(503, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
    Act::Respond(307, "Location: /\r\n"),
    Act::Respond(304, ""),
    Act::Hang,
    Act::Silence,
    Act::CloseInside,
    Act::Reset,
    Act::Bytes(b""),
    Act::Bytes(b"HTTP/1.1 204 No Con"),
    Act::Bytes(b"SSH-2.0-OpenSSH_9.9\r\n"),
    Act::Bytes(b"HTTP/1.1 500 X\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    // Without a length, up to the end of the connection.
    Act::Bytes(b"HTTP/1.1 502 X\r\n\r\n<html>"),
    Act::Endless(b"HTTP/1.1 204 X\r\nX: ", &[b'x'; 4096]),
    Act::Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Act::Endless(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
];

fn loses_nothing(protocol: &str, knows: Knows) {
    // A success between two of them, after which the back-off is short again.
    let receiver = Receiver::start(knows, &MISDEEDS.map(|misdeed| [misdeed, TAKE]).concat());
    let more = format!("protocol = \"{protocol}\"\ntimeout = \"1s\"\nbatch_samples = 200");
    let (setup, _file) = table(&receiver, &more);
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let names = store(&server, "a", 5_000);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names, "each once, and in the order of the log");
    assert_eq!(receiver.acts_left(), 0);
    until("the counters", || (server.stat("/forwards/0/delivered") == 5_000).then_some(()));
    assert_eq!(server.stat("/forwards/0/retries"), MISDEEDS.len() as u64);
    until("an empty backlog", || (server.stat("/forwards/0/bytes_behind") == 0).then_some(()));
    server.stop();
    assert!(!server.said().iter().any(|line| line.contains("did not end")), "{:?}", server.said());
}

#[test]
fn a_misbehaving_receiver_of_1_0_loses_nothing() {
    loses_nothing("1.0", Knows::V1);
}

#[test]
fn a_misbehaving_receiver_of_2_0_loses_nothing() {
    loses_nothing("2.0", Knows::Both);
}

/// Responses of success in each framing and cut: all of them end where they end.
const SUCCESSES: [&[&[u8]]; 6] = [
    &[b"HTTP/1.1 204 X\r\n\r\n"],
    &[b"H", b"TTP/1.1 2", b"00 X\r\nContent-Le", b"ngth: 2\r", b"\n\r", b"\no", b"k"],
    &[b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
    &[
        b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n",
        b"1;a=b\r",
        b"\no\r\n1",
        b"\r\nk\r\n0\r\n",
        b"X: y\r\n\r",
        b"\n",
    ],
    &[b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 204 X\r\n\r\n"],
    &[b"HTTP/1.1 202 X\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"],
];

/// Number of connections over which a receiver that behaves like `acts` takes 1,000 samples in requests of 100.
fn connections_taken(acts: &[Act]) -> usize {
    let receiver = Receiver::start(Knows::V1, acts);
    let (setup, _file) = table(&receiver, "protocol = \"1.0\"\nbatch_samples = 100\ntimeout = \"60m\"");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let names = store(&server, "a", 1_000);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names, "each once, and in the order of the log");
    assert_eq!(receiver.acts_left(), 0);
    assert_eq!(server.stat("/forwards/0/retries"), 0);
    server.stop();
    receiver.seen(|seen| seen.connections)
}

#[test]
fn a_response_in_any_framing_keeps_its_connection() {
    assert_eq!(connections_taken(&SUCCESSES.map(Act::Take)), 1);
}

#[test]
fn a_response_that_ends_with_its_connection_is_one() {
    let acts = [
        Act::TakeAndClose(&[b"HTTP/1.0 200 OK\r\n\r\nok"]),
        Act::TakeAndClose(&[b"HTTP/1.1 200 OK\r\n\r\n"]),
        Act::TakeAndClose(&[b"HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n"]),
        // Shorter than it says: the status counts.
        Act::TakeAndClose(&[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"]),
        Act::TakeAndClose(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok"]),
    ];
    assert_eq!(connections_taken(&acts), acts.len() + 1);
}

#[test]
fn a_connection_closed_between_requests_is_no_failure() {
    // The second one says so: an untrusted response to no request.
    let acts = [
        Act::TakeAndClose(&[b"HTTP/1.1 204 X\r\n\r\n"]),
        Act::TakeAndClose(&[b"HTTP/1.1 204 X\r\n\r\n", b"HTTP/1.1 408 X\r\nConnection: close\r\n\r\n"]),
    ];
    for tls in [false, true] {
        let receiver = if tls { Receiver::start_tls(&acts) } else { Receiver::start(Knows::Both, &acts) };
        let trust = if tls { format!("ca_file = \"{}\"", tls_file("ca.pem").display()) } else { String::new() };
        let (setup, _file) = table(&receiver, &format!("protocol = \"1.0\"\nbatch_age = \"50ms\"\n{trust}"));
        let directory = tempfile::tempdir().unwrap();
        let mut server = setup.start_in(directory.path());
        state_file(directory.path());
        let mut names = Vec::new();
        for closed in 1..=acts.len() {
            names.extend(store(&server, &format!("a{closed}"), 3));
            until("the end of the connection", || receiver.seen(|seen| (seen.closed == closed).then_some(())));
            // With the response taken, the next request is another one.
            until("the count", || (server.stat("/forwards/0/delivered") == names.len() as u64).then_some(()));
        }
        names.extend(store(&server, "last", 3));
        wait_for(&receiver, &names);
        assert_eq!(receiver.names(), names, "tls: {tls}");
        assert_eq!(receiver.seen(|seen| seen.connections), acts.len() + 1);
        assert_eq!(server.stat("/forwards/0/retries"), 0, "tls: {tls}");
        server.stop();
        assert!(!server.said().iter().any(|line| line.contains("tried again")), "{:?}", server.said());
    }
}

#[test]
fn a_receiver_that_cannot_be_reached_is_tried_again() {
    // A label of a name has at most 63 bytes: no resolver is queried for it.
    let unresolved = format!("http://{}.invalid/", "x".repeat(64));
    let plain = Receiver::start(Knows::Both, &[]);
    let ca_file = format!("ca_file = \"{}\"", tls_file("ca.pem").display());
    for (url, options) in [(unresolved, ""), (plain.url().replace("http:", "https:"), &ca_file)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("[[forward]]\nurl = \"{url}\"\ntimeout = \"100ms\"\n{options}\n")).unwrap();
        let mut server = with_driver(Driver::Epoll).flag("--config", file.path().display()).start();
        state_file(&server.directory);
        store(&server, "a", 3);
        until("attempts", || (server.stat("/forwards/0/retries") > 1).then_some(()));
        assert_eq!(server.stat("/forwards/0/delivered"), 0);
        server.stop();
    }
    assert!(plain.names().is_empty());
}

#[test]
fn samples_that_a_receiver_refuses_are_counted_and_passed() {
    let receiver = Receiver::start(Knows::V1, &[Act::Respond(400, ""), Act::Respond(413, "")]);
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(&receiver).start_in(directory.path());
    state_file(directory.path());
    store(&server, "bad", 10);
    until("the first refusal", || (server.stat("/forwards/0/refused_by/bad_request") == 10).then_some(()));
    store(&server, "large", 1);
    until("the second refusal", || (server.stat("/forwards/0/refused_by/too_large") == 1).then_some(()));
    let names = store(&server, "good", 30);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names);
    assert_eq!(receiver.seen(|seen| seen.refused.len()), 11);
    let exposition = server.request(&get("/metrics"));
    assert!(exposition.text().contains("reason=\"too_large\"} 1\n"), "{}", exposition.text());
    server.stop();
    assert_eq!(server.said().iter().filter(|line| line.contains("samples refused")).count(), 1, "{:?}", server.said());
}

#[test]
fn a_request_that_is_too_large_is_sent_in_halves() {
    let large = Act::Respond(413, "");
    // 20 samples, 10, 5 and 5; of the third five, 2, and of these the first one alone, which is refused.
    let receiver = Receiver::start(Knows::V1, &[large, large, TAKE, TAKE, large, large, large]);
    let (setup, _file) = table(&receiver, "protocol = \"1.0\"");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let mut names = store(&server, "a", 20);
    let refused = names.remove(10);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names, "each once, and in the order of the log");
    assert_eq!(receiver.seen(|seen| seen.refused.last().unwrap().name().to_owned()), refused);
    until("the count", || (server.stat("/forwards/0/delivered") == 19).then_some(()));
    assert_eq!((server.stat("/forwards/0/retries"), server.stat("/forwards/0/refused_by/too_large")), (4, 1));
    server.stop();
}

#[test]
fn samples_that_a_receiver_has_not_written_are_counted() {
    let acts = [
        Act::Respond(200, "X-Prometheus-Remote-Write-Samples-Written: 7\r\n"),
        Act::Respond(400, "X-Prometheus-Remote-Write-Samples-Written: 2\r\n"),
        Act::Respond(400, ""),
    ];
    let receiver = Receiver::start(Knows::Both, &acts);
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup(&receiver).start_in(directory.path());
    state_file(directory.path());
    let delivered = |count: u64| until("samples", || (server.stat("/forwards/0/delivered") == count).then_some(()));
    store(&server, "first", 10);
    delivered(7);
    assert_eq!(server.stat("/forwards/0/refused_by/not_written"), 3);
    store(&server, "second", 10);
    delivered(9);
    assert_eq!(server.stat("/forwards/0/refused_by/bad_request"), 8);
    // The receiver is known to understand 2.0: this is about the samples.
    store(&server, "third", 10);
    until("the refusal", || (server.stat("/forwards/0/refused_by/bad_request") == 18).then_some(()));
    server.stop();
    assert!(receiver.seen(|seen| seen.heads.iter().all(|head| head.contains("Version: 2.0.0"))));
}

#[test]
fn a_forward_continues_where_it_was_after_restarts() {
    let receiver = Receiver::start(Knows::Both, &[]);
    let address = receiver.address;
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(&receiver);
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let first = store(&server, "first", 10);
    wait_for(&receiver, &first);
    drop(receiver);
    // The receiver is away: over a kill, a rotation and a clean stop.
    let second = store(&server, "second", 10);
    server.kill();
    let mut server = setup.start_in(directory.path());
    let third = store(&server, "third", 10);
    server.signal(crate::process::Signal::HangUp);
    server.wait_for_line("the rotation", |line| line.contains("rotat").then_some(()));
    let fourth = store(&server, "fourth", 10);
    server.stop();
    let mut server = setup.start_in(directory.path());
    let receiver = Receiver::start_at(address, Knows::Both, &[]);
    let expected = [second, third, fourth].concat();
    wait_for(&receiver, &expected);
    let mut received = receiver.names();
    // What was delivered right before the kill may come again.
    received.retain(|name| !name.starts_with("first"));
    assert_eq!(received, expected);
    server.stop();
    assert_eq!(log::lines(directory.path()).len() % 10, 0);
}

/// Moves and cuts the log as others do, between batches whose lines all have one length: where the first ended, a line
/// of the others begins.
#[test]
fn a_log_that_others_move_or_cut_is_delivered_whole() {
    // Returns the names of what it stores.
    type Change = fn(&Server, &Path) -> Vec<String>;
    let delivers = |change: Change, is_moved: bool, gaps: u64| {
        let receiver = Receiver::start(Knows::Both, &[]);
        let mut server = setup(&receiver).start();
        state_file(&server.directory);
        let mut names = store(&server, "a", 10);
        wait_for(&receiver, &names);
        names.extend(change(&server, &server.directory.join("metrics.jsonl")));
        if is_moved {
            server.signal(Signal::HangUp);
            until("the log is rotated", || (server.stat("/log/rotations") == 1).then_some(()));
        }
        names.extend(store(&server, "b", 10));
        names.extend(store(&server, "c", 10));
        wait_for(&receiver, &names);
        assert_eq!(receiver.names(), names, "each once, and in the order of the log");
        assert_eq!(server.stat("/forwards/0/gaps"), gaps);
        server.stop();
    };
    let moves: [Change; 3] = [
        |_, log| {
            fs::rename(log, log.with_extension("1")).unwrap();
            Vec::new()
        },
        |_, log| {
            fs::rename(log, log.with_extension("1")).unwrap();
            fs::write(log, "").unwrap();
            Vec::new()
        },
        // Batches that come before the signal are still in the file that was moved.
        |server, log| {
            fs::rename(log, log.with_extension("1")).unwrap();
            store(server, "m", 10)
        },
    ];
    moves.into_iter().for_each(|change| delivers(change, true, 0));
    let cut: Change = |_, log| {
        fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
        Vec::new()
    };
    delivers(cut, false, 1);
}

/// Spoils the cursor's file between two runs, and repairs it once there was the warning: each line is delivered.
fn passes_nothing_by(spoil: impl FnOnce(&Path), warning: &str, repair: impl FnOnce(&Path)) {
    let receiver = Receiver::start(Knows::Both, &[]);
    let directory = tempfile::tempdir().unwrap();
    let setup = setup(&receiver);
    let mut server = setup.start_in(directory.path());
    let path = state_file(directory.path());
    server.stop();
    spoil(&path);
    // Behind the cursor, without the forward.
    let mut server = with_driver(Driver::Epoll).start_in(directory.path());
    let mut names = store(&server, "away", 3);
    server.stop();
    let mut server = setup.start_in(directory.path());
    server.wait_for_line("the warning", |line| line.contains(warning).then_some(()));
    repair(&path);
    names.extend(store(&server, "after", 3));
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names, "each once, and in the order of the log");
    server.stop();
    assert!(fs::read_to_string(&path).unwrap().starts_with("metricstream forward 1\n"));
}

#[test]
fn a_damaged_cursor_passes_nothing_by() {
    for damaged in
        ["metricstream forward 1\nposition first:0\ncrc32 00000000\n", "", "metricstream forward 1\nposit", "\0"]
    {
        passes_nothing_by(|path| fs::write(path, damaged).unwrap(), "it is damaged", |_| {});
    }
    passes_nothing_by(|path| fs::write(path, b"\xff\xfe").unwrap(), "sent again", |_| {});
}

#[test]
fn a_cursor_that_cannot_be_read_is_waited_for() {
    let beside = |path: &Path| path.with_extension("kept");
    let hide = |path: &Path| {
        fs::rename(path, beside(path)).unwrap();
        fs::create_dir(path).unwrap();
    };
    passes_nothing_by(hide, "Is a directory", |path| {
        fs::remove_dir(path).unwrap();
        fs::rename(beside(path), path).unwrap();
    });
}

#[test]
fn a_table_starts_a_forward_at_the_beginning() {
    let receiver = Receiver::start(Knows::V1, &[]);
    let directory = tempfile::tempdir().unwrap();
    let mut server = with_driver(Driver::Epoll).start_in(directory.path());
    let names = store(&server, "old", 7);
    server.stop();
    let more =
        "start = \"beginning\"\nprotocol = \"1.0\"\nheaders = { X-Own = \"t1\" }\ntenant = \"t2\"\nusername = \"u\"";
    let (setup, _file) = table(&receiver, more);
    let mut server = setup.start_in(directory.path());
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names);
    server.stop();
    assert!(directory.path().join("forward-store.state").exists());
    let head = receiver.seen(|seen| seen.heads[0].clone());
    for field in [
        "X-Own: t1",
        "X-Scope-OrgID: t2",
        "Authorization: Basic dTo=",
        "Content-Encoding: snappy",
        "X-Prometheus-Remote-Write-Version: 0.1.0",
    ] {
        assert!(head.contains(field), "{head}");
    }
}

#[test]
fn a_stop_does_not_wait_for_a_receiver_that_hangs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut server = with_driver(Driver::Epoll).flag("--forward", url).start();
    store(&server, "a", 1);
    let _held = listener.accept().unwrap();
    server.stop();
    assert!(!server.said().iter().any(|line| line.contains("did not end")), "{:?}", server.said());
}

/// Values, types and tags, as a receiver of that knowledge is sent them with these options.
fn delivers_everything(knows: Knows, options: &str, version: &str) {
    let receiver = Receiver::start(knows, &[]);
    let directory = tempfile::tempdir().unwrap();
    let (setup, _file) = table(&receiver, options);
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let metrics = [
        r#"{"name":"c_total","value":1.5,"type":"counter","timestamp":1767323045000,"tags":{"b":"2","a":"1"}}"#,
        r#"{"name":"c_total","value":2,"type":"counter","timestamp":1767323046000,"tags":{"a":"1","b":"2"}}"#,
        r#"{"name":"h_bucket","value":3,"type":"histogram","timestamp":1767323045000,"tags":{"le":"+Inf"}}"#,
        r#"{"name":"g","value":-0.0,"timestamp":1767323045000}"#,
        r#"{"name":"c_total","value":4,"type":"counter","timestamp":1767323045000,"tags":{"b":"2","a":"1"}}"#,
    ];
    store_all(&server, &metrics.map(str::to_owned));
    until("everything", || receiver.seen(|seen| (seen.acknowledged.len() == 4).then_some(())));
    let samples = receiver.seen(|seen| seen.acknowledged.clone());
    let got: Vec<_> = samples.iter().map(|s| (s.name(), f64::from_bits(s.bits), s.timestamp_ms % 10_000)).collect();
    assert_eq!(got, [("c_total", 4.0, 5_000), ("c_total", 2.0, 6_000), ("h_bucket", 3.0, 5_000), ("g", 0.0, 5_000)]);
    assert_eq!(samples[3].bits, (-0.0_f64).to_bits());
    let labels = [("__name__", "c_total"), ("a", "1"), ("b", "2")];
    assert_eq!(samples[0].labels, labels.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let (metadata, head) = receiver.seen(|seen| (seen.metadata.clone(), seen.heads.last().unwrap().clone()));
    assert!(head.contains(version), "{head}");
    if version.contains("2.0.0") {
        assert_eq!(samples.iter().map(|sample| sample.kind).collect::<Vec<_>>(), [1, 1, 3, 2]);
    } else {
        let expected = [("c_total", 1), ("h", 3), ("g", 2)];
        assert_eq!(metadata, expected.map(|(name, kind)| (name.to_owned(), kind)));
    }
    until("the counter", || (server.stat("/forwards/0/superseded") == 1).then_some(()));
    server.stop();
}

#[test]
fn a_receiver_of_2_0_is_sent_types_with_each_series() {
    delivers_everything(Knows::Both, "", "X-Prometheus-Remote-Write-Version: 2.0.0");
}

#[test]
fn a_receiver_that_only_seems_to_take_2_0_is_sent_1_0() {
    delivers_everything(Knows::V1, "", "X-Prometheus-Remote-Write-Version: 0.1.0");
}

#[test]
fn a_receiver_that_responds_415_to_2_0_is_sent_1_0() {
    delivers_everything(Knows::V1Strict, "", "X-Prometheus-Remote-Write-Version: 0.1.0");
}

#[test]
fn a_receiver_can_be_sent_zstd() {
    delivers_everything(Knows::Both, "compression = \"zstd\"", "X-VictoriaMetrics-Remote-Write-Version: 1");
}

#[test]
fn a_receiver_that_does_not_take_zstd_is_sent_snappy() {
    let receiver = Receiver::start(Knows::Both, &[Act::Respond(415, "")]);
    let directory = tempfile::tempdir().unwrap();
    let (setup, _file) = table(&receiver, "compression = \"zstd\"");
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let names = store(&server, "a", 3);
    wait_for(&receiver, &names);
    let heads = receiver.seen(|seen| seen.heads.clone());
    assert!(heads[0].contains("zstd") && heads[1].contains("Version: 0.1.0"), "{heads:?}");
    server.stop();
}

#[test]
fn shards_keep_the_order_within_each_series() {
    let acts = [Act::Respond(500, ""), Act::Reset, Act::Respond(503, ""), Act::Hang, Act::Bytes(b"HTTP/1.1")];
    let receiver = Receiver::start(Knows::Both, &acts);
    let directory = tempfile::tempdir().unwrap();
    let (setup, _file) = table(&receiver, "shards = 4\nbatch_samples = 100\nbatch_age = \"50ms\"");
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let metric = |number: usize| {
        let (series, timestamp) = (number % 50, 1_767_323_045_000 + number);
        format!(r#"{{"name":"m{series}","value":{number},"timestamp":{timestamp}}}"#)
    };
    store_all(&server, &(0..10_000).map(metric).collect::<Vec<_>>());
    until("everything", || receiver.seen(|seen| (seen.acknowledged.len() >= 10_000).then_some(())));
    let mut series = BTreeMap::<String, Vec<u64>>::new();
    receiver.seen(|seen| {
        assert!(seen.connections > 1, "one connection only");
        for sample in &seen.acknowledged {
            series.entry(sample.name().to_owned()).or_default().push(sample.bits);
        }
    });
    assert_eq!(series.len(), 50);
    for (name, bits) in series {
        let first: usize = name[1..].parse().unwrap();
        let expected: Vec<u64> = (first..10_000).step_by(50).map(|number| (number as f64).to_bits()).collect();
        assert_eq!(bits, expected, "{name}");
    }
    until("an empty backlog", || (server.stat("/forwards/0/bytes_behind") == 0).then_some(()));
    server.stop();
}

#[test]
fn a_cursor_waits_for_all_shards() {
    // Whichever series comes first finds the receiver silent until its time is over.
    let receiver = Receiver::start(Knows::Both, &[Act::Silence]);
    let directory = tempfile::tempdir().unwrap();
    let (setup, _file) = table(&receiver, "shards = 8\ntimeout = \"60m\"\nbatch_age = \"50ms\"");
    let mut server = setup.start_in(directory.path());
    let state = fs::read_to_string(state_file(directory.path())).unwrap();
    let names = store(&server, "a", 100);
    until("the other shards", || (!receiver.names().is_empty() && receiver.acts_left() == 0).then_some(()));
    assert_eq!(fs::read_to_string(state_file(directory.path())).unwrap(), state);
    server.stop();
    assert_eq!(fs::read_to_string(state_file(directory.path())).unwrap(), state);
    let received = receiver.names().len();
    let mut server = setup.start_in(directory.path());
    // Those that had been delivered, too: the shard that was silent is not the last.
    until("everything again", || {
        let again = receiver.names().split_off(received);
        names.iter().all(|name| again.contains(name)).then_some(())
    });
    server.stop();
}

#[test]
fn a_receiver_is_sent_everything_over_tls() {
    let acts = [Act::Respond(500, ""), Act::Reset, Act::CloseInside, Act::Bytes(b"HTTP/1.1 204 No"), Act::Hang];
    let receiver = Receiver::start_tls(&acts);
    let directory = tempfile::tempdir().unwrap();
    let more = format!("ca_file = \"{}\"\nbearer_token = \"secret\"", tls_file("ca.pem").display());
    let (setup, _file) = table(&receiver, &more);
    let mut server = setup.start_in(directory.path());
    state_file(directory.path());
    let names = store(&server, "a", 3_000);
    wait_for(&receiver, &names);
    assert_eq!(receiver.names(), names);
    assert!(receiver.seen(|seen| seen.heads[0].contains("Authorization: Bearer secret")));
    server.stop();
    assert!(!server.said().iter().any(|line| line.contains("secret")), "{:?}", server.said());
}

#[test]
fn a_receiver_whose_certificate_is_not_trusted_is_sent_nothing() {
    let receiver = Receiver::start_tls(&[]);
    // Its own certificate is not that of an authority.
    let (setup, _file) = table(&receiver, &format!("ca_file = \"{}\"", tls_file("other-ca.pem").display()));
    let mut server = setup.start();
    store(&server, "a", 3);
    server.wait_for_line("the reason", |line| line.contains("UnknownIssuer").then_some(()));
    assert!(receiver.seen(|seen| seen.heads.is_empty()));
    server.stop();
}

#[test]
fn a_forward_is_listed_beside_its_server_and_moved_without_it() {
    let receiver = Receiver::start(Knows::Both, &[]);
    let directory = tempfile::tempdir().unwrap();
    let (setup, _file) = table(&receiver, "start = \"beginning\"\nbatch_age = \"50ms\"");
    let run = |arguments: &[&str]| {
        let mut command = program(BINARY);
        command.arg("forwards").arg("--data-dir").arg(directory.path()).args(["--format", "json"]).args(arguments);
        let output = command.output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), report, String::from_utf8(output.stderr).unwrap())
    };
    let mut server = setup.start_in(directory.path());
    let names = store(&server, "a", 500);
    wait_for(&receiver, &names);
    until("the cursor at the end", || {
        let (code, report, _) = run(&[]);
        assert!(code == Some(0) && report["server"]["pid"] == server.pid(), "{report}");
        let forward = &report["forwards"][0];
        assert_eq!(forward["name"], "store");
        (forward["bytes_behind"] == 0).then_some(())
    });
    let (code, _, err) = run(&["--reset", "store", "--to", "beginning"]);
    assert!(code == Some(2) && err.contains(&format!("process {}", server.pid())), "{err}");
    server.stop();
    let (code, report, err) = run(&["--reset", "store", "--to", "beginning"]);
    assert_eq!((code, err.as_str(), &report["server"]), (Some(0), "", &serde_json::Value::Null));
    let mut server = setup.start_in(directory.path());
    until("everything again", || (receiver.names().len() >= 2 * names.len()).then_some(()));
    assert_eq!(receiver.names().split_off(names.len()), names);
    server.stop();
}

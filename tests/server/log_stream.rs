//! `GET /log`: lines by position, each once, over rotation, compression, restarts and kills; waits that hold no thread;
//! and what is refused.

use crate::{
    forward::store,
    http::{Client, Response, authorization, get, post, request},
    metric, on_both_drivers,
    process::Signal,
    server::{Driver, Server, until},
    with_driver,
};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

/// The position behind the lines of a response.
fn next(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("Content-Type"), Some("application/x-ndjson"));
    response.header("X-MetricsStream-Next").unwrap().to_owned()
}

fn read(server: &Server, parameters: &str) -> Response {
    server.request(&get(&format!("/log?{parameters}")))
}

/// The names of whole lines.
fn names(lines: &str) -> Vec<String> {
    assert!(lines.is_empty() || lines.ends_with('\n'), "{lines}");
    lines.lines().map(|line| metric::Metric::from_line(line).unwrap().name).collect()
}

/// Reads on from `position` until there is nothing more, some bytes at a time. Returns the last position.
fn read_all(server: &Server, mut position: String, max_bytes: usize, found: &mut Vec<String>) -> String {
    loop {
        let response = read(server, &format!("from={position}&max_bytes={max_bytes}"));
        position = next(&response);
        if response.body.is_empty() {
            return position;
        }
        found.extend(names(response.text()));
    }
}

/// Sends a request that waits, and returns once it does.
fn waiter(server: &Server, parameters: &str) -> Client {
    waiter_by(server.connect(), server, parameters, "")
}

/// The same on this connection, with these header lines.
fn waiter_by(mut client: Client, server: &Server, parameters: &str, lines: &str) -> Client {
    let before = server.stat("/queries/log_waiting");
    client.send(&request("GET", &format!("/log?{parameters}"), lines)).unwrap();
    until("it waits", || (server.stat("/queries/log_waiting") > before).then_some(()));
    client
}

fn lines_are_read_from_any_position(driver: Driver) {
    let server = with_driver(driver).start();
    let empty = read(&server, "");
    assert_eq!((empty.text(), next(&empty).as_str()), ("", "first:0"));
    let stored = store(&server, "a", 5);
    let all = read(&server, "from=begin");
    assert_eq!(names(all.text()), stored);
    assert_eq!(all.body, fs::read(server.directory.join("metrics.jsonl")).unwrap());
    let end = next(&all);
    assert_eq!((read(&server, &format!("from={end}")).text(), next(&read(&server, "from=end"))), ("", end.clone()));
    // One line at a time: the first is longer than the bound.
    let first = read(&server, "max_bytes=1");
    assert_eq!(names(first.text()), stored[..1]);
    let mut rest = Vec::new();
    assert_eq!(read_all(&server, next(&first), 1, &mut rest), end);
    assert_eq!(rest, stored[1..]);
    // Only the fields.
    let mut client = server.connect();
    client.send(&request("HEAD", "/log?from=end", "")).unwrap();
    assert_eq!(next(&client.response_without_body()), end);
    let packed = client.request(&request("GET", "/log", "Accept-Encoding: gzip, zstd\r\n"));
    assert_eq!((packed.header("Content-Encoding"), next(&packed)), (Some("zstd"), end));
    assert_eq!(zstd::bulk::decompress(&packed.body, 1 << 20).unwrap(), all.body);
    let old = client.request(&post(r#"{"metrics":[{"name":"old","value":1,"timestamp":"2001-02-03T04:05:06Z"}]}"#));
    assert_eq!(old.processed(), 1);
    let later = store(&server, "b", 3);
    assert_eq!(names(read(&server, "from=2001-02-03T04:05:07Z").text()).len(), 9, "the first one is late enough");
    assert_eq!(names(read(&server, "from=-1h").text()).last(), later.last());
    assert_eq!(read(&server, "from=2999-01-01T00:00:00Z").text(), "");
}

fn what_is_wrong_is_refused(driver: Driver) {
    let server = with_driver(driver).start();
    store(&server, "a", 2);
    for parameters in ["from=x", "from=first:1", "wait=forever", "wait=61s", "max_bytes=0", "limit=1", "from=%zz"] {
        read(&server, parameters).refusal(400);
    }
    let ahead = read(&server, "from=first:1000000");
    assert!(ahead.refusal(410).contains("the oldest is first:0"));
    assert_eq!(ahead.header("X-MetricsStream-Oldest"), Some("first:0"));
    for method in ["POST", "DELETE"] {
        let response = server.request(&request(method, "/log", "Content-Length: 0\r\n"));
        response.refusal(405);
        assert_eq!(response.header("Allow"), Some("GET, HEAD"));
    }
    assert_eq!(server.stat("/queries/ended_by/gone"), 1);
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), "key-a\n").unwrap();
    let server = with_driver(driver).flag("--api-keys", keys.path().display()).start();
    read(&server, "").refusal(401);
    assert_eq!(server.request(&request("GET", "/log", &authorization("key-a"))).status, 200);
    let server = with_driver(driver).flag("--query-threads", 0).start();
    read(&server, "").refusal(404);
}

fn a_wait_ends_with_the_next_line(driver: Driver) {
    let server = with_driver(driver).flag("--query-threads", 1).start();
    let first = store(&server, "a", 1);
    let mut waiting = waiter(&server, "from=end&wait=60s");
    // It holds no thread: there is only one.
    let listed = server.request(&get("/names")).json();
    assert!(listed.to_string().contains(&first[0]), "{listed}");
    let stored = store(&server, "b", 3);
    assert_eq!(names(waiting.response().text()), stored);
    // The same again, in the next segment.
    let mut waiting = waiter(&server, "from=end&wait=60s");
    server.signal(Signal::HangUp);
    until("the rotation", || (server.stat("/log/rotations") == 1).then_some(()));
    let stored = store(&server, "c", 2);
    assert_eq!(names(waiting.response().text()), stored);
    // What is there already is not waited for.
    assert_eq!(names(read(&server, "from=begin&wait=60s").text()).len(), 6);
}

fn a_wait_in_vain_ends_empty(driver: Driver) {
    let mut server = with_driver(driver).start();
    store(&server, "a", 2);
    let end = next(&read(&server, "from=end"));
    let response = read(&server, "from=end&wait=300ms");
    assert_eq!((response.text(), next(&response)), ("", end.clone()));
    // Who leaves is forgotten; a stop ends the wait of the others.
    drop(waiter(&server, "from=end&wait=60s"));
    until("nobody waits", || (server.stat("/queries/log_waiting") == 0).then_some(()));
    let mut waiting = waiter(&server, "from=end&wait=60s");
    server.stop();
    let response = waiting.response();
    assert_eq!((response.text(), next(&response)), ("", end));
}

fn waiters_are_bounded(driver: Driver) {
    let server = with_driver(driver).start();
    store(&server, "a", 1);
    let mut waiting: Vec<Client> = (0..32).map(|_| waiter(&server, "from=end&wait=60s")).collect();
    read(&server, "from=end&wait=60s").refusal(429);
    assert_eq!(server.stat("/queries/ended_by/over_share"), 1);
    // Who finds lines need not wait.
    assert_eq!(names(read(&server, "wait=60s").text()).len(), 1);
    let stored = store(&server, "b", 1);
    for client in &mut waiting {
        assert_eq!(names(client.response().text()), stored);
    }
    until("nobody waits", || (server.stat("/queries/log_waiting") == 0).then_some(()));
}

/// Without keys an Authorization value is a name that anyone can invent.
fn invented_names_leave_places_to_others(driver: Driver) {
    const WAIT: &str = "from=end&wait=60s";
    let server = with_driver(driver).start();
    let name = |number: usize| authorization(&format!("name {number}"));
    let _of_names: Vec<Client> =
        (0..48).map(|number| waiter_by(server.connect(), &server, WAIT, &name(number))).collect();
    server.request(&request("GET", &format!("/log?{WAIT}"), &name(48))).refusal(429);
    read(&server, WAIT).refusal(429);
    let from_another = || Client::try_connect_from([127, 0, 0, 2].into(), server.address).unwrap();
    let _others: Vec<Client> = (0..16).map(|_| waiter_by(from_another(), &server, WAIT, "")).collect();
    from_another().request(&get(&format!("/log?{WAIT}"))).refusal(503);
}

fn lines_that_are_deleted_are_gone(driver: Driver) {
    let server = with_driver(driver).flag("--rotate-size", "64KiB").flag("--retain-size", "64KiB").start();
    let mut round = 0;
    until("a segment to be deleted", || {
        store(&server, &format!("a{round}"), 1_000);
        round += 1;
        (server.stat("/segments/retired") > 0).then_some(())
    });
    let response = read(&server, "from=first:0");
    response.refusal(410);
    let oldest = response.header("X-MetricsStream-Oldest").unwrap().to_owned();
    // It may be gone by now too, as may be what follows the first page; but there is a beginning, and an end of it.
    let first = read(&server, &format!("from={oldest}"));
    assert!([200, 410].contains(&first.status), "{}", first.text());
    let last = store(&server, "last", 1);
    let found = until("the log to be read while nothing is deleted", || {
        let (mut position, mut found) = ("begin".to_owned(), Vec::new());
        loop {
            let page = read(&server, &format!("from={position}&max_bytes=100000"));
            if page.status == 410 {
                return None;
            }
            position = next(&page);
            if page.body.is_empty() {
                return Some(found);
            }
            found.extend(names(page.text()));
        }
    });
    assert_eq!(found.last(), last.last());
}

/// Each line once, by positions alone, over rotations, compression and restarts.
fn a_consumer_resumes_by_position(driver: Driver) {
    let directory = tempfile::tempdir().unwrap();
    let setup = with_driver(driver).flag("--rotate-size", "64KiB").flag("--compress", "zstd");
    let mut server = setup.start_in(directory.path());
    let (mut stored, mut found) = (Vec::new(), Vec::new());
    let mut position = "begin".to_owned();
    for round in 0..8 {
        stored.extend(store(&server, &format!("a{round}"), 700));
        position = read_all(&server, position, 20_000, &mut found);
        stored.extend(store(&server, &format!("b{round}"), 700));
        match round % 3 {
            0 => server.stop(),
            1 => server.kill(),
            _ => {
                let sealed = server.stat("/log/rotations");
                until("the compression", || (server.stat("/segments/compressed") >= sealed.max(1)).then_some(()));
                continue;
            }
        }
        server = setup.start_in(directory.path());
    }
    read_all(&server, position, 20_000, &mut found);
    assert_eq!(found, stored);
    // From the beginning again, of what is compressed by now.
    found.clear();
    read_all(&server, "begin".to_owned(), 8 << 20, &mut found);
    assert_eq!(found, stored);
}

on_both_drivers!(
    lines_are_read_from_any_position,
    what_is_wrong_is_refused,
    a_wait_ends_with_the_next_line,
    a_wait_in_vain_ends_empty,
    waiters_are_bounded,
    invented_names_leave_places_to_others,
    lines_that_are_deleted_are_gone,
    a_consumer_resumes_by_position,
);

/// The example of the documentation, which is ended when this is dropped.
struct Script(Child);

impl Script {
    fn start(server: &Server, file: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/consumer/consume.sh");
        let mut command = Command::new("sh");
        command.arg(script).arg(format!("http://{}", server.address)).arg(file);
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Without a chance to finish anything.
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_script_of_the_documentation_reads_each_line_once() {
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no curl");
        return;
    }
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [directory, output] = directories.each_ref().map(tempfile::TempDir::path);
    let file = output.join("lines.jsonl");
    let setup = with_driver(Driver::Epoll).flag("--rotate-size", "64KiB").flag("--compress", "zstd");
    let mut stored = Vec::new();
    for round in 0..4 {
        let mut server = setup.start_in(directory);
        stored.extend(store(&server, &format!("a{round}"), 700));
        let script = Script::start(&server, &file);
        stored.extend(store(&server, &format!("b{round}"), 700));
        let size = fs::metadata(&file).map_or(0, |metadata| metadata.len());
        until("some lines", || (fs::metadata(&file).ok()?.len() > size).then_some(()));
        drop(script);
        server.kill();
    }
    let server = setup.start_in(directory);
    let _script = Script::start(&server, &file);
    let last = stored.last().unwrap();
    until("the last line", || {
        let text = fs::read_to_string(&file).ok()?;
        (text.ends_with('\n') && text.lines().last()?.contains(&format!("\"{last}\""))).then_some(())
    });
    assert_eq!(names(&fs::read_to_string(&file).unwrap()), stored);
}

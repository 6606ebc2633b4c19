//! Listeners of the server: several addresses at one time, names, unix sockets, and what is in the way of them.

use crate::{
    http::{Client, get, post},
    on_both_drivers,
    server::{Driver, Setup},
    with_driver,
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};
use tempfile::TempDir;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;

/// A setup whose places are those of `texts` alone.
fn listening(driver: Driver, texts: &[&str]) -> Setup {
    texts.iter().fold(with_driver(driver).without("--listen"), |setup, text| setup.more("--listen", text))
}

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

fn every_place_is_served_and_announced(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let places = ["127.0.0.1:0", "127.0.0.2:0,localhost:0", &unix(&path)];
    let mut server = listening(driver, &places).flag("--reactors", 2).start();
    let addresses: Vec<_> = server.listens_at.iter().filter_map(|place| place.parse().ok()).collect();
    assert_eq!(server.listens_at.len(), addresses.len() + 1);
    assert_eq!(server.listens_at.last(), Some(&unix(&path)));
    assert!(addresses.len() >= 3, "{addresses:?}");
    // Several each, so that every reactor gets some.
    for round in 0..8 {
        for &address in &addresses {
            assert_eq!(Client::connect(address).request(&post(BATCH)).processed(), 1, "{address} {round}");
        }
        assert_eq!(Client::connect_unix(&path).request(&post(BATCH)).processed(), 1, "{round}");
    }
    server.stop();
    assert_eq!(server.metrics().len(), 8 * (addresses.len() + 1));
    assert!(!path.exists(), "the file goes with a clean stop");
}

fn a_unix_socket_alone_is_enough(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let mut server = listening(driver, &[&unix(&path)]).start();
    assert_eq!(server.listens_at, [unix(&path)]);
    assert!(fs::metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut client = Client::connect_unix(&path);
    // A pipeline, and a body that does not fit a socket's buffer in one go.
    client.send(&[get("/health"), post(BATCH), get("/stats")].concat()).unwrap();
    assert_eq!([client.response().status, client.response().status, client.response().status], [200; 3]);
    let metrics =
        vec![r#"{"name":"a","value":1,"tags":{"padding":"0123456789012345678901234567890123456789"}}"#; 1_000];
    let batch = format!(r#"{{"metrics":[{}]}}"#, metrics.join(","));
    for _ in 0..5 {
        assert_eq!(client.request(&post(&batch)).processed(), 1_000);
    }
    drop(client);
    server.stop();
    assert_eq!(server.metrics().len(), 5_001);
}

/// The peers of a unix socket have no address: each user is a client.
fn a_user_of_a_unix_socket_is_a_client(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let places = ["127.0.0.1:0", &unix(&path)];
    let server = listening(driver, &places).flag("--rate-limit", 2).flag("--reactors", 2).start();
    let statuses = |clients: Vec<Client>| -> Vec<u16> {
        clients.into_iter().map(|mut client| client.request(&post(BATCH)).status).collect()
    };
    let by_unix = statuses((0..8).map(|_| Client::connect_unix(&path)).collect());
    assert!(by_unix[..2] == [200, 200] && by_unix.contains(&429), "{by_unix:?}");
    let by_tcp = statuses(vec![server.connect(), server.connect()]);
    assert_eq!(by_tcp, [200, 200], "another client");
}

fn a_dead_servers_socket_file_is_taken_over(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let setup = listening(driver, &[&unix(&path)]);
    let mut first = setup.start();
    first.kill();
    assert!(path.exists());
    let mut second = setup.start();
    assert_eq!(Client::connect_unix(&path).request(&get("/health")).status, 200);
    second.stop();
    assert!(!path.exists());
}

on_both_drivers!(
    every_place_is_served_and_announced,
    a_unix_socket_alone_is_enough,
    a_user_of_a_unix_socket_is_a_client,
    a_dead_servers_socket_file_is_taken_over,
);

#[test]
fn a_socket_file_in_use_is_left_to_its_owner() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let setup = listening(Driver::Epoll, &[&unix(&path)]);
    let server = setup.start();
    let refused = setup.refused(TempDir::new().unwrap().path());
    assert!(refused.line().contains(&unix(&path)) && refused.line().contains("is in use"), "{refused:?}");
    assert_eq!(Client::connect_unix(&path).request(&get("/health")).status, 200);
    drop(server);
}

/// The file of a stopping server may be its successor's by then.
#[test]
fn a_successors_socket_file_survives_the_stop() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let mut server = listening(Driver::Epoll, &["127.0.0.1:0", &unix(&path)]).start();
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    server.stop();
    UnixStream::connect(&path).unwrap();
    drop(successor);
}

#[test]
fn the_mode_of_a_socket_file_is_as_configured() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let _server = listening(Driver::Epoll, &[&unix(&path)]).flag("--unix-mode", "0600").start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_cannot_be_listened_at_is_one_line() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "kept").unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let missing = directory.path().join("missing/http.sock");
    let long = format!("unix:{}", directory.path().join("x".repeat(120)).display());
    for (places, parts) in [
        (vec![unix(&file)], ["no socket", "file"]),
        (vec![unix(&missing)], ["cannot listen on", "missing"]),
        (vec![taken.clone()], [taken.as_str(), "is in use"]),
        (vec!["127.0.0.1:0".into(), taken.clone()], [taken.as_str(), "is in use"]),
        (vec!["127.0.0.1:7001".into(), "127.0.0.1:7001".into()], ["already configured", "127.0.0.1:7001"]),
        (vec!["0.0.0.0:7001,127.0.0.1:7001".into()], ["already covered by", "127.0.0.1:7001"]),
        (vec!["no-such-host.invalid:0".into()], ["no-such-host.invalid", "--listen"]),
        (vec!["192.0.2.1:0".into()], ["192.0.2.1", "does not have"]),
    ] {
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let refused = listening(Driver::Epoll, &places).refused(directory.path());
        assert!(parts.iter().all(|part| refused.line().contains(part)), "{places:?}: {refused:?}");
    }
    let refused = listening(Driver::Epoll, &[&long]).refused(directory.path());
    assert_eq!(refused.code, Some(2));
    assert!(refused.said[0].contains("at most 107 bytes"), "{refused:?}");
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

/// A place that was opened before another was refused leaves no file behind.
#[test]
fn a_refused_start_removes_its_socket_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let places = [unix(&path), taken.local_addr().unwrap().to_string()];
    listening(Driver::Epoll, &[&places[0], &places[1]]).refused(TempDir::new().unwrap().path()).line();
    assert!(!path.exists());
}

#[test]
fn places_come_from_file_and_variable_too() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.sock");
    let file = directory.path().join("config.toml");
    fs::write(&file, format!("listen = [\"127.0.0.1:0\", \"{}\"]\nunix_mode = \"640\"\n", unix(&path))).unwrap();
    let none = with_driver(Driver::Epoll).without("--listen");
    let server = none.clone().flag("--config", file.display()).start();
    assert_eq!((server.listens_at.len(), &server.listens_at[1]), (2, &unix(&path)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    drop(server);
    let name = format!("unix:@metricstream-test-{}", std::process::id());
    let server = none.variable("METRICSTREAM_LISTEN", &format!("127.0.0.1:0,{name}")).start();
    assert_eq!(server.listens_at[1], name);
}

#[test]
fn a_wildcard_takes_both_families() {
    let server = listening(Driver::Epoll, &["*:0"]).start();
    TcpStream::connect(("127.0.0.1", server.address.port())).unwrap();
    if fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.is_empty()) {
        TcpStream::connect(("::1", server.address.port())).unwrap();
    }
}

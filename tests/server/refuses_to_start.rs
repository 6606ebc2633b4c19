//! Errors at the start are reported in one line, with exit code 2; and the sources of each option.

use crate::{
    http::{get, post},
    server::{Driver, Setup},
    with_driver,
};
use std::{fs, net::TcpListener};
use tempfile::{NamedTempFile, TempDir};

fn setup() -> Setup {
    with_driver(Driver::Epoll)
}

#[test]
fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = TempDir::new().unwrap();
    let refused = setup().flag("--listen", address).refused(directory.path());
    assert!(refused.line().contains(&address.to_string()), "{refused:?}");
}

/// The listeners of one server share a port among themselves (SO_REUSEPORT), and with no other server.
#[test]
fn a_port_that_another_server_has() {
    for driver in [Driver::Epoll, Driver::IoUring] {
        for reactors in [1, 2] {
            let first = with_driver(driver).flag("--reactors", reactors).start();
            let directory = TempDir::new().unwrap();
            let refused = with_driver(driver)
                .flag("--reactors", reactors)
                .flag("--listen", first.address)
                .refused(directory.path());
            assert!(refused.line().contains(&first.address.to_string()), "{refused:?}");
            assert_eq!(first.request(&get("/health")).status, 200);
        }
    }
}

#[test]
fn an_address_of_another_host() {
    let refused = setup().flag("--listen", "192.0.2.1:0").refused(TempDir::new().unwrap().path());
    assert!(refused.line().contains("192.0.2.1"), "{refused:?}");
}

#[test]
fn a_data_directory_that_cannot_be_had() {
    let file = NamedTempFile::new().unwrap();
    let below_a_file = file.path().join("data");
    for directory in [file.path().to_str().unwrap(), below_a_file.to_str().unwrap(), "/proc/metricstream"] {
        let refused = setup().flag("--data-dir", directory).refused(TempDir::new().unwrap().path());
        assert!(refused.line().contains(directory), "{refused:?}");
    }
}

#[test]
fn a_data_directory_that_another_server_uses() {
    let directory = TempDir::new().unwrap();
    let mut first = setup().start_in(directory.path());
    let refused = setup().refused(directory.path());
    let line = refused.line();
    assert!(
        line.contains(directory.path().to_str().unwrap()) && line.contains(&first.pid().to_string()),
        "{refused:?}"
    );
    assert_eq!(first.request(&post(r#"{"metrics":[{"name":"a","value":1}]}"#)).processed(), 1);
    first.stop();
    setup().start_in(directory.path()).stop();
}

#[test]
fn a_data_directory_is_made() {
    let directory = TempDir::new().unwrap();
    let deep = directory.path().join("a/b/c");
    let mut server = setup().start_in(&deep);
    assert_eq!(server.request(&post(r#"{"metrics":[{"name":"a","value":1}]}"#)).processed(), 1);
    server.stop();
    assert_eq!(server.metrics().len(), 1);
}

#[test]
fn wrong_flags() {
    let directory = TempDir::new().unwrap();
    for (name, value, part) in [
        ("--speed", "9", "--speed"),
        ("--listen", "8080", "--listen"),
        ("--ack", "disk", "--ack"),
        ("--driver", "kqueue", "--driver"),
        ("--max-body", "4 apples", "--max-body"),
        ("--idle-timeout", "10", "--idle-timeout"),
    ] {
        let refused = setup().flag(name, value).refused(directory.path());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.said[0].contains(part), "{refused:?}");
    }
    for (name, value, part) in [
        ("--max-body", "0", "--max-body"),
        ("--cores", "900", "core 900"),
        ("--writer-core", "901", "core 901"),
        ("--reactors", "0", "--reactors"),
        ("--max-connections", "0", "--max-connections"),
        ("--ring-size", "3MiB", "--ring-size"),
        ("--api-keys", "/nonexistent/keys", "/nonexistent/keys"),
        ("--config", "/nonexistent/file.toml", "/nonexistent/file.toml"),
    ] {
        let refused = setup().flag(name, value).refused(directory.path());
        assert!(refused.line().contains(part), "{refused:?}");
    }
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing was made");
}

#[test]
fn a_wrong_file_names_its_line() {
    let file = NamedTempFile::new().unwrap();
    for (text, line) in [
        ("rate_limit = 5\n\nspeed = 3\n", "line 3"),
        ("rate_limit = 5\nmax_body = \"4 apples\"\n", "line 2"),
        ("rate_limit = \n", "line 1"),
        ("ack = \"disk\"\n", "line 1"),
    ] {
        fs::write(file.path(), text).unwrap();
        let refused = setup().flag("--config", file.path().display()).refused(TempDir::new().unwrap().path());
        let said = refused.line();
        assert!(said.contains(line) && said.contains(file.path().to_str().unwrap()), "{text}: {said}");
    }
}

/// Flags win over variables, variables over the file, the file over the defaults.
#[test]
fn where_an_option_comes_from() {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), "ack = \"fsync\"\ndriver = \"epoll\"\nlisten = \"127.0.0.1:0\"\nmax_batch = 3\n").unwrap();
    let ack_of = |setup: Setup| setup.start().stats()["ack"].as_str().unwrap().to_owned();
    let from_file = setup().without("--driver").without("--listen").flag("--config", file.path().display());
    assert_eq!(ack_of(setup()), "write");
    assert_eq!(ack_of(from_file.clone()), "fsync");
    assert_eq!(ack_of(from_file.clone().variable("METRICSTREAM_ACK", "memory")), "memory");
    assert_eq!(ack_of(from_file.clone().variable("METRICSTREAM_ACK", "memory").flag("--ack", "write")), "write");
    let path = file.path().to_str().unwrap();
    let from_variable = setup().without("--driver").without("--listen").variable("METRICSTREAM_CONFIG", path);
    let server = from_variable.start();
    let stats = server.stats();
    assert_eq!((stats["ack"].as_str(), stats["driver"].as_str()), (Some("fsync"), Some("epoll")));
    server.request(&post(crate::metric::marked_batch("x", 4))).refusal(400);
    let refused = setup()
        .variable("METRICSTREAM_RATE_LIMIT", "many")
        .without("--rate-limit")
        .refused(TempDir::new().unwrap().path());
    assert_eq!(refused.code, Some(2));
}

#[test]
fn help_mentions_every_flag() {
    let helped = setup().flag("--help", "").refused(TempDir::new().unwrap().path());
    assert_eq!((helped.code, helped.said.len()), (Some(0), 0), "{helped:?}");
    for flag in [
        "--listen",
        "--data-dir",
        "--cores",
        "--reactors",
        "--writer-core",
        "--driver",
        "--ack",
        "--rate-limit",
        "--max-clients",
        "--api-keys",
        "--stats-auth",
        "--max-connections",
        "--max-body",
        "--max-batch",
        "--max-name",
        "--max-tags",
        "--max-tag-value",
        "--ring-size",
        "--head-timeout",
        "--body-timeout",
        "--idle-timeout",
        "--write-timeout",
        "--drain-timeout",
        "--stats-interval",
        "--config",
        "METRICSTREAM_",
        "SIGTERM",
        "io_uring",
        "epoll",
        "memory",
        "write",
        "fsync",
    ] {
        assert!(helped.output.contains(flag), "{flag} is not in:\n{}", helped.output);
    }
    let version = setup().flag("--version", "").refused(TempDir::new().unwrap().path());
    assert_eq!(version.code, Some(0));
    assert_eq!(version.output.trim(), concat!("metricstream ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn too_few_descriptors() {
    use crate::process::Resource;
    let refused = setup().limit(Resource::Descriptors, 24, 24).refused(TempDir::new().unwrap().path());
    assert!(refused.line().contains("open files, 24,"), "{refused:?}");
}

/// The end of the log that would be moved aside is larger than a file may be, as on a disk that is full.
#[test]
fn a_torn_end_without_space_stays_where_it_is() {
    use crate::process::Resource;
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("metrics.jsonl");
    fs::write(&log, "x".repeat(300_000)).unwrap();
    for _ in 0..2 {
        let refused = setup().limit(Resource::FileBytes, 100_000, 100_000).refused(directory.path());
        assert!(refused.line().contains("save the damaged end of"), "{refused:?}");
    }
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let torn: Vec<_> = names.filter(|name| name.starts_with("torn-")).collect();
    assert_eq!((fs::metadata(&log).unwrap().len(), torn), (300_000, vec![]), "no copies are left");
}

/// A forced driver is that driver, and the start says so.
#[test]
fn the_driver_is_named() {
    for driver in [Driver::IoUring, Driver::Epoll] {
        let server = with_driver(driver).start();
        assert_eq!(server.stats()["driver"], driver.name());
        server.wait_for_line("the driver's name", |line| line.contains(driver.name()).then_some(()));
    }
}

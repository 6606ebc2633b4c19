//! Messages to a service manager: the server listens, it is live, its status, its stop. The manager is a socket of the
//! test; a stuck thread is one that the test stops (ptrace(2)), so that the server itself has no part in it.

use crate::{
    http::{get, post, post_to},
    metric, on_both_drivers,
    process::{Frozen, Signal},
    server::{DEADLINE, Driver, Server, Setup},
    with_driver,
};
use std::{net::SocketAddr, os::unix::net::UnixDatagram, path::Path};
use tempfile::TempDir;

/// Whom the server tells.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, directory }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A server that tells this manager.
    fn setup(&self, driver: Driver) -> Setup {
        with_driver(driver).variable("NOTIFY_SOCKET", self.path().join("notify").to_str().unwrap())
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Drops messages until one has `part` in it.
    fn until(&self, part: &str) -> String {
        // Bounded: a server that says other things for ever is no better than one that says nothing.
        for _ in 0..1_000 {
            let message = self.next();
            if message.contains(part) {
                return message;
            }
        }
        panic!("it never said {part}");
    }
}

fn every_place_to_listen_at_is_named(driver: Driver) {
    let manager = Manager::new();
    let setup = manager.setup(driver).flag("--listen", "127.0.0.1:0,127.0.0.1:0");
    let admin = format!("unix:@metricstream-test-{}-{}", driver.name(), std::process::id());
    let server = setup.flag("--admin-listen", &admin).start();
    let places = server.listens_at.join(", ");
    let status = format!("STATUS=listening on {places}; statistics on {admin}");
    assert_eq!((server.listens_at.len(), manager.next()), (2, format!("READY=1\n{status}")));
}

fn the_manager_is_notified_of_start_and_stop(driver: Driver) {
    let manager = Manager::new();
    let mut server = manager.setup(driver).flag("--drain-timeout", "1h").flag("--body-timeout", "1h").start();
    let ready = manager.next();
    let address: SocketAddr = ready.strip_prefix("READY=1\nSTATUS=listening on ").unwrap().parse().unwrap();
    assert_eq!(address, server.address);
    assert_eq!(server.request(&get("/ready")).status, 200);

    let body = metric::marked_batch("last", 1);
    let head =
        format!("POST /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut client = server.connect();
    client.send(head.replace("Host: h\r\n", "Host: h\r\nExpect: 100-continue\r\n").as_bytes()).unwrap();
    assert_eq!(client.response().status, 100);
    server.signal(Signal::Terminate);
    // The drain's hour, and a little for the end of the log.
    let stopping = manager.next();
    let extended = stopping.strip_prefix("STOPPING=1\nSTATUS=stopping: SIGTERM\nEXTEND_TIMEOUT_USEC=").unwrap();
    assert!(extended.parse::<u64>().unwrap() > 3_600_000_000, "{stopping}");
    assert!(server.is_running(), "it says so before it is over");
    client.send(body.as_bytes()).unwrap();
    assert_eq!(client.response().processed(), 1);
    assert_eq!(server.wait().code(), Some(0));
}

/// The figures of each interval, also when none are logged.
fn the_manager_is_notified_of_each_interval(driver: Driver) {
    let manager = Manager::new();
    let server = manager.setup(driver).flag("--stats-interval", "100ms").start();
    let mut client = server.connect();
    client.request(&post(metric::marked_batch("x", 1)));
    let status = manager.until("1 connections");
    assert!(status.starts_with("STATUS=") && status.ends_with("log healthy") && !status.contains('\n'), "{status}");
}

fn watched(driver: Driver) -> (Manager, Server) {
    let manager = Manager::new();
    let setup = manager.setup(driver).variable("WATCHDOG_USEC", "400000").flag("--stats-interval", "100ms");
    let server = setup.start();
    for _ in 0..2 {
        manager.until("WATCHDOG=1");
    }
    (manager, server)
}

/// While the server reports `fault`, the watchdog is not notified; once that is repaired, it is again.
fn the_watchdog_waits_for(manager: &Manager, fault: &str, stuck: Frozen) {
    manager.until(fault);
    for _ in 0..4 {
        let message = manager.next();
        assert!(message.starts_with("STATUS=") && message.contains(fault), "{message}");
    }
    drop(stuck);
    manager.until("WATCHDOG=1");
}

fn a_reactor_that_is_stuck_stops_the_watchdog(driver: Driver) {
    let (manager, server) = watched(driver);
    let stuck = Frozen::thread(server.pid(), "reactor-0");
    the_watchdog_waits_for(&manager, "a reactor does not report", stuck);
    assert_eq!(server.request(&post(metric::marked_batch("after", 1))).processed(), 1);
}

fn a_writer_that_is_stuck_stops_the_watchdog(driver: Driver) {
    let (manager, server) = watched(driver);
    let stuck = Frozen::thread(server.pid(), "writer");
    assert_eq!(server.request(&post_to("/metrics?ack=memory", "", metric::marked_batch("x", 1))).processed(), 1);
    the_watchdog_waits_for(&manager, "the log writer makes no progress", stuck);
    assert_eq!(server.request(&post(metric::marked_batch("after", 1))).processed(), 1);
}

/// A manager that has gone away, or that speaks what nobody does here, is warned of once and is no reason not to serve.
fn a_manager_that_does_not_listen_is_no_obstacle(driver: Driver) {
    for name in ["/nonexistent/notify", "vsock:2:9999"] {
        let setup = with_driver(driver).variable("NOTIFY_SOCKET", name).variable("WATCHDOG_USEC", "100000");
        let mut server = setup.flag("--stats-interval", "100ms").start();
        server.wait_for_line("two intervals", |line| line.contains("statistics").then_some(()));
        assert_eq!(server.request(&post(metric::marked_batch("x", 1))).processed(), 1);
        server.stop();
        let warnings: Vec<_> = server.said().into_iter().filter(|line| line.contains("service manager")).collect();
        assert_eq!(warnings.len(), 1, "{warnings:#?}");
    }
}

on_both_drivers!(
    every_place_to_listen_at_is_named,
    the_manager_is_notified_of_start_and_stop,
    the_manager_is_notified_of_each_interval,
    a_reactor_that_is_stuck_stops_the_watchdog,
    a_writer_that_is_stuck_stops_the_watchdog,
    a_manager_that_does_not_listen_is_no_obstacle,
);

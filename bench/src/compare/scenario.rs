//! The loads, and which subject is put under which of them by which client.

use super::{
    client::Client,
    subject::{Role, Subject},
};
use crate::load::Protocol;

/// A load.
#[derive(Debug, PartialEq, Eq)]
pub struct Scenario {
    /// As in a table and on the command line.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// Concurrent connections.
    pub connections: u32,
    /// Requests in flight on each.
    pub pipeline: u32,
    /// True if a connection carries more than one request.
    pub keep_alive: bool,
    /// Metrics in each request.
    pub batch: u32,
    /// Protocol of the requests' bodies; `None`: each server's own format of a batch of `POST /metrics`.
    pub protocol: Option<Protocol>,
    /// Requests a second over all connections, sent when they are due and whatever became of those before (open loop).
    /// `None`: each connection sends as soon as it has its response (closed loop).
    pub requests_per_second: Option<u32>,
    /// True if wrk is measured as well as load_test.
    pub by_wrk: bool,
    /// True if every level of acknowledgement is measured.
    pub levels: bool,
}

/// The usual load; the others differ from it in one thing.
const USUAL: Scenario = Scenario {
    name: "c64",
    title: "64 connections, batches of 3 metrics",
    connections: 64,
    pipeline: 1,
    keep_alive: true,
    batch: 3,
    protocol: None,
    requests_per_second: None,
    by_wrk: true,
    levels: true,
};

/// All of them.
pub static SCENARIOS: [Scenario; 13] = [
    Scenario { name: "c1", title: "1 connection", connections: 1, by_wrk: false, ..USUAL },
    USUAL,
    Scenario { name: "c500", title: "500 connections", connections: 500, ..USUAL },
    Scenario {
        name: "paced",
        title: "500 connections, 20,000 requests/s in all (open loop)",
        connections: 500,
        requests_per_second: Some(20_000),
        by_wrk: false,
        ..USUAL
    },
    Scenario { name: "c1000", title: "1000 connections", connections: 1000, by_wrk: false, levels: false, ..USUAL },
    Scenario {
        name: "pipelined",
        title: "64 connections, 16 requests in flight on each",
        pipeline: 16,
        by_wrk: false,
        levels: false,
        ..USUAL
    },
    Scenario {
        name: "fresh",
        title: "64 clients, a connection per request",
        keep_alive: false,
        by_wrk: false,
        levels: false,
        ..USUAL
    },
    Scenario {
        name: "b1",
        title: "64 connections, batches of 1 metric",
        batch: 1,
        by_wrk: false,
        levels: false,
        ..USUAL
    },
    Scenario {
        name: "b100",
        title: "64 connections, batches of 100 metrics",
        batch: 100,
        by_wrk: false,
        levels: false,
        ..USUAL
    },
    Scenario {
        name: "b1000",
        title: "64 connections, batches of 1,000 metrics",
        batch: 1000,
        by_wrk: false,
        levels: false,
        ..USUAL
    },
    Scenario {
        name: SCRAPE_JSON,
        title: "16 connections, scrapes as JSON, 1,000 metrics a request",
        batch: 1000,
        protocol: Some(Protocol::Json),
        ..SCRAPES
    },
    Scenario {
        name: "remote-write",
        title: "16 connections, scrapes by remote write 1.0, 2,000 samples a request, snappy",
        protocol: Some(Protocol::RemoteWrite),
        ..SCRAPES
    },
    Scenario {
        name: "influx",
        title: "16 connections, scrapes as line protocol, 2,000 fields a request",
        protocol: Some(Protocol::Influx),
        ..SCRAPES
    },
];

/// The scenario of JSON that the protocols are also compared with: of the same metrics.
pub const SCRAPE_JSON: &str = "scrape-json";

/// The bodies of load_test's `--protocol`.
const SCRAPES: Scenario =
    Scenario { name: "", title: "", connections: 16, batch: 2000, by_wrk: false, levels: false, ..USUAL };

/// Scenarios of a smoke run.
pub const SMOKE: [&str; 2] = ["c64", "pipelined"];

/// One load on one subject by one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The load.
    pub scenario: &'static Scenario,
    /// The server.
    pub subject: &'static Subject,
    /// The program that makes the load.
    pub client: Client,
}

/// The cells of the choices given, in the order of a round: scenarios, then subjects, then clients. The further levels
/// of acknowledgement, and wrk, are for the scenarios that say so; a protocol is for the servers that take it.
#[must_use]
pub fn cells(scenarios: &[&'static Scenario], subjects: &[&'static Subject], clients: &[Client]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &scenario in scenarios {
        for &subject in subjects.iter().filter(|subject| subject.takes(scenario.protocol)) {
            for &client in clients {
                let wanted = match client {
                    Client::LoadTest => scenario.levels || subject.role != Role::Level,
                    Client::Wrk => scenario.by_wrk && subject.role != Role::Level,
                };
                if wanted {
                    cells.push(Cell { scenario, subject, client });
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::super::subject::SUBJECTS;
    use super::*;

    fn all() -> Vec<Cell> {
        let (scenarios, subjects): (Vec<_>, Vec<_>) = (SCENARIOS.iter().collect(), SUBJECTS.iter().collect());
        cells(&scenarios, &subjects, &Client::ALL)
    }

    #[test]
    fn names_are_distinct_and_wrk_can_make_its_loads() {
        let mut names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(SMOKE.iter().all(|name| names.contains(name)));
        for cell in all().iter().filter(|cell| cell.client == Client::Wrk) {
            let Scenario { keep_alive, pipeline, requests_per_second, .. } = *cell.scenario;
            assert!(keep_alive && pipeline == 1 && requests_per_second.is_none(), "{cell:?}");
        }
    }

    #[test]
    fn every_subject_meets_its_floor_in_each_of_its_scenarios() {
        let all = all();
        for cell in &all {
            let floor = |other: &&Cell| {
                other.subject.name == cell.subject.floor
                    && (other.scenario, other.client) == (cell.scenario, cell.client)
            };
            assert_eq!(all.iter().filter(floor).count(), 1, "{cell:?}");
        }
    }

    #[test]
    fn a_protocol_is_for_the_servers_that_take_it() {
        let peers = |name: &str| {
            let of_scenario = all().into_iter().filter(|cell| cell.scenario.name == name);
            of_scenario
                .map(|cell| cell.subject)
                .filter(|subject| subject.role == Role::Peer)
                .map(|subject| subject.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(peers("remote-write"), ["victoriametrics"]);
        assert_eq!(peers("influx"), ["victoriametrics", "influxdb"]);
        assert_eq!(peers("b100"), ["nginx", "victoriametrics"]);
        assert!(peers(SCRAPE_JSON).is_empty());
        for cell in all().iter().filter(|cell| cell.scenario.protocol.is_some()) {
            assert_eq!(cell.client, Client::LoadTest, "wrk sends none of them: {cell:?}");
        }
    }

    #[test]
    fn the_levels_are_measured_where_the_scenario_says_so() {
        let levels = all().into_iter().filter(|cell| cell.subject.role == Role::Level);
        assert!(levels.clone().count() > 0);
        assert!(levels.into_iter().all(|cell| cell.scenario.levels));
    }
}

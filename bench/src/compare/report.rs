//! Measurements as tables of Markdown, which are read on a terminal as well: for each cell the median over the rounds
//! with the least and the greatest, and ratios taken within each round.

use super::{
    Measurement,
    client::Client,
    disk::DiskSyncs,
    environment::Environment,
    scenario::{SCENARIOS, SCRAPE_JSON, Scenario},
    spread::{Rounds, Spread, ratio},
    subject::{LEVELS, NGINX, Role, SUBJECTS, Subject},
};
use std::fmt::Write;

/// A figure of a measurement.
type Figure = fn(&Measurement) -> f64;

const CPU: Figure = |measured| measured.server_cpu_us_per_request;
const CPU_PER_METRIC: Figure = |measured| measured.server_cpu_us_per_request / f64::from(measured.batch);
const REQUESTS: Figure = |measured| measured.reported.requests_per_second;

/// The columns of a scenario's table that are figures of one measurement.
const FIGURES: [(&str, Figure); 7] = [
    ("CPU us/metric", CPU_PER_METRIC),
    ("cores busy", |measured| measured.server_cpu_cores),
    ("requests/s", REQUESTS),
    ("p50 us", |measured| measured.reported.p50_us),
    ("p99 us", |measured| measured.reported.p99_us),
    ("p99.9 us", |measured| measured.reported.p999_us),
    ("peak RSS MiB", |measured| mebibytes(measured.peak_rss_bytes)),
];

/// Nothing was measured there.
const NONE: &str = "-";

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1024 * 1024)
}

/// The measurements of one run.
struct Run<'a>(&'a [Measurement]);

impl Run<'_> {
    fn of(&self, scenario: &Scenario, subject: &str, client: Client) -> impl Iterator<Item = &Measurement> {
        self.0.iter().filter(move |measured| {
            (measured.scenario, measured.subject, measured.client) == (scenario.name, subject, client.name())
        })
    }

    fn rounds(&self, scenario: &Scenario, subject: &str, client: Client, figure: Figure) -> Rounds {
        self.of(scenario, subject, client).map(|measured| (measured.round, figure(measured))).collect()
    }

    fn measured(&self, scenario: &Scenario, subject: &str, client: Client) -> bool {
        self.of(scenario, subject, client).next().is_some()
    }

    /// Subjects and clients measured in a scenario, load_test's first.
    fn rows(&self, scenario: &Scenario) -> Vec<(&'static Subject, Client)> {
        let rows = Client::ALL.into_iter().flat_map(|client| SUBJECTS.iter().map(move |subject| (subject, client)));
        rows.filter(|(subject, client)| self.measured(scenario, subject.name, *client)).collect()
    }

    fn scenarios(&self) -> Vec<&'static Scenario> {
        SCENARIOS.iter().filter(|scenario| !self.rows(scenario).is_empty()).collect()
    }
}

/// The whole report.
#[must_use]
pub fn markdown(environment: &Environment, measurements: &[Measurement]) -> String {
    let run = Run(measurements);
    let rounds = measurements.iter().map(|measured| measured.round).max().unwrap_or(0);
    let mut out = heading(environment, rounds);
    let mut section = |title: &str, text: String| {
        // Writing into a String cannot fail.
        let _ = write!(out, "\n## {title}\n\n{text}");
    };
    section("Server CPU, us/request", overview(&run));
    for scenario in run.scenarios() {
        section(&format!("{}: {}", scenario.name, scenario.title), details(&run, scenario));
    }
    if let Some(text) = protocols(&run) {
        section("Protocols: CPU of a metric, ours / theirs", text);
    }
    if let Some(mut text) = levels(&run) {
        text.push_str(
            "\nThe disk's p99 is that of an append and its fdatasync(2), alone, just before and for as long. Ideal is a group commit \
             that costs nothing, on those very syncs: requests come at any time, wait for the rest of the sync that runs, and for \
             the next.\n",
        );
        section("Levels of acknowledgement side by side", text);
    }
    if let Some(text) = clients(&run) {
        section("load_test and wrk on the same cores, requests/s", text);
    }
    out
}

fn heading(environment: &Environment, rounds: u32) -> String {
    let Environment { date, host, cpu, cores, kernel, filesystem, load_average, .. } = environment;
    let state = if environment.dirty { ", with changes that are not committed" } else { "" };
    let list = |cores: &[usize]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let packages: Vec<_> = environment.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut lines = vec![
        format!("command: `{}`", environment.command),
        format!("commit: {}{state}", environment.commit),
        format!("host: {host}, {cpu}, cores {cores}, Linux {kernel}, data on {filesystem}"),
        format!("server on cores {}, client on {}", list(&environment.server_cores), list(&environment.client_cores)),
        format!(
            "{rounds} of {} rounds, {} s after {} s of warm-up each; load average before: {load_average}",
            environment.rounds, environment.measured_s, environment.warmup_s
        ),
    ];
    lines.push(match environment.touched_bytes {
        0 => "memory not touched beforehand".to_owned(),
        bytes => format!("{} GiB of free memory touched beforehand", bytes >> 30),
    });
    if !packages.is_empty() {
        lines.push(format!("packages: {}", packages.join(", ")));
    }
    lines.extend(environment.skipped.iter().map(|skipped| format!("skipped: {skipped}")));
    let mut out = format!("# Comparison of {date}\n\n");
    for line in lines {
        let _ = writeln!(out, "- {line}");
    }
    out.push_str(
        "\nMedians over the rounds (least - greatest). Ratios are taken within each round; more than 1 is dearer. The floor \
         is that of the same driver.\n",
    );
    out
}

/// Subjects by scenarios, under load_test.
fn overview(run: &Run<'_>) -> String {
    let scenarios = run.scenarios();
    let header: Vec<_> = ["server"].into_iter().chain(scenarios.iter().map(|scenario| scenario.name)).collect();
    let mut rows = Vec::new();
    for subject in &SUBJECTS {
        let cells: Vec<_> = scenarios
            .iter()
            .map(|scenario| Spread::of(run.rounds(scenario, subject.name, Client::LoadTest, CPU).into_values()))
            .collect();
        if cells.iter().any(Option::is_some) {
            let shown = cells.iter().map(|spread| spread.map_or(NONE.to_owned(), |spread| figure(spread.median)));
            rows.push([subject.name.to_owned()].into_iter().chain(shown).collect());
        }
    }
    table(&header, &rows)
}

/// Everything about one scenario.
fn details(run: &Run<'_>, scenario: &Scenario) -> String {
    let mut header = vec!["server", "CPU us/request", "x floor", "x nginx"];
    header.extend(FIGURES.map(|(name, _)| name));
    header.push("failed");
    let mut rows = Vec::new();
    for (subject, client) in run.rows(scenario) {
        let rounds = |name: &str, figure: Figure| run.rounds(scenario, name, client, figure);
        let cpu = rounds(subject.name, CPU);
        let name = match client {
            Client::LoadTest => subject.name.to_owned(),
            Client::Wrk => format!("{}, by wrk", subject.name),
        };
        let mut row = vec![
            name,
            cell(Spread::of(cpu.values().copied())),
            cell(ratio(&cpu, &rounds(subject.floor, CPU))),
            cell(ratio(&cpu, &rounds(NGINX, CPU))),
        ];
        row.extend(FIGURES.map(|(_, figure)| cell(Spread::of(rounds(subject.name, figure).into_values()))));
        let failed: u64 = run.of(scenario, subject.name, client).map(|measured| measured.reported.failed).sum();
        row.push(failed.to_string());
        rows.push(row);
    }
    table(&header, &rows)
}

/// This server in each protocol, beside the peers that got the same bytes, and beside its own JSON of the same metrics.
fn protocols(run: &Run<'_>) -> Option<String> {
    let json = SCENARIOS.iter().find(|scenario| scenario.name == SCRAPE_JSON);
    let mut rows = Vec::new();
    for scenario in run.scenarios().into_iter().filter(|scenario| scenario.protocol.is_some()) {
        let rounds =
            |scenario: &Scenario, subject: &str| run.rounds(scenario, subject, Client::LoadTest, CPU_PER_METRIC);
        for ours in SUBJECTS.iter().filter(|subject| subject.role == Role::Server) {
            let of_peer = |peer: &Subject| (peer.name, rounds(scenario, peer.name));
            let peers = SUBJECTS.iter().filter(|subject| subject.role == Role::Peer).map(of_peer);
            let own =
                json.filter(|json| json.name != scenario.name).map(|json| ("its own JSON", rounds(json, ours.name)));
            let own_rounds = rounds(scenario, ours.name);
            for (name, theirs) in peers.chain(own).filter(|(_, theirs)| !theirs.is_empty() && !own_rounds.is_empty()) {
                rows.push(vec![
                    scenario.name.to_owned(),
                    ours.name.to_owned(),
                    name.to_owned(),
                    cell(Spread::of(own_rounds.values().copied())),
                    cell(Spread::of(theirs.values().copied())),
                    cell(ratio(&own_rounds, &theirs)),
                ]);
            }
        }
    }
    (!rows.is_empty()).then(|| table(&["scenario", "server", "beside", "us/metric", "theirs", "ours / theirs"], &rows))
}

/// This server at each level of acknowledgement, in the scenarios where all were measured.
fn levels(run: &Run<'_>) -> Option<String> {
    let header = [
        "scenario",
        "level",
        "requests/s",
        "/ write",
        "p50 us",
        "p99 us",
        "disk p99 us",
        "p99 / disk p99",
        "ideal p99 us",
        "p99 / ideal",
        "CPU us/request",
    ];
    let mut rows = Vec::new();
    for scenario in run.scenarios() {
        let rounds = |subject: &str, figure: Figure| run.rounds(scenario, subject, Client::LoadTest, figure);
        if !LEVELS.iter().all(|(_, subject)| run.measured(scenario, subject, Client::LoadTest)) {
            continue;
        }
        let write = rounds(LEVELS[1].1, REQUESTS);
        for (level, subject) in LEVELS {
            let shown = |figure: Figure| cell(Spread::of(rounds(subject, figure).into_values()));
            let disk = |figure: fn(DiskSyncs) -> f64| -> Rounds {
                let measured = run.of(scenario, subject, Client::LoadTest);
                measured.filter_map(|measured| Some((measured.round, figure(measured.disk?)))).collect()
            };
            let (sync, ideal) = (disk(|disk| disk.disk_sync_p99_us), disk(|disk| disk.disk_group_commit_p99_us));
            let latencies = rounds(subject, |measured| measured.reported.p99_us);
            rows.push(vec![
                scenario.name.to_owned(),
                level.to_owned(),
                shown(REQUESTS),
                cell(ratio(&rounds(subject, REQUESTS), &write)),
                shown(|measured| measured.reported.p50_us),
                shown(|measured| measured.reported.p99_us),
                cell(Spread::of(sync.values().copied())),
                cell(ratio(&latencies, &sync)),
                cell(Spread::of(ideal.values().copied())),
                cell(ratio(&latencies, &ideal)),
                shown(CPU),
            ]);
        }
    }
    (!rows.is_empty()).then(|| table(&header, &rows))
}

/// The two clients against the same servers; none where both were not run.
fn clients(run: &Run<'_>) -> Option<String> {
    let mut rows = Vec::new();
    for scenario in run.scenarios() {
        for subject in &SUBJECTS {
            let [ours, wrk] = Client::ALL.map(|client| run.rounds(scenario, subject.name, client, REQUESTS));
            if !ours.is_empty() && !wrk.is_empty() {
                let ratio = cell(ratio(&ours, &wrk));
                let [ours, wrk] = [ours, wrk].map(|rounds| cell(Spread::of(rounds.into_values())));
                rows.push(vec![scenario.name.to_owned(), subject.name.to_owned(), ours, wrk, ratio]);
            }
        }
    }
    (!rows.is_empty()).then(|| table(&["scenario", "server", "load_test", "wrk", "load_test / wrk"], &rows))
}

/// A median with its ends, or alone when they are the same.
fn cell(spread: Option<Spread>) -> String {
    let Some(Spread { median, min, max }) = spread else { return NONE.to_owned() };
    let [median, min, max] = [median, min, max].map(figure);
    if min == max { median } else { format!("{median} ({min} - {max})") }
}

/// Three digits, or all that stand before the point.
fn figure(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A table with columns of even width; all but the first are set to the right.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!(" {cell:<width$} "),
            _ => format!(" {cell:>width$} "),
        });
        format!("|{}|\n", padded.collect::<Vec<_>>().join("|"))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| match column {
        0 => "-".repeat(width + 2),
        _ => format!("{}:", "-".repeat(width + 1)),
    });
    let mut out = line(header.to_vec());
    let _ = writeln!(out, "|{}|", rule.collect::<Vec<_>>().join("|"));
    for row in rows {
        out.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::client::Reported;
    use super::*;

    fn measured(round: u32, subject: &'static str, client: Client, cpu_us: f64, rate: f64) -> Measurement {
        Measurement {
            round,
            scenario: "c64",
            subject,
            client: client.name(),
            batch: 3,
            server_cpu_us_per_request: cpu_us,
            server_cpu_cores: 0.95,
            peak_rss_bytes: 5 << 20,
            disk: (subject == "metricstream-fsync").then_some(DiskSyncs {
                disk_sync_p99_us: f64::from(round) * 50.0,
                disk_group_commit_p99_us: f64::from(round) * 100.0,
            }),
            reported: Reported {
                requests: 1000,
                failed: u64::from(round),
                elapsed_s: 1.0,
                requests_per_second: rate,
                p50_us: 100.0,
                p99_us: 200.0,
                p999_us: 1234.5,
                client_cpu_us_per_request: None,
            },
        }
    }

    fn environment() -> Environment {
        Environment {
            command: "scripts/compare.sh --rounds 2".to_owned(),
            commit: "0123abc".to_owned(),
            dirty: true,
            date: "2026-01-02T03:04:05Z".to_owned(),
            host: "Bench".to_owned(),
            cpu: "Abacus".to_owned(),
            cores: "0-1".to_owned(),
            kernel: "6.18.0".to_owned(),
            filesystem: "ext2/ext3".to_owned(),
            load_average: "0.10 0.20 0.30".to_owned(),
            touched_bytes: 3 << 30,
            packages: [("wrk", "4.1.0".to_owned())].into(),
            rounds: 2,
            measured_s: 1.0,
            warmup_s: 0.25,
            server_cores: vec![0],
            client_cores: vec![1, 2],
            skipped: vec!["nginx: nginx is not installed".to_owned()],
        }
    }

    #[test]
    fn the_report_has_medians_and_ratios_within_rounds() {
        let measurements = [
            measured(1, "floor-epoll", Client::LoadTest, 5.0, 150_000.0),
            measured(1, "metricstream-epoll", Client::LoadTest, 10.0, 90_000.0),
            measured(1, "floor-epoll", Client::Wrk, 6.0, 100_000.0),
            measured(2, "floor-epoll", Client::LoadTest, 10.0, 90_000.0),
            measured(2, "metricstream-epoll", Client::LoadTest, 15.0, 60_000.0),
            measured(2, "floor-epoll", Client::Wrk, 12.0, 50_000.0),
        ];
        let report = markdown(&environment(), &measurements);
        let row = |begin: &str| {
            let line = report.lines().rfind(|line| line.starts_with(&format!("| {begin} "))).unwrap_or_default();
            line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let server = row("metricstream-epoll");
        assert_eq!(server[1], "12.5 (10.0 - 15.0)");
        assert_eq!(server[2], "1.75 (1.50 - 2.00)", "the ratio of the medians would be 1.67");
        assert_eq!(server[3], "-", "nginx was not measured");
        assert_eq!(
            &server[4..],
            ["4.17 (3.33 - 5.00)", "0.95", "75000 (60000 - 90000)", "100", "200", "1234", "5.00", "3"]
        );
        assert_eq!(row("floor-epoll, by wrk")[1], "9.00 (6.00 - 12.0)");
        assert_eq!(row("c64")[2..], ["120000 (90000 - 150000)", "75000 (50000 - 100000)", "1.65 (1.50 - 1.80)"]);
        for part in [
            "`scripts/compare.sh --rounds 2`",
            "0123abc, with changes that are not committed",
            "Abacus",
            "Linux 6.18.0",
            "2 of 2 rounds",
            "3 GiB of free memory touched",
            "client on 1,2",
            "skipped: nginx",
            "wrk 4.1.0",
            "| server             |  c64 |\n|--------------------|-----:|\n| floor-epoll        | 7.50 |",
        ] {
            assert!(report.contains(part), "{part} is in\n{report}");
        }
    }

    #[test]
    fn the_levels_stand_side_by_side() {
        let of = |round, subject, rate| measured(round, subject, Client::LoadTest, 5.0, rate);
        let measurements = [
            of(1, "metricstream-io_uring", 100_000.0),
            of(1, "metricstream-memory", 120_000.0),
            of(1, "metricstream-fsync", 80_000.0),
            of(2, "metricstream-io_uring", 80_000.0),
            of(2, "metricstream-memory", 120_000.0),
            of(2, "metricstream-fsync", 60_000.0),
        ];
        let report = markdown(&environment(), &measurements);
        let row = report.lines().find(|line| line.contains("| fsync |") || line.contains("|  fsync |")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells[3], "0.78 (0.75 - 0.80)", "{row}");
        assert_eq!(cells[6..8], ["75.0 (50.0 - 100)", "3.00 (2.00 - 4.00)"], "{row}");
        assert_eq!(cells[8..10], ["150 (100 - 200)", "1.50 (1.00 - 2.00)"], "{row}");
        assert!(!markdown(&environment(), &measurements[..2]).contains("side by side"));
    }

    #[test]
    fn protocols_are_compared_by_the_metric() {
        let of = |scenario, batch, round, subject, cpu_us| Measurement {
            scenario,
            batch,
            ..measured(round, subject, Client::LoadTest, cpu_us, 100.0)
        };
        let measurements = [
            of("scrape-json", 1000, 1, "metricstream-epoll", 200.0),
            of("remote-write", 2000, 1, "metricstream-epoll", 500.0),
            of("remote-write", 2000, 1, "victoriametrics", 5000.0),
            of("influx", 2000, 1, "influxdb", 4000.0),
        ];
        let report = markdown(&environment(), &measurements);
        let (_, section) = report.split_once("## Protocols").unwrap();
        let rows: Vec<Vec<_>> = section
            .lines()
            .filter(|line| line.contains("metricstream-epoll"))
            .map(|line| line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let expected = [
            ["remote-write", "metricstream-epoll", "victoriametrics", "0.25", "2.50", "0.10"],
            ["remote-write", "metricstream-epoll", "its own JSON", "0.25", "0.20", "1.25"],
        ];
        assert_eq!(rows, expected, "{report}");
        assert!(!markdown(&environment(), &measurements[..1]).contains("## Protocols"));
    }

    #[test]
    fn a_table_lines_up() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        let expected = "| x    |  y |\n|------|---:|\n| a    |  1 |\n| long | 22 |\n";
        assert_eq!(table(&["x", "y"], &rows), expected);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [(0.345, "0.34"), (4.567, "4.57"), (45.67, "45.7"), (456.7, "457"), (123_456.7, "123457")]
        {
            assert_eq!(figure(value), text);
        }
    }
}

//! The comparison: several servers under the same loads, in turns, on the same cores.
//!
//! A *subject* is a server as it is started, a *scenario* a load, a *client* the program that makes it; a *cell* is one
//! of each. A *round* measures every cell once, scenario by scenario, the subjects one after the other (A B C, A B C,
//! …), each in a process and a directory of its own. Machines drift: ratios are taken within a round, between
//! neighbours in time, and it is their median over the rounds that counts. What is taken of a server is taken from
//! /proc, so every server is measured alike, from outside.

pub mod client;
pub mod disk;
pub mod environment;
pub mod options;
pub mod process;
pub mod report;
pub mod scenario;
pub mod spread;
pub mod subject;

use client::{Client, Reported};
use disk::DiskSyncs;
use options::Plan;
use process::{CpuSeries, Server};
use scenario::Cell;
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use subject::Bodies;

/// One cell in one round.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// From 1.
    pub round: u32,
    /// Name of the scenario.
    pub scenario: &'static str,
    /// Name of the subject.
    pub subject: &'static str,
    /// Name of the client.
    pub client: &'static str,
    /// Metrics in each request.
    pub batch: u32,
    /// CPU time of all the server's threads and processes in the measured part, over the requests in it.
    pub server_cpu_us_per_request: f64,
    /// The same over the measured time: 1 is one core, busy.
    pub server_cpu_cores: f64,
    /// `VmHWM` of the server's processes, added up, from its start to the end of the load.
    pub peak_rss_bytes: u64,
    /// The disk alone, just before and for as long. Only with a server whose responses wait for it.
    #[serde(flatten)]
    pub disk: Option<DiskSyncs>,
    /// Figures that the client reports.
    #[serde(flatten)]
    pub reported: Reported,
}

/// A client that has not ended this long after it should have is killed: its own timeout of a request is 10 s.
const CLIENT_GRACE: Duration = Duration::from_secs(15);
/// A server that has not taken each body of a protocol once after this time is not measured.
const INTRODUCTION_MAX: Duration = Duration::from_secs(60);
/// Pause between two looks at the server's CPU time while the load warms up.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// Time for which sampling goes on after the warm-up: a client needs some time to start, and its window begins that
/// much later.
const SAMPLE_BEYOND: Duration = Duration::from_millis(300);

/// Measures cells: knows where the programs are and where data may be written.
#[derive(Debug)]
pub struct Bench<'plan> {
    plan: &'plan Plan,
    bodies: Bodies,
    work: PathBuf,
}

impl<'plan> Bench<'plan> {
    /// Writes the bodies of every scenario into `work`, an empty directory.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(plan: &'plan Plan, work: &Path) -> io::Result<Self> {
        // load_test makes the bodies of protocols.
        let own = plan.cells.iter().filter(|cell| cell.scenario.protocol.is_none());
        let batches = own.map(|cell| cell.scenario.batch);
        Ok(Self { plan, bodies: Bodies::write(work, batches)?, work: work.to_owned() })
    }

    /// Starts the cell's server, puts the load on it, and ends it; its data is deleted.
    ///
    /// # Errors
    /// The server does not start, the client fails, or /proc is not as expected.
    pub fn measure(&self, round: u32, cell: &Cell) -> io::Result<Measurement> {
        let data = self.work.join("data");
        fs::create_dir(&data)?;
        let measured = self.measure_in(&data, round, cell);
        fs::remove_dir_all(&data)?;
        measured
    }

    fn measure_in(&self, data: &Path, round: u32, cell: &Cell) -> io::Result<Measurement> {
        let Cell { scenario, subject, client } = *cell;
        let disk = subject.waits_for_disk().then(|| disk::measure(data, self.plan.measured)).transpose()?;
        let port = process::free_port()?;
        let command = subject.command(&self.plan.programs, &self.plan.server_cores, port, data)?;
        let server = Server::start(command, port, &data.join("server.log"))?;
        if let Some(request) = subject.first_request() {
            process::ask(port, request)?;
        }
        let load = client::Load {
            programs: &self.plan.programs,
            cores: &self.plan.client_cores,
            port,
            subject,
            scenario,
            bodies: &self.bodies,
            warmup: self.plan.warmup,
            measured: self.plan.measured,
        };
        if client == Client::Wrk && !self.plan.warmup.is_zero() {
            // wrk has no warm-up of its own.
            client::run(load.warm_up(), self.plan.warmup + CLIENT_GRACE, Duration::ZERO, || Ok(()))?;
        }

        if let Some(command) = load.introduction() {
            client::run(command, INTRODUCTION_MAX, Duration::ZERO, || Ok(()))?;
        }

        let begin = Instant::now();
        let mut series = CpuSeries::default();
        let mut look = || {
            series.push(begin.elapsed(), server.cpu_ns()?);
            Ok(())
        };
        look()?;
        let patience = self.plan.warmup + load.length(client) + CLIENT_GRACE;
        let sampled = if client == Client::Wrk { Duration::ZERO } else { self.plan.warmup + SAMPLE_BEYOND };
        let output = client::run(load.command(client), patience, sampled, &mut look)?;
        let end = begin.elapsed();
        look()?;
        let reported = client.parse(&output).map_err(io::Error::other)?;
        // load_test leaves its warm-up out; the measured part is the last of it.
        let start = match client {
            Client::LoadTest => end.saturating_sub(Duration::from_secs_f64(reported.elapsed_s)),
            Client::Wrk => Duration::ZERO,
        };
        let cpu_us = series.used_ns(start) / 1e3;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let requests = reported.requests.max(1) as f64;
        Ok(Measurement {
            round,
            scenario: scenario.name,
            subject: subject.name,
            client: client.name(),
            batch: scenario.batch,
            server_cpu_us_per_request: cpu_us / requests,
            server_cpu_cores: cpu_us / 1e6 / reported.elapsed_s,
            peak_rss_bytes: server.peak_rss_bytes()?,
            disk,
            reported,
        })
    }
}

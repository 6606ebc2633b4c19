//! The programs that make the loads: our own load_test, and wrk for a second opinion; the arguments of each, and the
//! report that it prints.

use super::{
    options::Programs,
    process,
    scenario::Scenario,
    subject::{Bodies, Subject},
};
use crate::load::{BATCHES, Protocol};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// A program that makes loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Ours.
    LoadTest,
    /// Debian's wrk.
    Wrk,
}

/// The script that makes wrk POST.
pub const WRK_SCRIPT: &str = include_str!("wrk.lua");

/// Figures that a client reports of its measured part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reported {
    /// Requests with a response, and failed ones.
    pub requests: u64,
    /// Those of them without a response of 2xx. (wrk counts responses of 4xx and 5xx, and errors of sockets.)
    pub failed: u64,
    /// Seconds.
    pub elapsed_s: f64,
    /// Successes in a second.
    pub requests_per_second: f64,
    /// Latency in microseconds.
    pub p50_us: f64,
    /// Latency in microseconds.
    pub p99_us: f64,
    /// Latency in microseconds.
    pub p999_us: f64,
    /// The client's own CPU time; wrk does not say.
    pub client_cpu_us_per_request: Option<f64>,
}

/// Parameters of one run of a client.
#[derive(Debug)]
pub struct Load<'a> {
    /// Programs of the clients.
    pub programs: &'a Programs,
    /// The cores to run on; one thread on each.
    pub cores: &'a [usize],
    /// Port of the server.
    pub port: u16,
    /// The server.
    pub subject: &'a Subject,
    /// The load.
    pub scenario: &'a Scenario,
    /// Files of bodies.
    pub bodies: &'a Bodies,
    /// Not counted.
    pub warmup: Duration,
    /// Counted.
    pub measured: Duration,
}

impl Load<'_> {
    /// Returns the time for which `client` measures: wrk takes whole seconds.
    #[must_use]
    pub fn length(&self, client: Client) -> Duration {
        client.length(self.measured)
    }

    /// Returns the command that runs `client`.
    ///
    /// # Errors
    /// Its program is missing, or a file cannot be read.
    pub fn command(&self, client: Client) -> io::Result<Command> {
        match client {
            Client::LoadTest => self.load_test(self.warmup, self.measured),
            Client::Wrk => self.wrk(),
        }
    }

    /// Returns the command that warms the server up for a client that does not do so itself.
    ///
    /// # Errors
    /// load_test is missing, or a file cannot be read.
    pub fn warm_up(&self) -> io::Result<Command> {
        self.load_test(Duration::ZERO, self.warmup)
    }

    /// Returns the command that sends each of a protocol's bodies once, so that the server has all their series: a time
    /// series database takes many times as long for a new series as for the next sample of one.
    #[must_use]
    pub fn introduction(&self) -> Option<io::Result<Command>> {
        let protocol = self.scenario.protocol?;
        Some(self.pinned(Client::LoadTest).map(|mut command| {
            self.carry(&mut command, protocol);
            command.args(["-c", "1", "-n", &BATCHES.to_string(), "--format", "json"]);
            command
        }))
    }

    fn carry(&self, command: &mut Command, protocol: Protocol) {
        command.args([&self.port.to_string(), "--protocol", protocol.name()]);
        command.args(["--batch", &self.scenario.batch.to_string()]);
    }

    fn load_test(&self, warmup: Duration, measured: Duration) -> io::Result<Command> {
        let Self { scenario, .. } = self;
        let mut command = self.pinned(Client::LoadTest)?;
        if let Some(protocol) = scenario.protocol {
            self.carry(&mut command, protocol);
        } else if self.subject.takes_import_lines() {
            let url = format!("http://127.0.0.1:{}{}", self.port, self.subject.path());
            let body = fs::read_to_string(self.bodies.file(scenario.batch, true))?;
            command.args(["--url", &url, "--body", &body]);
        } else {
            command.args([self.port.to_string(), "--batch".to_owned(), scenario.batch.to_string()]);
        }
        command.args(["-c", &scenario.connections.to_string(), "-t", &self.cores.len().to_string()]);
        command.args(["-w", &milliseconds(warmup), "-d", &milliseconds(measured), "--format", "json"]);
        if let Some(rate) = scenario.requests_per_second {
            command.args(["--rate", &rate.to_string()]);
        }
        if !scenario.keep_alive {
            command.arg("--no-keepalive");
        } else if scenario.pipeline > 1 {
            command.args(["--pipeline", &scenario.pipeline.to_string()]);
        }
        Ok(command)
    }

    fn wrk(&self) -> io::Result<Command> {
        let Self { scenario, .. } = self;
        let threads = self.cores.len().min(scenario.connections as usize);
        let seconds = self.length(Client::Wrk).as_secs();
        let mut command = self.pinned(Client::Wrk)?;
        command.args(["-t", &threads.to_string(), "-c", &scenario.connections.to_string(), "-d", &seconds.to_string()]);
        command.arg("-s").arg(self.bodies.wrk_script());
        command.arg(format!("http://127.0.0.1:{}{}", self.port, self.subject.path()));
        command.arg(self.bodies.file(scenario.batch, self.subject.takes_import_lines()));
        Ok(command)
    }

    fn pinned(&self, client: Client) -> io::Result<Command> {
        let program = client.program(self.programs).map_err(io::Error::other)?;
        Ok(process::pinned(self.cores, program))
    }
}

fn milliseconds(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

impl Client {
    /// Both.
    pub const ALL: [Self; 2] = [Self::LoadTest, Self::Wrk];

    /// As in a table and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadTest => "load_test",
            Self::Wrk => "wrk",
        }
    }

    /// Returns the time for which it measures when `measured` is requested: wrk takes whole seconds, at least one.
    #[must_use]
    pub fn length(self, measured: Duration) -> Duration {
        match self {
            Self::LoadTest => measured,
            Self::Wrk => Duration::from_secs(measured.as_secs() + u64::from(measured.subsec_nanos() > 0)),
        }
    }

    /// Returns the path of its program.
    ///
    /// # Errors
    /// The program is missing; the text says how to install it.
    pub fn program(self, programs: &Programs) -> Result<&Path, &'static str> {
        let (path, missing) = match self {
            Self::LoadTest => (&programs.load_test, "load_test is not built"),
            Self::Wrk => (&programs.wrk, "wrk is not installed"),
        };
        path.as_deref().ok_or(missing)
    }

    /// Parses its standard output.
    ///
    /// # Errors
    /// The output is not a report, or one of no time at all.
    pub fn parse(self, output: &str) -> Result<Reported, String> {
        // wrk says more before it.
        let line = output.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        let report: Value =
            serde_json::from_str(line).map_err(|error| format!("{} reports '{output}': {error}", self.name()))?;
        let parsed = match self {
            Self::LoadTest => parse_load_test(&report),
            Self::Wrk => parse_wrk(&report),
        };
        parsed
            .filter(|reported| reported.elapsed_s > 0.0)
            .ok_or_else(|| format!("{} reports too little: {line}", self.name()))
    }
}

fn parse_load_test(report: &Value) -> Option<Reported> {
    let (requests, successes) = (report["requests"].as_u64()?, report["successes"].as_u64()?);
    // Without any success there is no latency; a report without a word of it is none.
    let latency = |name: &str| report["latency_us"][name].as_f64().or((successes == 0).then_some(f64::NAN));
    Some(Reported {
        requests,
        failed: requests.checked_sub(successes)?,
        elapsed_s: report["elapsed_s"].as_f64()?,
        requests_per_second: report["requests_per_second"].as_f64()?,
        p50_us: latency("p50")?,
        p99_us: latency("p99")?,
        p999_us: latency("p99.9")?,
        client_cpu_us_per_request: report["cpu_us_per_request"].as_f64(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn parse_wrk(report: &Value) -> Option<Reported> {
    let requests = report["requests"].as_u64()?;
    let statuses = report["statuses"].as_u64()?;
    let elapsed_s = report["duration_us"].as_u64()? as f64 / 1e6;
    Some(Reported {
        requests,
        failed: statuses + report["sockets"].as_u64()?,
        elapsed_s,
        requests_per_second: requests.checked_sub(statuses)? as f64 / elapsed_s,
        p50_us: report["p50"].as_f64()?,
        p99_us: report["p99"].as_f64()?,
        p999_us: report["p99.9"].as_f64()?,
        client_cpu_us_per_request: None,
    })
}

/// Runs a client to its end, and calls `look` every few milliseconds for the first `looking` of it. What it says on
/// standard output comes back; its exit code is not judged, for it reports failures itself.
///
/// # Errors
/// It cannot be run, it has not ended after `timeout` and is killed, or `look` fails.
pub fn run(
    command: io::Result<Command>,
    timeout: Duration,
    looking: Duration,
    mut look: impl FnMut() -> io::Result<()>,
) -> io::Result<String> {
    let mut child = command?.stdout(Stdio::piped()).spawn()?;
    let Some(mut stdout) = child.stdout.take() else { unreachable!("it was piped in the line above") };
    let (sender, output) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        // Nobody waits for the output after the timeout or an error of `look`.
        let _ = sender.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()));
    });
    let begin = Instant::now();
    let outcome = loop {
        let elapsed = begin.elapsed();
        let pause = if elapsed < looking { super::SAMPLE_EVERY } else { timeout.saturating_sub(elapsed) };
        match output.recv_timeout(pause) {
            Ok(read) => break read,
            Err(RecvTimeoutError::Timeout) if elapsed < looking => {
                if let Err(error) = look() {
                    break Err(error);
                }
            }
            Err(_) => break Err(io::Error::other(format!("the client has not ended after {} s", timeout.as_secs()))),
        }
    };
    if outcome.is_err() {
        let _ = child.kill();
    }
    child.wait()?;
    // Its output has ended with it.
    let _ = reader.join();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_load_test_is_read() {
        let report = r#"{"requests":1002,"successes":1000,"elapsed_s":2.0,"requests_per_second":500.0,
            "cpu_us_per_request":2.5,"latency_us":{"min":1.0,"p50":5.0,"p99":9.5,"p99.9":10.0,"max":11.0}}"#
            .replace('\n', "");
        let expected = Reported {
            requests: 1002,
            failed: 2,
            elapsed_s: 2.0,
            requests_per_second: 500.0,
            p50_us: 5.0,
            p99_us: 9.5,
            p999_us: 10.0,
            client_cpu_us_per_request: Some(2.5),
        };
        assert_eq!(Client::LoadTest.parse(&report), Ok(expected));
    }

    #[test]
    fn the_report_of_our_script_is_found_in_what_wrk_says() {
        let output = "Running 2s test @ http://127.0.0.1:8080/metrics\n  1 threads and 64 connections\n  \
            Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   391.06us   40us    2ms   97.53%\n  \
            Requests/sec: 160000.00\n\
            {\"requests\":320000,\"duration_us\":2000000,\"statuses\":20000,\"sockets\":3,\"p50\":390,\"p99\":500,\"p99.9\":900}\n";
        let reported = Client::Wrk.parse(output).unwrap();
        assert_eq!((reported.requests, reported.failed), (320_000, 20_003));
        assert!((reported.requests_per_second - 150_000.0).abs() < 0.1);
        assert_eq!((reported.p50_us, reported.p99_us, reported.p999_us), (390.0, 500.0, 900.0));
        assert_eq!(reported.client_cpu_us_per_request, None);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for client in Client::ALL {
            for output in ["", "unable to connect", "{", "{}", r#"{"requests":1}"#] {
                assert!(client.parse(output).unwrap_err().contains(client.name()), "{output}");
            }
        }
        let nothing = r#"{"requests":0,"duration_us":0,"statuses":0,"sockets":0,"p50":0,"p99":0,"p99.9":0}"#;
        assert!(Client::Wrk.parse(nothing).is_err());
    }

    #[test]
    fn wrk_measures_whole_seconds() {
        for (requested_ms, given_s) in [(300, 1), (1000, 1), (1001, 2), (2000, 2)] {
            assert_eq!(Client::Wrk.length(Duration::from_millis(requested_ms)), Duration::from_secs(given_s));
        }
        assert_eq!(Client::LoadTest.length(Duration::from_millis(300)), Duration::from_millis(300));
    }

    #[test]
    fn a_client_that_does_not_end_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut looks = 0;
        let span = Duration::from_millis(50);
        let error = run(Ok(command), span, span / 2, || {
            looks += 1;
            Ok(())
        })
        .unwrap_err();
        assert!(error.to_string().contains("not ended"), "{error}");
        assert!(looks > 0);
    }

    #[test]
    fn the_output_of_a_client_comes_back() {
        let mut command = Command::new("echo");
        command.arg("said");
        assert_eq!(run(Ok(command), Duration::from_secs(10), Duration::ZERO, || Ok(())).unwrap(), "said\n");
    }
}

//! The command line of `load_test`: what was typed, checked and settled into a [`Plan`].

use super::{
    Baseline, Heads, Requests,
    values::{self, SPAN_MAX, Target},
};
use crate::{
    body::{self, Body},
    cores,
    drivers::Choice,
};
use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use std::{
    ffi::OsString,
    fs,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

/// How the report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For scripts: one object.
    Json,
    /// The course over time: one row an interval.
    Csv,
    /// The latencies' distribution, as HdrHistogram's plotter reads it.
    Hgrm,
}

/// Acknowledgement levels of the server, as `?ack=` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    Memory,
    Write,
    Fsync,
}

/// A load, settled: nothing in it needs another look.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub server: SocketAddr,
    /// Concurrent connections, at least 1.
    pub clients: u32,
    /// Requests a second over all clients, at times scheduled beforehand; `None`: a closed loop.
    pub rate: Option<f64>,
    /// Requests of each client after the warm-up; in an open loop their number times this is that of all together.
    pub requests_each: Option<u64>,
    /// No request is begun this long after the warm-up.
    pub duration: Option<Duration>,
    /// Requests begun before this has passed are not counted.
    pub warmup: Duration,
    /// A client's rest between an answer and its next request.
    pub interval: Duration,
    /// Whether a connection carries more than one request.
    pub keep_alive: bool,
    /// Requests a client has in flight at one time, at least 1.
    pub pipeline: usize,
    /// From a request's begin to its complete answer, at most.
    pub timeout: Duration,
    /// Threads, each with its own driver; 1 to `clients`.
    pub threads: usize,
    /// Of the requests.
    pub method: String,
    /// Where they go, as a URL.
    pub url: String,
    /// What to send.
    pub requests: Requests,
    /// Which driver.
    pub driver: Choice,
    /// How to report.
    pub format: Format,
    /// Where to draw the figures as SVG.
    pub plot: Option<PathBuf>,
    /// What to compare with.
    pub baseline: Option<Baseline>,
}

/// Requests made up in advance: enough that a server does not see one batch only, few enough to stay in the cache.
const BATCHES: usize = 64;
/// Metrics of one made-up batch: a hundred times what the service takes by default.
const BATCH_METRICS_MAX: i64 = 100_000;
/// Requests in flight on one connection.
const PIPELINE_MAX: u64 = 1024;
/// Clients: as many as there are ports to connect from, which is fewer by default (net.ipv4.ip_local_port_range, ip(7)).
const CLIENTS_MAX: i64 = 65_535;
/// Methods that carry no body unless one is given (RFC 9110, 9.3).
const BODILESS: [&str; 5] = ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"];

/// Puts a load of metric batches, or of any requests, on an HTTP server and says what came back.
///
/// A closed loop, unless --rate is given: each client sends a request, waits for the answer, rests for INTERVAL_MS and sends the
/// next. Latency is then the time from handing the request to the driver to its complete answer; where it needs a new connection,
/// from handing over the connect. A closed loop asks a slow server less often, and so shows its slowness too rarely.
///
/// An open loop with --rate: the send times are fixed beforehand and none is skipped, whatever the server does. Any client that is
/// free takes the next send; when none is, the send is late. Latency is counted from the intended time ("corrected") and,
/// beside it, from the handing over ("raw"). Sends more than 1 ms behind their time are counted as late, and those still waiting
/// when the time is over as missed. On io_uring a load that sleeps between its sends is some 30 to 50 us behind the schedule,
/// the time that a wake-up takes, and the corrected figures hold that; on epoll, whose waits are whole milliseconds, up to 1 ms.
///
/// Success is an answer with status 2xx, and nothing else; percentiles are those of the successes. A request that fails is counted
/// and never repeated.
#[derive(Debug, Parser)]
#[command(name = "load_test", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Port of the server. Its /metrics gets the load.
    #[arg(required_unless_present = "url", conflicts_with = "url")]
    port: Option<u16>,
    /// Concurrent connections.
    #[arg(value_name = "CLIENTS", required_unless_present = "connections", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    client_count: Option<u32>,
    /// Requests of each client - not of all together. Needed unless --duration is given.
    #[arg(value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    request_count: Option<u64>,
    /// Pause of each client between an answer and its next request. The clients' starts are spread over one pause.
    #[arg(default_value_t = 0)]
    interval_ms: u64,

    /// The same as CLIENTS.
    #[arg(short, long, value_name = "CLIENTS", conflicts_with = "client_count", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    connections: Option<u32>,
    /// The same as REQUESTS: of each client.
    #[arg(short = 'n', long, value_name = "REQUESTS", conflicts_with = "request_count", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// An open loop: so many requests a second, over all clients. 500, 0.5, 20k.
    #[arg(short = 'R', long, value_name = "RATE", value_parser = values::rate)]
    rate: Option<f64>,
    /// Begin no request after this time; with REQUESTS, whichever ends first. 10s, 500ms, 2m; a plain number is seconds.
    #[arg(short, visible_short_alias = 'z', long, value_parser = values::span)]
    duration: Option<Duration>,
    /// Load for this long first, and count nothing of it.
    #[arg(short, long, value_parser = values::span, default_value = "0s")]
    warmup: Duration,
    /// Threads, each pinned to a core [default: one for each core this process may use].
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,

    /// Any HTTP server, in place of PORT: http://HOST[:PORT][/PATH][?QUERY].
    #[arg(long, conflicts_with_all = ["host", "ack"], value_parser = values::url)]
    url: Option<Target>,
    /// Name or address of the server.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Method of the requests. GET, HEAD, DELETE, OPTIONS and TRACE have no body unless one is given.
    #[arg(long, default_value = "POST", value_parser = values::method)]
    method: String,
    /// A connection for each request.
    #[arg(long)]
    no_keepalive: bool,
    /// Requests each client keeps in flight on its connection.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "no_keepalive", value_parser = clap::value_parser!(u64).range(1..=PIPELINE_MAX))]
    pipeline: u64,
    /// A request without a complete answer after this time has failed, and its connection is closed.
    #[arg(long, value_parser = values::span, default_value = "10s")]
    timeout: Duration,

    /// Metrics in each request.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BATCH_METRICS_MAX))]
    batch: u32,
    /// The batches are made up from this number: the same number, the same batches.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Send this text as the body of each request.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["batch", "seed", "body_file"])]
    body: Option<String>,
    /// Take the batches from this file, one JSON document a line, in turn; with --url, any lines.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "seed"])]
    body_file: Option<PathBuf>,
    /// Spread the connections over this many distinct Authorization values [default: none is sent].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: Option<u32>,
    /// Ask for this level of acknowledgement.
    #[arg(long)]
    ack: Option<Ack>,
    /// Add a header to each request; Host and Content-Type replace the usual ones.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    headers: Vec<String>,

    /// How to talk to the kernel.
    #[arg(long, value_enum, default_value = "auto")]
    driver: Choice,
    /// How to write the report. csv has one row an interval of the run: its start and width, requests, successes, rate, own CPU and
    /// latencies; hgrm is the whole distribution in milliseconds, corrected in an open loop, as HdrHistogram's plotter reads it.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Draw the percentile curve and the latency over time into this file.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Compare throughput, latency and own CPU with an earlier report of --format json, and say whether they differ by more than
    /// the runs themselves scatter. What changes from one run to the next is not in that: repeat both, in turn.
    #[arg(long, value_name = "FILE.json")]
    baseline: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Exit status: 0 if every request succeeded and no send was missed, 1 if not or if interrupted, 2 if it was used wrongly or nothing
listens at the port. SIGINT ends the load and reports what there is.

  load_test 8080 100 1000          100 clients, 1000 requests each
  load_test 8080 500 10 100        500 clients, 10 requests each, 100 ms apart
  load_test 8080 -c 64 -d 10s -w 2s --pipeline 16
  load_test 8080 -c 64 -d 30s --rate 20k --plot run.svg --format json >run.json
  load_test 8080 -c 64 -d 30s --rate 20k --baseline run.json
  load_test --url http://127.0.0.1:8428/api/v1/import -c 64 -d 10s --body-file lines.json";

/// Reads the command line, program name first, and settles it: looks the host up, reads the file of batches.
///
/// # Errors
/// What is wrong with it, or the text that `--help` or `--version` asks for; [`clap::Error::exit`] prints either.
pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Plan, clap::Error> {
    let typed = Arguments::try_parse_from(arguments)?;
    settle(typed).map_err(|(kind, message)| Arguments::command().error(kind, message))
}

fn settle(typed: Arguments) -> Result<Plan, (ErrorKind, String)> {
    let clients = typed.client_count.or(typed.connections).unwrap_or(1);
    let requests_each = typed.request_count.or(typed.requests);
    if requests_each.is_none() && typed.duration.is_none() {
        let message = "how much load: give REQUESTS (of each client) or --duration";
        return Err((ErrorKind::MissingRequiredArgument, message.to_owned()));
    }
    let wrong = |message: String| (ErrorKind::ValueValidation, message);
    let conflict = |message: &str| (ErrorKind::ArgumentConflict, message.to_owned());
    let authorized = typed.headers.iter().any(|header| values::name(header).eq_ignore_ascii_case("authorization"));
    if typed.clients.is_some() && authorized {
        return Err(conflict("--clients makes the Authorization values: leave the header out"));
    }
    let interval = Duration::from_millis(typed.interval_ms);
    if interval > SPAN_MAX {
        return Err(wrong(format!("INTERVAL_MS is over {} s", SPAN_MAX.as_secs())));
    }
    if typed.rate.is_some() && !interval.is_zero() {
        return Err(conflict("INTERVAL_MS paces a closed loop, --rate an open one: give one of them"));
    }
    if typed.timeout.is_zero() {
        return Err(wrong("with a timeout of zero no request can succeed".to_owned()));
    }
    let bodies = bodies(&typed).map_err(wrong)?;
    let target = typed.url.unwrap_or_else(|| {
        let level = typed.ack.and_then(|ack| ack.to_possible_value());
        let query = level.map_or_else(String::new, |level| format!("?ack={}", level.get_name()));
        // One of PORT and --url is required.
        Target { host: typed.host, port: typed.port.unwrap_or_default(), path: format!("/metrics{query}") }
    });
    let server = (target.host.as_str(), target.port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up '{}': {error}", target.host))
        .and_then(|found| {
            // A name like localhost stands for both kinds, and servers listen on the older one first.
            found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| format!("'{}' has no address", target.host))
        })
        .map_err(wrong)?;
    let heads = Heads {
        method: &typed.method,
        path: &target.path,
        host: &target.authority(),
        keep_alive: !typed.no_keepalive,
        identities: typed.clients.unwrap_or(0),
        headers: &typed.headers,
    };
    let threads = typed.threads.map_or_else(|| cores::allowed().len().max(1), |threads| threads as usize);
    Ok(Plan {
        server,
        clients,
        rate: typed.rate,
        requests_each,
        duration: typed.duration,
        warmup: typed.warmup,
        interval,
        keep_alive: !typed.no_keepalive,
        pipeline: usize::try_from(typed.pipeline).unwrap_or(1),
        timeout: typed.timeout,
        threads: threads.min(clients as usize),
        requests: Requests::new(&heads, &bodies),
        url: format!("http://{}{}", target.authority(), target.path),
        method: typed.method,
        driver: typed.driver,
        format: typed.format,
        plot: typed.plot,
        baseline: typed.baseline.map(|path| Baseline::read(&path)).transpose().map_err(wrong)?,
    })
}

/// The bodies that were asked for, none for requests without.
fn bodies(typed: &Arguments) -> Result<Vec<Body>, String> {
    match (&typed.body, &typed.body_file) {
        (Some(text), _) => Ok(vec![Body::verbatim(text)]),
        (None, Some(path)) => {
            let read = if typed.url.is_some() { body::read_verbatim } else { body::read_lines };
            fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| read(&text))
                .map_err(|error| format!("{}: {error}", path.display()))
        }
        (None, None) if BODILESS.contains(&typed.method.as_str()) => Ok(Vec::new()),
        (None, None) => Ok(body::generate(typed.seed, BATCHES, typed.batch)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Plan, clap::Error> {
        parse(["load_test"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn the_positionals_and_the_flags_say_the_same() {
        for line in ["8080 100 50", "8080 -c 100 -n 50", "8080 --connections 100 --requests 50", "8080 100 -n 50"] {
            let plan = typed(line).unwrap();
            assert_eq!((plan.clients, plan.requests_each, plan.interval), (100, Some(50), Duration::ZERO), "{line}");
            assert_eq!(plan.server, "127.0.0.1:8080".parse().unwrap());
            assert!(plan.keep_alive);
        }
        assert_eq!(typed("8080 500 10 100").unwrap().interval, Duration::from_millis(100));
        let plan = typed("1 -c 64 -d 10s -w 500ms -t 2 --pipeline 16 --timeout 2").unwrap();
        assert_eq!((plan.duration, plan.warmup), (Some(Duration::from_secs(10)), Duration::from_millis(500)));
        assert_eq!((plan.threads, plan.pipeline, plan.timeout), (2, 16, Duration::from_secs(2)));
        assert_eq!(plan.requests_each, None);
    }

    #[test]
    fn any_server_can_be_loaded() {
        let plan = typed("--url http://127.0.0.1:1/a?b -c 2 -z 1s --method PUT --body x -R 2k").unwrap();
        assert_eq!(
            (plan.url.as_str(), plan.method.as_str(), plan.rate),
            ("http://127.0.0.1:1/a?b", "PUT", Some(2000.0))
        );
        let mut request = Vec::new();
        plan.requests.write(0, 0, &mut request);
        let text = String::from_utf8(request).unwrap();
        assert!(
            text.starts_with("PUT /a?b HTTP/1.1\r\nHost: 127.0.0.1:1\r\n") && text.ends_with("\r\n\r\nx"),
            "{text}"
        );
        let mut request = Vec::new();
        typed("1 1 1 --method GET").unwrap().requests.write(0, 0, &mut request);
        assert_eq!(request, b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
        let mut request = Vec::new();
        typed("1 1 1 --host ::1 --ack fsync").unwrap().requests.write(0, 0, &mut request);
        assert!(request.starts_with(b"POST /metrics?ack=fsync HTTP/1.1\r\nHost: [::1]:1\r\n"));
    }

    #[test]
    fn there_are_no_more_threads_than_clients() {
        assert_eq!(typed("1 3 1 -t 8").unwrap().threads, 3);
    }

    #[test]
    fn wrong_use_is_told() {
        for line in [
            "",
            "8080",
            "8080 10",
            "8080 0 10",
            "8080 10 0",
            "99999 10 10",
            "8080 10 10 -c 10",
            "8080 10 10 -n 10",
            "8080 10 10 --pipeline 0",
            "8080 10 10 --pipeline 2 --no-keepalive",
            "8080 10 10 --timeout 0s",
            "8080 10 -d 10h",
            "8080 10 -d 99999999999999999999",
            "8080 10 10 --batch 0",
            "8080 10 10 --ack disk",
            "8080 10 10 -H nocolon",
            "8080 10 10 -H Connection:close",
            "8080 10 10 -H Content-Length:1",
            "8080 10 10 --clients 2 -H authorization:x",
            "8080 10 10 --body-file /nonexistent",
            "8080 10 10 --host no.such.host.invalid",
            "8080 10 10 --format xml",
            "8080 10 10 --no-such-flag",
            "8080 10 10 5 --rate 100",
            "8080 10 10 --rate 0",
            "8080 10 10 --url http://127.0.0.1/",
            "--url http://127.0.0.1:1/ -c 1",
            "--url https://127.0.0.1:1/ -c 1 -n 1",
            "--url http://127.0.0.1:1/ -c 1 -n 1 --ack fsync",
            "8080 10 10 --body x --batch 3",
            "8080 10 10 --baseline /nonexistent",
        ] {
            assert_eq!(typed(line).map(|_| ()).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn a_file_of_batches_takes_their_place() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(
            &mut file,
            b"{\"metrics\":[{\"name\":\"a\",\"value\":1},{\"name\":\"b\",\"value\":2}]}",
        )
        .unwrap();
        let plan = typed(&format!("1 1 1 --body-file {}", file.path().display())).unwrap();
        assert_eq!(plan.requests.write(0, 9, &mut Vec::new()), 2);
        assert!(typed(&format!("1 1 1 --batch 3 --body-file {}", file.path().display())).is_err());
    }
}

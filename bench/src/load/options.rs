//! The command line of `load_test`: what was typed, checked and settled into a [`Plan`].

use super::Requests;
use crate::{body, cores, drivers::Choice};
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
    /// Requests of each client after the warm-up.
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
    /// What to send.
    pub requests: Requests,
    /// Which driver.
    pub driver: Choice,
    /// How to report.
    pub format: Format,
}

/// Requests made up in advance: enough that a server does not see one batch only, few enough to stay in the cache.
const BATCHES: usize = 64;
/// Metrics of one made-up batch: a hundred times what the service takes by default.
const BATCH_METRICS_MAX: i64 = 100_000;
/// Requests in flight on one connection.
const PIPELINE_MAX: u64 = 1024;
/// Clients: as many as there are ports to connect from, which is fewer by default (net.ipv4.ip_local_port_range, ip(7)).
const CLIENTS_MAX: i64 = 65_535;
/// Any one span of time: a day.
const SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Puts a load of metric batches on an HTTP server and says what came back.
///
/// A closed loop: each client sends a request, waits for the answer, rests for INTERVAL_MS and sends the next. Success is an
/// answer with status 2xx, and nothing else. A request that fails is counted and never repeated. Latency is that of the
/// successes: the time from handing the request to the driver to its complete answer; where a request needs a new connection,
/// from handing over the connect.
#[derive(Debug, Parser)]
#[command(name = "load_test", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Port of the server.
    port: u16,
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
    /// Begin no request after this time; with REQUESTS, whichever ends first. 10s, 500ms, 2m; a plain number is seconds.
    #[arg(short, long, value_parser = span)]
    duration: Option<Duration>,
    /// Load for this long first, and count nothing of it.
    #[arg(short, long, value_parser = span, default_value = "0s")]
    warmup: Duration,
    /// Threads, each pinned to a core [default: one for each core this process may use].
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,

    /// Name or address of the server.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// A connection for each request.
    #[arg(long)]
    no_keepalive: bool,
    /// Requests each client keeps in flight on its connection.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "no_keepalive", value_parser = clap::value_parser!(u64).range(1..=PIPELINE_MAX))]
    pipeline: u64,
    /// A request without a complete answer after this time has failed, and its connection is closed.
    #[arg(long, value_parser = span, default_value = "10s")]
    timeout: Duration,

    /// Metrics in each request.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BATCH_METRICS_MAX))]
    batch: u32,
    /// The batches are made up from this number: the same number, the same batches.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Take the batches from this file, one JSON document a line, in turn.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "seed"])]
    body_file: Option<PathBuf>,
    /// Spread the connections over this many distinct Authorization values [default: none is sent].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    clients: Option<u32>,
    /// Ask for this level of acknowledgement.
    #[arg(long)]
    ack: Option<Ack>,
    /// Add a header to each request; Host and Content-Type replace the usual ones.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<String>,

    /// How to talk to the kernel.
    #[arg(long, value_enum, default_value = "auto")]
    driver: Choice,
    /// How to write the report.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

const AFTER_HELP: &str = "\
Exit status: 0 if every request succeeded, 1 if not or if interrupted, 2 if it was used wrongly or nothing listens at the port.
SIGINT ends the load and reports what there is.

  load_test 8080 100 1000          100 clients, 1000 requests each
  load_test 8080 500 10 100        500 clients, 10 requests each, 100 ms apart
  load_test 8080 -c 64 -d 10s -w 2s --pipeline 16";

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
    let authorized = typed.headers.iter().any(|header| name(header).eq_ignore_ascii_case("authorization"));
    if typed.clients.is_some() && authorized {
        let message = "--clients makes the Authorization values: leave the header out";
        return Err((ErrorKind::ArgumentConflict, message.to_owned()));
    }
    let interval = Duration::from_millis(typed.interval_ms);
    if interval > SPAN_MAX {
        return Err((ErrorKind::ValueValidation, format!("INTERVAL_MS is over {} s", SPAN_MAX.as_secs())));
    }
    if typed.timeout.is_zero() {
        return Err((ErrorKind::ValueValidation, "with a timeout of zero no request can succeed".to_owned()));
    }
    let server = (typed.host.as_str(), typed.port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up '{}': {error}", typed.host))
        .and_then(|found| {
            // A name like localhost stands for both kinds, and servers listen on the older one first.
            found.min_by_key(SocketAddr::is_ipv6).ok_or_else(|| format!("'{}' has no address", typed.host))
        })
        .map_err(|message| (ErrorKind::ValueValidation, message))?;
    let bodies = match &typed.body_file {
        None => body::generate(typed.seed, BATCHES, typed.batch),
        Some(path) => fs::read_to_string(path)
            .map_err(|error| error.to_string())
            .and_then(|text| body::read_lines(&text))
            .map_err(|error| (ErrorKind::ValueValidation, format!("{}: {error}", path.display())))?,
    };
    let level = typed.ack.and_then(|ack| ack.to_possible_value());
    let requests = Requests::new(
        &authority(&typed.host, typed.port),
        level.as_ref().map(|level| level.get_name()),
        !typed.no_keepalive,
        typed.clients.unwrap_or(0),
        &typed.headers,
        &bodies,
    );
    let threads = typed.threads.map_or_else(|| cores::allowed().len().max(1), |threads| threads as usize);
    Ok(Plan {
        server,
        clients,
        requests_each,
        duration: typed.duration,
        warmup: typed.warmup,
        interval,
        keep_alive: !typed.no_keepalive,
        pipeline: usize::try_from(typed.pipeline).unwrap_or(1),
        timeout: typed.timeout,
        threads: threads.min(clients as usize),
        requests,
        driver: typed.driver,
        format: typed.format,
    })
}

/// The value of `Host`; a literal IPv6 address goes into brackets (RFC 3986, 3.2.2).
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn name(header: &str) -> &str {
    header.split(':').next().unwrap_or_default().trim()
}

/// A header line. The framing of a request is not the caller's to change.
fn header(line: &str) -> Result<String, String> {
    let (name, _) = line.split_once(':').ok_or("a header is 'Name: value'")?;
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(format!("'{name}' is not a header's name"));
    }
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("a header is one line of text".to_owned());
    }
    if ["content-length", "transfer-encoding", "connection"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("{name} is load_test's own to set"));
    }
    Ok(line.to_owned())
}

/// A span of time: `10s`, `500ms`, `2m`, or plain seconds.
fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60 * 1000,
        _ => return Err("a time is a number with ms, s or m behind it".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a time is a number with ms, s or m behind it")?;
    let span = Duration::from_millis(number.saturating_mul(unit_ms));
    if span > SPAN_MAX { Err(format!("over {} s", SPAN_MAX.as_secs())) } else { Ok(span) }
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

    #[test]
    fn an_ipv6_host_is_bracketed() {
        assert_eq!(authority("::1", 80), "[::1]:80");
        assert_eq!(authority("localhost", 80), "localhost:80");
    }
}

//! The command line of `load_test`: what was typed, checked and settled into a [`Plan`].

mod arguments;
mod content;
mod in_turns;

use super::{
    Arrivals, Baseline, Condition, Mark, Pace, RateProfile, Requests, Rounds, Turns,
    tls::Tls,
    values::{self, SPAN_MAX, Target},
};
use crate::{cores, drivers::Choice};
use arguments::Arguments;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum, error::ErrorKind, parser::ValueSource};
pub use content::BATCHES;
use content::{requests, targets};
use reactor::Endpoint;
use std::{
    ffi::OsString,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

/// Format of the report.
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
    /// The figures in Prometheus' text format, for a pushgateway or a textfile collector.
    Prometheus,
}

/// A load, settled: nothing in it needs another look.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub server: Endpoint,
    /// All places that its name stands for.
    pub addresses: Vec<Endpoint>,
    /// TLS towards the server, if it is used.
    pub tls: Option<Tls>,
    /// Concurrent connections, at least 1.
    pub clients: u32,
    /// Pace by which the send times are scheduled beforehand; `None`: a closed loop.
    pub pace: Option<Pace>,
    /// Requests of each client after the warm-up; in an open loop their number times this is that of all together.
    pub requests_each: Option<u64>,
    /// No request is begun this long after the warm-up.
    pub duration: Option<Duration>,
    /// Requests begun before this has passed are not counted.
    pub warmup: Duration,
    /// A client's rest between a response and its next request.
    pub interval: Duration,
    /// True if a connection carries more than one request.
    pub keep_alive: bool,
    /// Requests a client has in flight at one time, at least 1.
    pub pipeline: usize,
    /// From a request's begin to its complete response, at most.
    pub timeout: Duration,
    /// Threads, each with its own driver; 1 to `clients`.
    pub threads: usize,
    /// Method of the requests.
    pub method: String,
    /// URL of the requests; the first of several.
    pub url: String,
    /// Path and query of all of them.
    pub path: String,
    /// Requests to send.
    pub requests: Requests,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Which driver.
    pub driver: Choice,
    /// Format of the report.
    pub format: Format,
    /// File in which the figures are drawn as SVG.
    pub plot: Option<PathBuf>,
    /// File in which each request is recorded.
    pub log: Option<PathBuf>,
    /// Baseline to compare with.
    pub baseline: Option<Baseline>,
    /// Conditions that fail the run.
    pub fail_if: Vec<Condition>,
    /// So many failed requests end the load.
    pub errors_max: Option<u64>,
    /// The mark of the run on the server's live page.
    pub mark: Option<Mark>,
    /// The server's process, if it is named.
    pub pid: Option<u32>,
    /// True if a thread watches the server and the host meanwhile. It reads /proc, which allocates by time, never by
    /// request.
    pub watch: bool,
}

/// A comparison of reports, without a load.
#[derive(Debug)]
pub struct Comparison {
    /// The reports.
    pub compared: Compared,
    /// Format of the report: text or JSON.
    pub format: Format,
    /// Conditions that fail it.
    pub fail_if: Vec<Condition>,
}

/// Reports that are compared.
#[derive(Debug)]
pub enum Compared {
    /// Options of runs.
    Runs(Baseline),
    /// Options of two servers in turns.
    Rounds(Rounds),
}

/// A report out of logs, without a load.
#[derive(Debug)]
pub struct Merge {
    /// The logs, at least one.
    pub logs: Vec<PathBuf>,
    /// Format of the report.
    pub format: Format,
    /// File in which the figures are drawn as SVG.
    pub plot: Option<PathBuf>,
    /// Conditions that fail it.
    pub fail_if: Vec<Condition>,
}

/// Operation that a command line selects.
#[derive(Debug)]
pub enum Invocation {
    /// A load.
    Load(Box<Plan>),
    /// A load on two servers in turns.
    Turns(Box<Turns>),
    /// A comparison of what earlier loads reported.
    Compare(Comparison),
    /// A report out of the logs of earlier loads.
    Merge(Merge),
}

/// Timeout of a connect to one of several addresses.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

impl Plan {
    /// Chooses the first of several addresses that accepts a connection. A single one is not tried: the load does that.
    pub fn settle_address(&mut self) {
        if self.addresses.len() > 1
            && let Some(found) = self.addresses.iter().find(|address| accepts(address))
        {
            self.server = found.clone();
            self.addresses = vec![self.server.clone()];
        }
    }
}

/// Returns true if one of several addresses accepts a connection; a unix socket is always the only one.
fn accepts(address: &Endpoint) -> bool {
    matches!(address, Endpoint::Inet(address) if TcpStream::connect_timeout(address, PROBE_TIMEOUT).is_ok())
}

/// Seed of random figures, unless --seed gives another.
const SEED: u64 = 1;

/// Reads the command line, program name first, and resolves it: looks the host up, reads the file of batches.
///
/// # Errors
/// An invalid command line, or the text that `--help` or `--version` requests; [`clap::Error::exit`] prints either.
pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Plan, clap::Error> {
    let typed = Arguments::try_parse_from(arguments)?;
    settle(typed).map_err(refused)
}

/// Reads a command line that may also ask for a comparison or a merge, without a load.
///
/// # Errors
/// See [`parse`].
pub fn invocation(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Invocation, clap::Error> {
    let matches = Arguments::command().try_get_matches_from(arguments)?;
    let typed = Arguments::from_arg_matches(&matches)?;
    if !typed.merge.is_empty() {
        return merge(typed, &matches).map(Invocation::Merge);
    }
    if typed.against.is_some() {
        let turns = in_turns::turns(typed, Arguments::from_arg_matches(&matches)?);
        return turns.map(|turns| Invocation::Turns(Box::new(turns))).map_err(refused);
    }
    let names_a_server = typed.names_a_server();
    if !typed.round.is_empty() && (names_a_server || !typed.with.is_empty()) {
        let message = "--round is an earlier report of --against: give that, or rounds alone".to_owned();
        return Err(refused((ErrorKind::ArgumentConflict, message)));
    }
    if names_a_server || (typed.with.is_empty() && typed.round.is_empty()) {
        return settle(typed).map(|plan| Invocation::Load(Box::new(plan))).map_err(refused);
    }
    comparison(typed).map(Invocation::Compare).map_err(refused)
}

/// Refuses flags that a comparison without a load of its own does not know.
fn is_comparison(typed: &Arguments) -> Result<(), (ErrorKind, String)> {
    let conflict = |message| Err((ErrorKind::ArgumentConflict, message));
    if !matches!(typed.format, Format::Text | Format::Json) {
        return conflict("a comparison is written as text or json".to_owned());
    }
    match typed.fail_if.iter().find(|condition| matches!(condition, Condition::Bound { .. })) {
        Some(bound) => conflict(format!("'{bound}' is about a single load, and this is a comparison")),
        None => Ok(()),
    }
}

fn comparison(typed: Arguments) -> Result<Comparison, (ErrorKind, String)> {
    is_comparison(&typed)?;
    let compared = if typed.round.is_empty() {
        Baseline::read(&typed.baseline, &typed.with).map(Compared::Runs)
    } else {
        Rounds::read(&typed.round).map(Compared::Rounds)
    };
    let compared = compared.map_err(|message| (ErrorKind::ValueValidation, message))?;
    Ok(Comparison { compared, format: typed.format, fail_if: typed.fail_if })
}

/// Flags that a merge may have beside its logs.
const OF_MERGE: [&str; 4] = ["merge", "format", "plot", "fail_if"];

fn merge(typed: Arguments, matches: &ArgMatches) -> Result<Merge, clap::Error> {
    let mut command = Arguments::command();
    command.build();
    let is_typed = |argument: &&clap::Arg| {
        let id = argument.get_id().as_str();
        !OF_MERGE.contains(&id) && matches.value_source(id) == Some(ValueSource::CommandLine)
    };
    if let Some(argument) = command.get_arguments().find(is_typed) {
        let message = format!("{argument} is about a load, and --merge makes none");
        return Err(refused((ErrorKind::ArgumentConflict, message)));
    }
    if typed.fail_if.iter().any(|condition| !matches!(condition, Condition::Bound { .. })) {
        let message = "worse and undecided are about a comparison, and --merge makes none".to_owned();
        return Err(refused((ErrorKind::ArgumentConflict, message)));
    }
    Ok(Merge { logs: typed.merge, format: typed.format, plot: typed.plot, fail_if: typed.fail_if })
}

fn refused((kind, message): (ErrorKind, String)) -> clap::Error {
    Arguments::command().error(kind, message)
}

fn length(profile: &RateProfile) -> Duration {
    Duration::from_nanos(profile.end_ns())
}

fn settle(typed: Arguments) -> Result<Plan, (ErrorKind, String)> {
    let missing = |message: &str| (ErrorKind::MissingRequiredArgument, message.to_owned());
    if !typed.names_a_server() {
        return Err(missing("which server: give PORT, --url URL or --unix-socket PATH"));
    }
    let clients = typed.client_count.or(typed.connections);
    let clients = clients.ok_or_else(|| missing("how many clients: give CLIENTS, behind PORT or as -c CLIENTS"))?;
    let requests_each = typed.request_count.or(typed.requests);
    if requests_each.is_none() && typed.duration.is_none() && typed.stages.is_none() {
        return Err(missing(
            "how much load: give REQUESTS (of each client), as -n REQUESTS without PORT, --duration or --stages",
        ));
    }
    let wrong = |message: String| (ErrorKind::ValueValidation, message);
    let conflict = |message: &str| (ErrorKind::ArgumentConflict, message.to_owned());
    for (name, is_set, flag) in [
        ("Authorization", typed.clients.is_some(), "--clients"),
        ("Content-Type", typed.content_type.is_some(), "--content-type"),
        ("Content-Encoding", typed.compress.is_some(), "--compress"),
        ("Content-Encoding", typed.protocol.is_some_and(|protocol| protocol.compression().is_some()), "--protocol"),
    ] {
        if is_set && typed.headers.iter().any(|header| values::name(header).eq_ignore_ascii_case(name)) {
            return Err(conflict(&format!("{flag} sets {name}: leave the header out")));
        }
    }
    let interval = Duration::from_millis(typed.interval_ms);
    if interval > SPAN_MAX {
        return Err(wrong(format!("INTERVAL_MS is over {} s", SPAN_MAX.as_secs())));
    }
    let pace = pace(&typed).map_err(conflict)?;
    if pace.is_some() && !interval.is_zero() {
        return Err(conflict("INTERVAL_MS paces a closed loop, --rate and --stages an open one: give one of them"));
    }
    if typed.timeout.is_zero() {
        return Err(wrong("with a timeout of zero no request can succeed".to_owned()));
    }
    let targets = targets(&typed);
    let Some(target) = targets.first() else { unreachable!("PORT or a URL was given") };
    let tls = tls(&typed, &targets)?;
    let addresses = match &typed.unix_socket {
        Some(socket) => vec![Endpoint::Unix(socket.clone())],
        None => addresses(target).map_err(wrong)?,
    };
    let requests = requests(&typed, &targets)?;
    let baseline = (!typed.baseline.is_empty()).then(|| Baseline::read(&typed.baseline, &typed.with));
    check_conditions(&typed).map_err(conflict)?;
    Ok(Plan {
        server: addresses[0].clone(),
        addresses,
        tls,
        mark: mark(&typed, target)?,
        clients,
        // Stages say themselves how long they are.
        duration: typed.duration.or_else(|| typed.stages.as_ref().map(length)),
        pace,
        requests_each,
        warmup: typed.warmup,
        interval,
        keep_alive: !typed.no_keepalive,
        pipeline: usize::try_from(typed.pipeline).unwrap_or(1),
        timeout: typed.timeout,
        threads: threads(typed.threads).min(clients as usize),
        requests,
        seed: typed.seed.unwrap_or(SEED),
        url: format!("http{}://{}{}", if target.tls { "s" } else { "" }, target.authority(), target.path),
        path: targets.iter().map(|target| target.path.as_str()).collect::<Vec<_>>().join(" "),
        method: typed.method,
        driver: typed.driver,
        format: typed.format,
        plot: typed.plot,
        log: typed.log,
        baseline: baseline.transpose().map_err(wrong)?,
        fail_if: typed.fail_if,
        errors_max: typed.max_errors,
        pid: typed.pid,
        watch: true,
    })
}

/// Refuses conditions about a comparison where there is none.
fn check_conditions(typed: &Arguments) -> Result<(), &'static str> {
    let compares = !typed.baseline.is_empty() || typed.against.is_some();
    let wants = typed.fail_if.iter().any(|condition| !matches!(condition, Condition::Bound { .. }));
    if wants && !compares { Err("worse and undecided are about a comparison: give --baseline") } else { Ok(()) }
}

/// Returns the number of threads: as given, or one for each core.
fn threads(given: Option<u32>) -> usize {
    given.map_or_else(|| cores::allowed().len().max(1), |threads| threads as usize)
}

/// Returns the mark of the run. It goes to the server beside the requests, with their Authorization if they have one.
fn mark(typed: &Arguments, target: &Target) -> Result<Option<Mark>, (ErrorKind, String)> {
    if typed.mark.is_some() && target.tls {
        return Err((ErrorKind::ArgumentConflict, "--mark is posted without TLS: it takes an http URL".to_owned()));
    }
    let is_authorization = |header: &&String| values::name(header).eq_ignore_ascii_case("authorization");
    let authorization = typed.headers.iter().find(is_authorization).cloned();
    Ok(typed.mark.clone().map(|name| Mark { name, host: target.authority(), authorization }))
}

/// Returns the TLS settings of the one server of `targets`, if TLS is used.
fn tls(typed: &Arguments, targets: &[Target]) -> Result<Option<Tls>, (ErrorKind, String)> {
    let conflict = |message: &str| Err((ErrorKind::ArgumentConflict, message.to_owned()));
    let server = |target: &Target| (target.authority(), target.tls);
    if targets.windows(2).any(|pair| server(&pair[0]) != server(&pair[1])) {
        return conflict("several URLs differ in their path and query only: one load has one server");
    }
    let target = targets.first().filter(|target| target.tls);
    if target.is_none() && (typed.ca.is_some() || typed.insecure) {
        return conflict("--ca and --insecure are for an https URL");
    }
    let tls = target.map(|target| Tls::new(&target.host, typed.ca.as_deref(), typed.insecure));
    tls.transpose().map_err(|message| (ErrorKind::ValueValidation, message))
}

/// Returns the pace of an open loop; none for a closed one.
fn pace(typed: &Arguments) -> Result<Option<Pace>, &'static str> {
    if typed.stages.is_some() {
        let requests = typed.request_count.or(typed.requests).is_some();
        if requests || typed.duration.is_some() {
            return Err("--stages say how much load there is: leave REQUESTS and --duration out");
        }
        if !typed.warmup.is_zero() {
            return Err("--stages have no warm-up: a first stage at a low rate is one, and has a line of its own");
        }
    }
    let profile = typed.stages.clone().or_else(|| typed.rate.map(RateProfile::steady));
    let arrivals = typed.arrivals.unwrap_or(Arrivals::Even);
    if typed.arrivals.is_some() && profile.is_none() {
        return Err("--arrivals are those of an open loop: give --rate or --stages");
    }
    Ok(profile.map(|profile| Pace { profile, arrivals, seed: typed.seed.unwrap_or(SEED) }))
}

/// The addresses of the server, at least one.
fn addresses(target: &Target) -> Result<Vec<Endpoint>, String> {
    let found = (target.host.as_str(), target.port).to_socket_addrs();
    let found = found.map_err(|error| format!("cannot look up '{}': {error}", target.host))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // A name like localhost stands for both kinds, and servers listen on the older one first.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(format!("'{}' has no address", target.host));
    }
    Ok(addresses.into_iter().map(Endpoint::Inet).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Variables;
    use std::sync::atomic::AtomicU64;

    fn typed(line: &str) -> Result<Plan, clap::Error> {
        parse(["load_test"].into_iter().chain(line.split_whitespace()))
    }

    /// The request of the first client with the batch of that turn, and the metrics in it.
    fn request(plan: &Plan, turn: usize) -> (String, u32) {
        let (sequence, mut request) = (AtomicU64::new(0), Vec::new());
        let metrics = plan.requests.write(0, turn, &mut Variables::new(&sequence, 1, 0), &mut request);
        (String::from_utf8(request).unwrap(), metrics)
    }

    #[test]
    fn the_positionals_and_the_flags_say_the_same() {
        for line in ["8080 100 50", "8080 -c 100 -n 50", "8080 --connections 100 --requests 50", "8080 100 -n 50"] {
            let plan = typed(line).unwrap();
            assert_eq!((plan.clients, plan.requests_each, plan.interval), (100, Some(50), Duration::ZERO), "{line}");
            assert_eq!(plan.server, Endpoint::Inet("127.0.0.1:8080".parse().unwrap()));
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
            (plan.url.as_str(), plan.method.as_str(), plan.pace.clone()),
            ("http://127.0.0.1:1/a?b", "PUT", Some(Pace::steady(2000.0)))
        );
        let (text, _) = request(&plan, 0);
        assert!(
            text.starts_with("PUT /a?b HTTP/1.1\r\nHost: 127.0.0.1:1\r\n") && text.ends_with("\r\n\r\nx"),
            "{text}"
        );
        let (text, _) = request(&typed("1 1 1 --method GET").unwrap(), 0);
        assert_eq!(text, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
        let (text, _) = request(&typed("1 1 1 --host ::1 --ack fsync").unwrap(), 0);
        assert!(text.starts_with("POST /metrics?ack=fsync HTTP/1.1\r\nHost: [::1]:1\r\n"));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (line, says) in [
            ("-c 1 -n 1", "PORT, --url URL or --unix-socket"),
            ("8080", "give CLIENTS"),
            ("--url http://127.0.0.1:1/ -n 1", "as -c CLIENTS"),
            ("--url http://127.0.0.1:1/ -c 1", "-n REQUESTS"),
        ] {
            let refused = typed(line).unwrap_err().to_string();
            assert!(refused.contains(says), "{line}: {refused}");
        }
    }

    #[test]
    fn a_unix_socket_takes_the_place_of_an_address() {
        for (line, server, url) in [
            ("--unix-socket /a/b -c 2 -n 3 --ack write", "unix:/a/b", "http://localhost:80/metrics?ack=write"),
            (
                "--unix-socket unix:@name --url http://example.invalid/x -c 2 -n 3",
                "unix:@name",
                "http://example.invalid:80/x",
            ),
        ] {
            let plan = typed(line).unwrap();
            assert_eq!((plan.server.to_string().as_str(), plan.url.as_str()), (server, url));
        }
        let long = format!("--unix-socket /{} -c 1 -n 1", "x".repeat(200));
        assert!(typed(&long).unwrap_err().to_string().contains("at most 107 bytes"));
    }

    #[test]
    fn the_first_address_that_accepts_is_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let listens = listener.local_addr().unwrap();
        let silent = SocketAddr::new([127, 0, 0, 1].into(), listens.port());
        let mut plan = typed(&format!("{} 1 1", listens.port())).unwrap();
        let both = [Endpoint::Inet(silent), Endpoint::Inet(listens)];
        plan.addresses = both.to_vec();
        plan.settle_address();
        assert_eq!((&plan.server, plan.addresses.as_slice()), (&both[1], &both[1..]));
        drop(listener);
        plan.addresses = both.to_vec();
        plan.settle_address();
        assert_eq!(plan.addresses.len(), 2, "none accepts: all are named");
    }

    #[test]
    fn several_paths_are_taken_in_turn() {
        let plan = typed("--url http://127.0.0.1:1/a --url http://127.0.0.1:1/b -c 1 -n 1").unwrap();
        let path = |turn| request(&plan, turn).0.split(' ').nth(1).unwrap().to_owned();
        assert_eq!([path(0), path(1), path(2)], ["/a", "/b", "/a"]);
    }

    #[test]
    fn there_are_no_more_threads_than_clients() {
        assert_eq!(typed("1 3 1 -t 8").unwrap().threads, 3);
    }

    #[test]
    fn stages_say_how_long_the_load_is() {
        let plan = typed("1 9 --stages 10s:1000,30s:5000 --arrivals poisson --seed 7 --body x").unwrap();
        let pace = plan.pace.unwrap();
        assert_eq!((plan.duration, plan.requests_each), (Some(Duration::from_secs(40)), None));
        assert_eq!((pace.profile.stages().len(), pace.arrivals, pace.seed), (2, Arrivals::Poisson, 7));
        for (line, says) in [
            ("1 9 5 --stages 1s:10", "leave REQUESTS"),
            ("1 9 --stages 1s:10 -d 5s", "leave REQUESTS"),
            ("1 9 --stages 1s:10 -w 1s", "no warm-up"),
            ("1 9 --stages 1s:10 --rate 5", "cannot be used with"),
            ("1 9 --stages 1s:0", "above 0"),
            ("1 9 --stages 1s", "DURATION:RATE"),
            ("1 9 5 --arrivals poisson", "give --rate or --stages"),
            ("1 9 5 --rate 5 --arrivals often", "possible values"),
            ("1 9 5 --rate 5 --body x --seed 3", "does nothing"),
        ] {
            let refused = typed(line).unwrap_err().to_string();
            assert!(refused.contains(says), "{line}: {refused}");
        }
    }

    #[test]
    fn a_merge_takes_logs_and_forms_only() {
        let of = |line: &str| invocation(["load_test"].into_iter().chain(line.split_whitespace()));
        let Ok(Invocation::Merge(merge)) = of("--merge a b --format hgrm --plot c --fail-if p99>5ms --merge d") else {
            panic!("a merge");
        };
        assert_eq!((merge.logs.len(), merge.format, merge.fail_if.len()), (3, Format::Hgrm, 1));
        for (line, says) in [
            ("--merge", "a value is required"),
            ("8080 --merge a", "[PORT] is about a load"),
            ("--url http://h/ --merge a", "--url <URL> is about a load"),
            ("--merge a --rate 5", "--rate <RATE> is about a load"),
            ("--merge a --log b", "--log <FILE> is about a load"),
            ("--merge a --baseline b", "is about a load"),
            ("--merge a --fail-if worse", "about a comparison"),
        ] {
            let refused = of(line).map(|_| ()).unwrap_err();
            assert!(refused.exit_code() == 2 && refused.to_string().contains(says), "{line}: {refused}");
        }
    }

    #[test]
    fn wrong_use_is_reported() {
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
            "8080 10 -d 25h",
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
            "8080 10 10 5 --stages 1s:5",
            "8080 10 10 --rate 0",
            "8080 10 10 --url http://127.0.0.1/",
            "--url http://127.0.0.1:1/ -c 1",
            "--url https://127.0.0.1:1/ -c 1 -n 1 --ca /nonexistent",
            "--url http://127.0.0.1:1/ -c 1 -n 1 --insecure",
            "--url http://127.0.0.1:1/ -c 1 -n 1 --ack fsync",
            "8080 10 10 --body x --batch 3",
            "8080 10 10 --body x --seed 3",
            "8080 10 10 --body {{no}}",
            "8080 10 10 --body @/nonexistent",
            "8080 10 10 -H X:{{no}}",
            "8080 10 10 --compress brotli",
            "8080 10 10 --compress gzip --body {{seq}}",
            "8080 10 10 --compress gzip -H content-encoding:gzip",
            "8080 10 10 --compress gzip --method GET",
            "8080 10 10 --content-type text",
            "8080 10 10 --content-type text/plain -H content-type:a/b",
            "8080 10 10 --content-type text/plain --method GET",
            "8080 10 10 --baseline /nonexistent",
            "8080 10 10 --with /nonexistent",
            "8080 10 10 --fail-if worse",
            "8080 10 10 --fail-if p99>5",
            "8080 10 10 --max-errors 0",
            "8080 10 10 --pid 0",
            "--url http://127.0.0.1:1/ --url http://127.0.0.1:2/ -c 1 -n 1",
            "--url unix:/a -c 1 -n 1",
            "--unix-socket  -c 1 -n 1",
            "--unix-socket @ -c 1 -n 1",
            "8080 --unix-socket /a -c 1 -n 1",
            "--unix-socket /a --host ::1 -c 1 -n 1",
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
        assert_eq!(request(&plan, 9).1, 2);
        assert!(typed(&format!("1 1 1 --batch 3 --body-file {}", file.path().display())).is_err());
    }
}

//! Flags of the command line, and their text in `--help`.

use super::{super::values, Format};
use crate::{
    drivers::Choice,
    load::{
        Arrivals, Compression, Condition, Protocol, RateProfile,
        condition::condition,
        mark,
        protocols::BATCH_METRICS_MAX,
        values::{Against, Target},
    },
};
use clap::{Parser, ValueEnum};
use reactor::listen::UnixAddress;
use std::{ffi::OsString, path::PathBuf, time::Duration};

/// Requests in flight on one connection.
const PIPELINE_MAX: u64 = 1024;
/// Clients: as many as there are ports to connect from, which is fewer by default (net.ipv4.ip_local_port_range,
/// ip(7)).
const CLIENTS_MAX: i64 = 65_535;

/// Acknowledgement levels of the server, as `?ack=` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Ack {
    Memory,
    Write,
    Fsync,
}

/// Puts a load of metric batches, or of any requests, on an HTTP server and says what came back.
///
/// A closed loop, unless --rate or --stages is given: each client sends a request, waits for the response, rests for
/// INTERVAL_MS and sends the next. Latency is then the time from handing the request to the driver to its complete
/// response; where it needs a new connection, from handing over the connect. A closed loop asks a slow server less
/// often, and so shows its slowness too rarely.
///
/// An open loop with --rate or --stages: the send times are fixed beforehand and none is skipped, whatever the server
/// does. Any client that is free takes the next send; when none is, the send is late. Latency is counted from the
/// intended time ("corrected") and, beside it, from the handing over ("raw"). Sends more than 1 ms behind their time
/// are counted as late, and those still waiting when the time is over as missed. On io_uring a load that sleeps between
/// its sends is some 30 to 50 us behind the schedule, the time that a wake-up takes, and the corrected figures hold
/// that; on epoll, whose waits are whole milliseconds, up to 1 ms.
///
/// Success is a response with status 2xx, and nothing else; percentiles are those of the successes. A request that
/// fails is counted and never repeated.
#[derive(Debug, Parser)]
#[command(name = "load_test", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// Port of the server. Its /metrics, or the path of --protocol, gets the load.
    #[arg(conflicts_with_all = ["url", "unix_socket"])]
    pub port: Option<u16>,
    /// Concurrent connections.
    #[arg(value_name = "CLIENTS", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub client_count: Option<u32>,
    /// Requests of each client - not of all together. Needed unless --duration is given.
    #[arg(value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub request_count: Option<u64>,
    /// Pause of each client between a response and its next request. The clients' starts are spread over one pause.
    #[arg(default_value_t = 0)]
    pub interval_ms: u64,

    /// The same as CLIENTS.
    #[arg(short, long, value_name = "CLIENTS", conflicts_with = "client_count", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub connections: Option<u32>,
    /// The same as REQUESTS: of each client.
    #[arg(short = 'n', long, value_name = "REQUESTS", conflicts_with = "request_count", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// An open loop: so many requests a second, over all clients. 500, 0.5, 20k.
    #[arg(short = 'R', long, value_name = "RATE", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// An open loop whose rate changes: DURATION:RATE for each stage, as 10s:1000,30s:5000. In a stage the rate goes in
    /// a straight line from that of the stage before, from 0 at the start, to its own. The same rate again holds it; a
    /// stage of 0s is a jump, so that 0s:1000,10s:1000 is 1000 at once. The report has a line for each stage.
    #[arg(long, value_name = "STAGES", conflicts_with = "rate", value_parser = values::stages)]
    pub stages: Option<RateProfile>,
    /// Arrivals of an open loop's sends: even, or poisson, at random as those of many independent clients do, with
    /// exponentially distributed gaps that --seed repeats [default: even].
    #[arg(long, value_enum, hide_possible_values = true)]
    pub arrivals: Option<Arrivals>,
    /// Begin no request after this time; with REQUESTS, whichever ends first. 10s, 500ms, 2m, 1h; a plain number is
    /// seconds.
    #[arg(short, visible_short_alias = 'z', long, value_parser = values::span)]
    pub duration: Option<Duration>,
    /// Load for this long first, and count nothing of it.
    #[arg(short, long, value_parser = values::span, default_value = "0s")]
    pub warmup: Duration,
    /// Threads, each pinned to a core [default: one for each core this process may use].
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Option<u32>,

    /// Any HTTP server, in place of PORT: http[s]://HOST[:PORT][/PATH][?QUERY]. Several of them, which differ in path
    /// and query only, are taken in turn. {{seq}} and {{rand}} are replaced in them. CLIENTS and REQUESTS are then
    /// given as -c and -n.
    #[arg(long, conflicts_with_all = ["host", "ack"], value_parser = values::url)]
    pub url: Vec<Target>,
    /// Connect to this unix socket, a path or the @NAME of an abstract one. --url then says what Host and path are
    /// [default: /metrics]. CLIENTS and REQUESTS are then given as -c and -n.
    #[arg(long, value_name = "PATH", conflicts_with = "host", value_parser = values::unix_socket)]
    pub unix_socket: Option<UnixAddress>,
    /// Trust the certificates in this PEM file, in place of this host's, for an https URL. The server's is verified by
    /// the host of the URL. Every connection makes a full handshake, which the time to connect includes; bytes are
    /// those of HTTP, before encryption.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Take any certificate of an https URL.
    #[arg(long)]
    pub insecure: bool,
    /// Name or address of the server. Of several addresses the first is taken that accepts a connection.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Method of the requests. GET, HEAD, DELETE, OPTIONS and TRACE have no body unless one is given.
    #[arg(long, default_value = "POST", value_parser = values::method)]
    pub method: String,
    /// A connection for each request.
    #[arg(long)]
    pub no_keepalive: bool,
    /// Requests each client keeps in flight on its connection.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "no_keepalive", value_parser = clap::value_parser!(u64).range(1..=PIPELINE_MAX))]
    pub pipeline: u64,
    /// A request without a complete response after this time has failed, and its connection is closed.
    #[arg(long, value_parser = values::span, default_value = "10s")]
    pub timeout: Duration,
    /// End the load when so many requests, those of the warm-up too, have failed or got another status than 2xx
    /// [default: never].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_errors: Option<u64>,

    /// Protocol of the requests: scrapes of 200 hosts by a Prometheus node exporter, some 570 counters, gauges and
    /// summaries of each, made up from --seed, in the bodies, content coding and headers of this protocol, and where
    /// its servers take it. 64 bodies are made and compressed before the load and sent in turn. Their timestamps are
    /// fixed: the last scrape is at the start of the program, so that in a long load they grow old, and come again.
    /// Text has none. json has the same metrics as POST /metrics takes them; without --protocol, batches are of three
    /// short metrics without timestamps, the workload of the published figures.
    #[arg(long, value_enum, conflicts_with_all = ["body", "body_file"])]
    pub protocol: Option<Protocol>,
    /// Metrics in each request. Prometheus sends 2,000.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=BATCH_METRICS_MAX))]
    pub batch: u32,
    /// Batches, the random numbers of {{rand}} and Poisson arrivals are made up from this number: the same number, the
    /// same load [default: 1].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Send this text, in which {{seq}} and {{rand}} are replaced, as the body of each request; or, with @FILE, all
    /// bytes of that file as they stand.
    #[arg(long, value_name = "TEXT|@FILE", conflicts_with_all = ["batch", "body_file"])]
    pub body: Option<OsString>,
    /// Take the batches from this file, one JSON document a line, in turn; with --url, any lines. {{seq}} and {{rand}}
    /// are replaced.
    #[arg(long, value_name = "FILE", conflicts_with = "batch")]
    pub body_file: Option<PathBuf>,
    /// Content-Type of the bodies [default: that of the protocol, or application/json, and application/octet-stream
    /// where a body is not UTF-8].
    #[arg(long, value_name = "TYPE", value_parser = values::content_type)]
    pub content_type: Option<String>,
    /// Compress each body, once before the load, and send Content-Encoding. Bodies with {{…}} are refused: to compress
    /// one for each request would be measured as latency of the server. snappy is the block format, which remote write
    /// has unless another is given here.
    #[arg(long, value_enum, value_name = "CODING")]
    pub compress: Option<Compression>,
    /// Spread the connections over this many distinct Authorization values [default: none is sent].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub clients: Option<u32>,
    /// Ask for this level of acknowledgement.
    #[arg(long)]
    pub ack: Option<Ack>,
    /// Add a header to each request; Host and Content-Type replace the usual ones. {{seq}} and {{rand}} are replaced in
    /// its value.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = values::header)]
    pub headers: Vec<String>,

    /// Driver to use.
    #[arg(long, value_enum, default_value = "auto")]
    pub driver: Choice,
    /// Format of the report. csv has one row an interval of the run: its start and width, requests, successes, rate,
    /// own CPU and latencies; hgrm is the whole distribution in milliseconds, corrected in an open loop, as
    /// HdrHistogram's plotter reads it. prometheus has the figures in Prometheus' text format.
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// Draw the percentile curve, and latency, throughput and errors over time, into this file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// Record each request that is counted in this file, as CSV: when it was meant for and sent, its latency and first
    /// byte (all in nanoseconds), its status or error, connection, stage, metrics and bytes. A thread of its own
    /// writes; what it cannot write in time is left out, and counted.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Mark the run, from its beginning to its end, under this name on the charts of the server's live page: POST
    /// /ui/marks, which takes a client on the server's host, or a valid key in -H 'Authorization: Bearer KEY'. A run
    /// that a signal ends is marked as ended too. A server without a live page is loaded all the same, after a warning.
    #[arg(long, value_name = "NAME", value_parser = mark::name)]
    pub mark: Option<String>,
    /// Load nothing: make one report of the logs of several runs, on this host or on others, as of one run. Rates are
    /// over the time that at least one of the runs covers, by their hosts' clocks.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub merge: Vec<PathBuf>,
    /// Compare throughput, latency, the server's CPU time and own CPU time with an earlier report of --format json.
    /// Given several times, the runs show what changes from one to the next: a difference beyond that is claimed, of
    /// one run only a factor of three. A report of another workload or host is refused; a run that had to share its
    /// cores gets no verdict.
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Vec<PathBuf>,
    /// A report of an earlier run of the same server as this one, which is compared together with it. Without PORT and
    /// --url nothing is loaded, and these reports are compared with those of --baseline.
    #[arg(long, value_name = "FILE.json", requires = "baseline")]
    pub with: Vec<PathBuf>,
    /// Load two servers in turns, and compare them: PORT, or --url, is the baseline, and this the other. Each is
    /// measured for --duration, in slices of 250 ms in pairs of random order, each slice with new connections and a
    /// warm-up of 50 ms or --warmup. What the host does to both slices of a pair cancels out in their ratio; a
    /// difference is claimed when the sign test finds it in the pairs at 99.9 %. Pairs that had to share their cores
    /// are left out; when they are more than half there is no verdict.
    #[arg(long, value_name = "PORT|URL", value_parser = values::against, conflicts_with_all = [
        "requests", "request_count", "stages", "unix_socket", "plot", "log", "mark", "baseline", "pid",
    ])]
    pub against: Option<Against>,
    /// A report of an earlier --against --format json of the same two servers, started anew since: the verdict is on
    /// all rounds, which have to agree in the direction. Without PORT and --url nothing is loaded.
    #[arg(long, value_name = "FILE.json")]
    pub round: Vec<PathBuf>,
    /// Exit with 3 when this holds: worse (than the baseline), undecided (no verdict), or a bound on a figure, as
    /// 'p99>5ms', 'success<99.9%', 'throughput<20k', 'failed>0' or 'server_cpu>8us'. What was not measured holds. May
    /// be repeated.
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub fail_if: Vec<Condition>,
    /// Process of the server, whose CPU time is read [default: those of this host that listen at its address].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,
}

impl Arguments {
    /// Returns true if there is a server to load.
    pub fn names_a_server(&self) -> bool {
        self.port.is_some() || !self.url.is_empty() || self.unix_socket.is_some()
    }
}

const AFTER_HELP: &str = "\
Variables: {{seq}} is the number of the request, 0, 1, 2, … over all connections and the warm-up, the same wherever
it stands in one request; {{rand}} is a random number from 0 to 2^64 - 1, {{rand 1 100}} one from 1 to 100, a new one
wherever it stands; {{{{ is a literal {{. Content-Length is that of each body.

Exit status: 0 if every request succeeded and no send was missed, 1 if not or if it was stopped (by a signal or --max-errors), 2 if
it was used wrongly, nothing listens at the port, or the report cannot be written, 3 if a --fail-if holds. SIGINT, SIGTERM and
SIGHUP end the load and report what there is.

  load_test 8080 100 1000          100 clients, 1000 requests each
  load_test 8080 500 10 100        500 clients, 10 requests each, 100 ms apart
  load_test 8080 -c 64 -d 10s -w 2s --pipeline 16
  load_test 8080 -c 64 -d 30s --rate 20k --plot run.svg --format json >run.json
  load_test 8080 -c 64 --stages 10s:1000,30s:5000,20s:5000 --arrivals poisson --plot ramp.svg
  load_test 8080 -c 64 -d 30s --rate 20k --mark 'even 20k'
  load_test 8080 -c 64 -d 30s --rate 20k --log one.csv                on each of two hosts, and then
  load_test --merge one.csv two.csv --format json >both.json
  load_test 8080 -c 64 -d 30s --rate 20k --baseline a1.json --baseline a2.json --baseline a3.json --fail-if worse
  load_test --url https://localhost:8443/metrics --ca ca.pem -c 64 -d 10s
  load_test --unix-socket /run/metricstream.sock -c 64 -d 10s
  load_test --baseline a1.json --baseline a2.json --baseline a3.json --with b1.json --with b2.json --with b3.json
  load_test 8080 --against 8081 -c 64 -d 10s --format json >r1.json   and again with both servers started anew, and then
  load_test --round r1.json --round r2.json --round r3.json --fail-if worse
  load_test --url http://127.0.0.1:8428/api/v1/import -c 64 -d 10s --body-file lines.json
  load_test --url 'http://127.0.0.1:8080/items/{{rand 1 1000}}' -c 8 -d 10s --method PUT --body '{\"id\":{{seq}}}'
  load_test --url http://127.0.0.1:8080/upload -c 8 -d 10s --body @picture.png --content-type image/png
  load_test 8080 -c 64 -d 10s --batch 1000 --compress zstd
  load_test 8080 -c 16 -d 10s --protocol remote-write --batch 2000
  load_test --url http://127.0.0.1:8086/write?db=telegraf -c 8 -d 10s --protocol influx --batch 5000";

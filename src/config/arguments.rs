//! What was typed, or stood in the file. Nothing is decided here.

use super::{
    ConfigError,
    choices::{Compression, DriverChoice, LogFormat, StatsAuth, WriterCore},
    file::read_all,
    listen::{ListenAddress, Mode, list},
    parse::{Bytes, Span, Text},
    placement::CoreList,
};
use crate::{
    http::Origin,
    log::AckLevel,
    proxy::{ForwardedHeader, TrustedProxy},
    trace::Protocol,
};
use clap::Args;
use serde::Deserialize;
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// The headings of `--help`, in the order in which they are shown.
const LISTENING: &str = "Listening";
const CORES: &str = "Cores and driver";
const CLIENTS: &str = "Clients";
const BATCHES: &str = "Batches";
const TIMEOUTS: &str = "Timeouts";
const LOG: &str = "Log";
const ROTATION: &str = "Rotation and retention";
const QUERIES: &str = "Queries";
const OBSERVATION: &str = "Observation";
const TELEMETRY: &str = "OpenTelemetry";

/// What was typed, or stood in the file: nothing is decided yet.
///
/// The first paragraph of a field is what `-h` shows, with the default in square brackets; `--help` shows all of it:
/// the unit, the bounds ("From a to b", which a test tries) and what happens at them.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arguments {
    /// Addresses, names or unix sockets to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    ///
    /// 127.0.0.1:8080, [::1]:8080, [fe80::1%eth0]:8080, localhost:8080 (each address of the name, looked up at the
    /// start), *:8080 (all of IPv6 and IPv4), unix:/run/metricstream/http.sock or unix:@NAME (abstract). Several are
    /// given one by one or with commas, 64 at most. [::]:8080 takes IPv4 too, unless an IPv4 address is given with the
    /// same port. The file of a unix socket replaces one that a dead server left, and goes with a clean stop. What was
    /// taken is said in the line "listening on". There is no TLS: what comes over a foreign network belongs behind a
    /// proxy that has it.
    #[arg(long, env = "METRICSTREAM_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = LISTENING)]
    #[serde(deserialize_with = "list")]
    pub listen: Option<Vec<ListenAddress>>,
    /// The same, for proxies that begin each connection with a PROXY protocol header [default: none]
    ///
    /// Version 1 or 2, from --trusted-proxies, who must send it: what comes without one is answered 400, as is a header
    /// from anybody else, who is served without one. The client is then the address in the header; LOCAL and UNKNOWN
    /// leave it to be the proxy. Without --listen beside it, nothing else is listened on.
    #[arg(long, env = "METRICSTREAM_PROXY_LISTEN", help_heading = LISTENING)]
    #[arg(value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub proxy_listen: Option<Vec<ListenAddress>>,
    /// The same, for statistics alone [default: none, they are served to all]
    ///
    /// GET /metrics, /stats and /stats/clients are then served here and nowhere else, with /health and /ready, which
    /// stay public too. 16 connections for each reactor are kept for it beside --max-connections, so that a crowd of
    /// clients does not keep the monitoring out.
    #[arg(long, env = "METRICSTREAM_ADMIN_LISTEN", help_heading = LISTENING)]
    #[arg(value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub admin_listen: Option<Vec<ListenAddress>>,
    /// Networks of the proxies that are believed when they name a client [default: none]
    ///
    /// 10.0.0.0/8, 2001:db8::/32, 192.0.2.7, or unix for whoever may connect to a unix socket; 256 at most. What
    /// anybody else says of a client is ignored.
    #[arg(long, env = "METRICSTREAM_TRUSTED_PROXIES", help_heading = LISTENING)]
    #[arg(value_name = "NET", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub trusted_proxies: Option<Vec<TrustedProxy>>,
    /// The field by which a trusted proxy names the client of a request [default: auto]
    ///
    /// It is read from the right: the first address that is no trusted proxy is the client, and an entry that is no
    /// address ends the search at the last proxy before it. auto takes the field that is there; of a request with both,
    /// which do not agree, the client is the proxy. Name the one that your proxies set: they pass on the other as the
    /// client sent it.
    #[arg(long, env = "METRICSTREAM_FORWARDED_HEADER", help_heading = LISTENING)]
    #[arg(value_name = "auto|forwarded|x-forwarded-for|off")]
    pub forwarded_header: Option<Text<ForwardedHeader>>,
    /// Permissions of the file of a unix socket, in octal [default: 660]
    ///
    /// From 000 to 777. To connect takes the permission to write to it, and to search the directories above it.
    #[arg(long, env = "METRICSTREAM_UNIX_MODE", value_name = "MODE", help_heading = LISTENING)]
    pub unix_mode: Option<Text<Mode>>,
    /// Connections open at one time [default: 10000, or what the descriptor limit allows]
    ///
    /// Each takes one descriptor; the soft limit is raised to the hard one by itself (ulimit -Hn, LimitNOFILE= in
    /// systemd), and a number that the limit does not allow is refused at the start. A newcomer over the
    /// bound takes the place of an idle or unfinished one of the address that has the most, if its own has fewer; else
    /// it is answered 503 with Retry-After, but for /health and /ready.
    #[arg(long, env = "METRICSTREAM_MAX_CONNECTIONS", value_name = "N", help_heading = LISTENING)]
    pub max_connections: Option<u32>,
    /// Cores to run on: auto, or a list such as 0-3 or 0,2 [default: auto]
    ///
    /// auto takes every core that this process may use (taskset, AllowedCPUs=, a cpuset). A named core that it may not
    /// use is refused at the start. The last core runs the log's writer, each other one a reactor; on one core they
    /// share it.
    #[arg(long, env = "METRICSTREAM_CORES", value_name = "LIST", help_heading = CORES)]
    pub cores: Option<CoreList>,
    /// Number of reactors [default: one a core, the writer's core left out]
    ///
    /// From 1 to 256. More than there are cores is allowed: they share them.
    #[arg(long, env = "METRICSTREAM_REACTORS", value_name = "N", help_heading = CORES)]
    pub reactors: Option<usize>,
    /// Core of the log's writer [default: auto]
    ///
    /// auto takes the last of the cores.
    #[arg(long, env = "METRICSTREAM_WRITER_CORE", value_name = "auto|N", help_heading = CORES)]
    pub writer_core: Option<WriterCore>,
    /// Network driver [default: auto]
    ///
    /// auto takes io_uring where all its rings can be had (Linux 6.0 or later, not forbidden by a sysctl, a seccomp
    /// filter or the limit of locked memory), else epoll; which one and why is said at the start. A driver that is
    /// named is never replaced: where it cannot be had the server does not start.
    #[arg(long, env = "METRICSTREAM_DRIVER", value_name = "auto|io_uring|epoll", help_heading = CORES)]
    pub driver: Option<DriverChoice>,
    /// How long the writer looks for lines before it sleeps [default: 10us, 0s when it shares its core with a reactor]
    ///
    /// From 0s to 10ms. To wake a thread costs more than several requests; to poll costs the writer's core.
    #[arg(long, env = "METRICSTREAM_WRITER_POLL", value_name = "TIME", help_heading = CORES)]
    pub writer_poll: Option<Text<Span>>,
    /// Requests that a client may make in any one second; 0 is without limit [default: 10000]
    ///
    /// From 0 to 10000000. A client is its API key; without --api-keys its Authorization value; else its address. The
    /// window slides and is exact over all cores. A batch is charged at its head, whatever becomes of it, and given
    /// back when it is refused with a 503. One over the limit is answered 429, unread, with the Retry-After that its
    /// window asks for. A request with a wrong key is charged to its address.
    #[arg(long, env = "METRICSTREAM_RATE_LIMIT", value_name = "N", help_heading = CLIENTS)]
    pub rate_limit: Option<u32>,
    /// Decoded bytes that a client may send in any one second; 0 is without limit [default: 256MiB, 0 with --rate-limit
    /// 0]
    ///
    /// From 0 to 1024GiB. A bucket that leaks as fast as it holds: up to a second's worth at once, and on average so
    /// many. A compressed body is charged as it is decompressed, which ends at the limit: 429 with Retry-After. A body
    /// over the limit is answered 413, as one over --max-body is.
    #[arg(long, env = "METRICSTREAM_RATE_LIMIT_BYTES", value_name = "SIZE", help_heading = CLIENTS)]
    pub rate_limit_bytes: Option<Text<Bytes>>,
    /// Authorization values that are clients of their own, for each address, without --api-keys [default: 1024]
    ///
    /// From 1 to 16777216. Further ones at the same time are charged to the address, as they are when three quarters of
    /// --max-clients are taken.
    #[arg(long, env = "METRICSTREAM_MAX_NAMES_PER_ADDRESS", value_name = "N", help_heading = CLIENTS)]
    pub max_names_per_address: Option<usize>,
    /// Leading bits of an IPv6 address that are one client [default: 64]
    ///
    /// From 1 to 128. A host can take any address of its network, which is a /64 as a rule. Who was given a /48 has
    /// 65536 of these: 48 makes them one client.
    #[arg(long, env = "METRICSTREAM_IPV6_PREFIX", value_name = "BITS", help_heading = CLIENTS)]
    pub ipv6_prefix: Option<u8>,
    /// Clients whose rate is remembered at one time [default: 65536]
    ///
    /// From 1 to 16777216; 128 bytes each. A new client that finds no place, as none is idle, is answered 503 with
    /// Retry-After. One place in four is kept from names that no key proves: those count as their address then.
    #[arg(long, env = "METRICSTREAM_MAX_CLIENTS", value_name = "N", help_heading = CLIENTS)]
    pub max_clients: Option<usize>,
    /// File of the API keys that may post and ask [default: none, all may]
    ///
    /// One key a line, which a client sends as Authorization, with or without Bearer before it; blank lines and those
    /// that begin with # are left out. It is read at the start, must be a regular file, and is refused if its group may
    /// write it or others may do anything with it (chmod 0640). A batch or a query with another key, or without one, is
    /// answered 401.
    #[arg(long, env = "METRICSTREAM_API_KEYS", value_name = "FILE", help_heading = CLIENTS)]
    pub api_keys: Option<PathBuf>,
    /// Origins whose web pages may send batches and read responses; * is all [default: none]
    ///
    /// As a browser sends it: https://app.example or http://localhost:3000. Several are given one by one or with
    /// commas, 64 at most. Preflight requests (OPTIONS) are then answered 204; every response names the origin,
    /// refusals too, and lets the page see Retry-After. Without it OPTIONS is answered 405.
    #[arg(long, env = "METRICSTREAM_CORS_ORIGIN", help_heading = CLIENTS)]
    #[arg(value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub cors_origin: Option<Vec<Origin>>,
    /// Who may read GET /metrics, /stats and /stats/clients: all, or those with an API key [default: open]
    ///
    /// With keys, which takes --api-keys, a request for statistics without a key is answered 401. /health and /ready
    /// are open to all in any case.
    #[arg(long, env = "METRICSTREAM_STATS_AUTH", value_name = "open|keys", help_heading = CLIENTS)]
    pub stats_auth: Option<StatsAuth>,
    /// Largest body, as sent and also after decompression [default: 4MiB]
    ///
    /// From 1 to 64MiB. A larger one is answered 413, whole or chunked, and nothing of it is stored.
    #[arg(long, env = "METRICSTREAM_MAX_BODY", value_name = "SIZE", help_heading = BATCHES)]
    pub max_body: Option<Text<Bytes>>,
    /// Most metrics in one batch [default: 1000]
    ///
    /// From 1 to 1000000. A larger batch is answered 400.
    #[arg(long, env = "METRICSTREAM_MAX_BATCH", value_name = "N", help_heading = BATCHES)]
    pub max_batch: Option<usize>,
    /// Longest name of a metric, in bytes [default: 255]
    ///
    /// From 1 to 65536, counted after unescaping. A batch with a longer one is answered 400.
    #[arg(long, env = "METRICSTREAM_MAX_NAME", value_name = "BYTES", help_heading = BATCHES)]
    pub max_name: Option<usize>,
    /// Most tags on one metric [default: 128]
    ///
    /// From 1 to 1024. A batch with more on one metric is answered 400.
    #[arg(long, env = "METRICSTREAM_MAX_TAGS", value_name = "N", help_heading = BATCHES)]
    pub max_tags: Option<usize>,
    /// Longest value of a tag, and longest key, in bytes [default: 1048576]
    ///
    /// From 1 to 67108864, counted after unescaping. A batch with a longer one is answered 400.
    #[arg(long, env = "METRICSTREAM_MAX_TAG_VALUE", value_name = "BYTES", help_heading = BATCHES)]
    pub max_tag_value: Option<usize>,
    /// How long a request's head may take from its first byte [default: 10s]
    ///
    /// From 1ms to 24h. Over it: 408, and the connection ends.
    #[arg(long, env = "METRICSTREAM_HEAD_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub head_timeout: Option<Text<Span>>,
    /// How long a request's body may take from the end of its head [default: 30s]
    ///
    /// From 1ms to 24h. Over it: 408, and the connection ends; nothing of the batch is stored.
    #[arg(long, env = "METRICSTREAM_BODY_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub body_timeout: Option<Text<Span>>,
    /// How long a connection may stay open between requests [default: 75s]
    ///
    /// From 1ms to 24h. Over it the connection is closed without a word. Behind a load balancer it must be longer than
    /// the balancer's own (60 s for most): the balancer must never send a request into a connection that is closing.
    #[arg(long, env = "METRICSTREAM_IDLE_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub idle_timeout: Option<Text<Span>>,
    /// How long a client may take to read its answers, and the log to store what they wait for [default: 30s]
    ///
    /// From 1ms to 24h. Over it the connection is closed. A batch whose answer was given up may still be stored, whole.
    #[arg(long, env = "METRICSTREAM_WRITE_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub write_timeout: Option<Text<Span>>,
    /// How long a stop may take before connections are cut off [default: 10s]
    ///
    /// From 1ms to 24h. What was acknowledged is written and synced all the same; for that there are 10 s more.
    #[arg(long, env = "METRICSTREAM_DRAIN_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub drain_timeout: Option<Text<Span>>,
    /// Directory of the log [default: data]
    ///
    /// Made when it is missing, and locked: one server at a time. It holds metrics.jsonl (the active segment),
    /// metrics-TIME.jsonl (sealed ones) and, after a crash, torn-TIME.bin (what was moved aside). A disk that is full
    /// answers batches 503, and goes on by itself.
    #[arg(long, env = "METRICSTREAM_DATA_DIR", value_name = "DIR", help_heading = LOG)]
    pub data_dir: Option<PathBuf>,
    /// When a batch is acknowledged, unless the request says ?ack= [default: write]
    ///
    /// memory: handed to the writer; survives only a clean stop. write: in the file; survives the death of the process.
    /// fsync: on stable storage, by group commit; survives the loss of power.
    #[arg(long, env = "METRICSTREAM_ACK", value_name = "memory|write|fsync", help_heading = LOG)]
    pub ack: Option<Text<AckLevel>>,
    /// Memory of each reactor's ring to the writer [default: 16MiB, more when --max-body needs it]
    ///
    /// A power of two up to 1GiB, in which a batch of --max-body fits twice. When it is full, as the disk is slower
    /// than the load, batches are answered 503 with Retry-After.
    #[arg(long, env = "METRICSTREAM_RING_SIZE", value_name = "SIZE", help_heading = LOG)]
    pub ring_size: Option<Text<Bytes>>,
    /// Size at which the log is rotated; 0 is never [default: 1GiB]
    ///
    /// From 64KiB. Rotated is: sealed under a name that says when, and begun anew. No batch is split.
    #[arg(long, env = "METRICSTREAM_ROTATE_SIZE", value_name = "SIZE", help_heading = ROTATION)]
    pub rotate_size: Option<Text<Bytes>>,
    /// Age at which the log is rotated; 0s is never [default: 0s]
    ///
    /// From 1s. SIGHUP rotates at once, whatever is set, and takes over a file that was put in the log's place.
    #[arg(long, env = "METRICSTREAM_ROTATE_AGE", value_name = "TIME", help_heading = ROTATION)]
    pub rotate_age: Option<Text<Span>>,
    /// Whether sealed segments are compressed [default: off]
    ///
    /// zstd makes metrics-TIME.jsonl.zst of them, which zstdcat reads, in blocks that can be skipped. A thread of low
    /// priority does it.
    #[arg(long, env = "METRICSTREAM_COMPRESS", value_name = "off|zstd", help_heading = ROTATION)]
    pub compress: Option<Compression>,
    /// Bytes of the whole log above which the oldest sealed segments are deleted; 0 keeps everything [default: 0]
    ///
    /// From 64KiB. The active segment is never deleted, so something has to rotate: --rotate-size or --rotate-age.
    #[arg(long, env = "METRICSTREAM_RETAIN_SIZE", value_name = "SIZE", help_heading = ROTATION)]
    pub retain_size: Option<Text<Bytes>>,
    /// Age since its sealing above which a segment is deleted; 0s keeps everything [default: 0s]
    ///
    /// From 1s. A wall clock that is set by more than a minute deletes nothing: see RELIABILITY.md.
    #[arg(long, env = "METRICSTREAM_RETAIN_AGE", value_name = "TIME", help_heading = ROTATION)]
    pub retain_age: Option<Text<Span>>,
    /// Threads that answer queries; 0 turns queries off [default: one for 4 cores, at least 2]
    ///
    /// From 0 to 256. A query that finds some of them idle uses them too. 64 more queries wait for a thread, 32 of one
    /// client; further ones are answered 503, or 429 to that client, with Retry-After. One client has half of the
    /// threads at most. Without threads the paths of queries are answered 404.
    #[arg(long, env = "METRICSTREAM_QUERY_THREADS", value_name = "N", help_heading = QUERIES)]
    pub query_threads: Option<usize>,
    /// Cores that queries run on: auto, or a list such as 0-3 or 0,2 [default: auto]
    ///
    /// auto takes those of --cores on which nothing else runs; if there is none, the writer's; if a reactor runs there
    /// too, all. Where they share a core with a reactor or the writer, they yield to it.
    #[arg(long, env = "METRICSTREAM_QUERY_CORES", value_name = "LIST", help_heading = QUERIES)]
    pub query_cores: Option<CoreList>,
    /// How long a query may take until its answer begins, the wait for a thread included [default: 30s]
    ///
    /// From 1ms to 24h. Over it: 503 with Retry-After. An answer that has begun ends when its client does not take
    /// a piece of 64 KiB within --write-timeout.
    #[arg(long, env = "METRICSTREAM_QUERY_TIMEOUT", value_name = "TIME", help_heading = QUERIES)]
    pub query_timeout: Option<Text<Span>>,
    /// Most series in an answer, or names or values of a tag [default: 262144]
    ///
    /// From 1 to 100000000. A query that would have more is answered 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_SERIES", value_name = "N", help_heading = QUERIES)]
    pub query_max_series: Option<usize>,
    /// Most points in an answer [default: 1000000]
    ///
    /// From 1 to 100000000; each is about 30 bytes of JSON. A query that would have more is answered 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_POINTS", value_name = "N", help_heading = QUERIES)]
    pub query_max_points: Option<usize>,
    /// Most memory that one query may hold while it is evaluated [default: 512MiB]
    ///
    /// From 1MiB to 1024GiB, for each of --query-threads. A query that needs more is answered 422. Answers that are not
    /// read hold as much together, those of one client half of it.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_MEMORY", value_name = "SIZE", help_heading = QUERIES)]
    pub query_max_memory: Option<Text<Bytes>>,
    /// Most of the log that one query may look at, decompressed [default: 1024GiB]
    ///
    /// From 1MiB to 1048576GiB. What is known to hold nothing that is asked for is not looked at, and not counted. A
    /// query that would look at more is answered 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_SCAN", value_name = "SIZE", help_heading = QUERIES)]
    pub query_max_scan: Option<Text<Bytes>>,
    /// How often a line of figures is logged; 0s is never [default: 10s]
    ///
    /// Connections, batches a second, success and failure, p50/p95/p99 of the interval, queues, memory. GET /stats
    /// shows the same interval and all since the start.
    #[arg(long, env = "METRICSTREAM_STATS_INTERVAL", value_name = "TIME", help_heading = OBSERVATION)]
    pub stats_interval: Option<Text<Span>>,
    /// Form of the lines on standard error [default: text]
    ///
    /// text for people, json for programs: one object a line. The variable METRICSTREAM_LOG sets what is logged: error,
    /// warn, info (the default), debug. Lines that standard error does not take are dropped and counted.
    #[arg(long, env = "METRICSTREAM_LOG_FORMAT", value_name = "text|json", help_heading = OBSERVATION)]
    pub log_format: Option<LogFormat>,
    /// URL of an OTLP receiver, for traces and the server's own figures [default: what the OTEL_* variables say, else none]
    ///
    /// Such as http://127.0.0.1:4318, or https:// with the certificates of this machine. Over HTTP, v1/traces and v1/metrics are
    /// added to it. A receiver that does not answer costs what was to be exported, and nothing else.
    #[arg(long, env = "METRICSTREAM_OTLP_ENDPOINT", value_name = "URL", help_heading = TELEMETRY)]
    pub otlp_endpoint: Option<String>,
    /// How the receiver is spoken to [default: that of OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf]
    ///
    /// The receiver's port tells: it is 4317 for grpc and 4318 for http/protobuf, unless configured otherwise.
    #[arg(long, env = "METRICSTREAM_OTLP_PROTOCOL", value_name = "grpc|http/protobuf", help_heading = TELEMETRY)]
    pub otlp_protocol: Option<Text<Protocol>>,
    /// Part of the batches that is traced where the client does not say [default: that of OTEL_TRACES_SAMPLER, else 0.01]
    ///
    /// From 0 to 1. A client says it with the sampled flag of its traceparent header, which is followed either way.
    #[arg(long, env = "METRICSTREAM_TRACE_RATIO", value_name = "RATIO", help_heading = TELEMETRY)]
    pub trace_ratio: Option<f64>,
    /// A batch that takes longer is traced all the same; 0s: none [default: 250ms]
    ///
    /// So is one that is answered with a 5xx: of both together up to 100 a second on each core.
    #[arg(long, env = "METRICSTREAM_TRACE_SLOW", value_name = "TIME", help_heading = TELEMETRY)]
    pub trace_slow: Option<Text<Span>>,
    /// TOML file with any of these options
    ///
    /// Keys are the flags' names with underscores, sizes and times are text: data_dir = "/srv/metrics", rate_limit =
    /// 5000, max_body = "1MiB". Flags win over variables, variables over the file. An unknown key is refused at the
    /// start, with its line.
    #[arg(long, env = "METRICSTREAM_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

impl Arguments {
    /// The cores that were named.
    pub fn named_cores(&self) -> Vec<usize> {
        let mut cores = match &self.cores {
            Some(CoreList::Cores(cores)) => cores.clone(),
            Some(CoreList::Auto) | None => Vec::new(),
        };
        if let Some(WriterCore::Core(core)) = self.writer_core {
            cores.push(core);
        }
        if let Some(CoreList::Cores(query_cores)) = &self.query_cores {
            cores.extend(query_cores);
        }
        cores
    }

    /// Each value of `self`, or where it has none, that of `other`.
    pub fn or(self, other: Self) -> Self {
        macro_rules! first_of {
            ($($field:ident),* $(,)?) => { Self { $($field: self.$field.or(other.$field)),* } };
        }
        first_of!(
            listen,
            proxy_listen,
            admin_listen,
            trusted_proxies,
            forwarded_header,
            unix_mode,
            data_dir,
            cores,
            reactors,
            writer_core,
            driver,
            ack,
            rate_limit,
            rate_limit_bytes,
            max_names_per_address,
            ipv6_prefix,
            max_clients,
            api_keys,
            cors_origin,
            stats_auth,
            max_connections,
            max_body,
            max_batch,
            max_name,
            max_tags,
            max_tag_value,
            ring_size,
            writer_poll,
            head_timeout,
            body_timeout,
            idle_timeout,
            write_timeout,
            drain_timeout,
            rotate_size,
            rotate_age,
            compress,
            retain_size,
            retain_age,
            query_threads,
            query_cores,
            query_timeout,
            query_max_series,
            query_max_points,
            query_max_memory,
            query_max_scan,
            stats_interval,
            log_format,
            otlp_endpoint,
            otlp_protocol,
            trace_ratio,
            trace_slow,
            config,
        )
    }
}

/// Reads a configuration file.
pub fn read_file(path: &Path) -> Result<Arguments, ConfigError> {
    let cannot = |error: String| ConfigError(format!("cannot read the configuration file {}: {error}", path.display()));
    let bytes = File::open(path).map_err(|error| error.to_string()).and_then(|file| read_all(&file)).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|error| cannot(error.utf8_error().to_string()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let what = error.message().replace('\n', " ");
        ConfigError(format!("{}, line {line}: {what}", path.display()))
    })
}

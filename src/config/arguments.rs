//! The options of `serve` as given on the command line, in the environment or in the configuration file. Defaults and
//! bounds are applied in `resolve`.
// The doc comments are the text of `--help`, which has addresses like [::1] and no markup.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]

use super::{
    ConfigError,
    choices::{Compression, DriverChoice, LogFormat, PositionHeader, StatsAuth, Ui, WriterCore},
    file::read_file_or_pipe,
    listen::{ListenAddress, Mode, list},
    parse::{Bytes, Span, Text},
    placement::CoreList,
    protocols::{OtlpNames, OverRateStatus},
};
use crate::{
    forward::ForwardOption,
    proxy::{ForwardedHeader, TrustedProxy},
    trace::Protocol,
};
use clap::Args;
use http1::Origin;
use log::AckLevel;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The headings of `--help`, in the order in which they are shown.
const LISTENING: &str = "Listening";
const CORES: &str = "Cores and driver";
const CLIENTS: &str = "Clients";
const BATCHES: &str = "Batches";
const PROTOCOLS: &str = "Protocols";
const TIMEOUTS: &str = "Timeouts";
const LOG: &str = "Log";
const ROTATION: &str = "Rotation and retention";
const FORWARDING: &str = "Forwarding";
const QUERIES: &str = "Queries";
const OBSERVATION: &str = "Observation";
const TELEMETRY: &str = "OpenTelemetry";

/// The options as given, before defaults and bounds are applied.
///
/// The first paragraph of a field is shown by `-h`, with the default in square brackets; `--help` shows all of it:
/// the unit, the bounds ("From a to b", which a test tries) and what happens at them.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arguments {
    /// Addresses, names or unix sockets to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    ///
    /// 127.0.0.1:8080, [::1]:8080, [fe80::1%eth0]:8080, localhost:8080 (every address of the name, resolved at
    /// startup), *:8080 (all IPv6 and IPv4 addresses), unix:/run/metricstream/http.sock or unix:@NAME (abstract).
    /// Repeat the option or separate values with commas, 64 at most. [::]:8080 also accepts IPv4, unless an IPv4
    /// address is given with the same port. A stale unix socket file is replaced, and the file is removed on a clean
    /// shutdown. The log line "listening on" lists the addresses in use. TLS is not supported: put a TLS-terminating
    /// proxy in front of the server on untrusted networks.
    #[arg(long, env = "METRICSTREAM_LISTEN", value_name = "ADDR", value_delimiter = ',', help_heading = LISTENING)]
    #[serde(deserialize_with = "list")]
    pub listen: Option<Vec<ListenAddress>>,
    /// Addresses for proxies that begin each connection with a PROXY protocol header [default: none]
    ///
    /// Takes the same forms as --listen. Peers in --trusted-proxies must send a header, version 1 or 2; without one the
    /// connection gets a 400. Other peers are served without a header, and one that sends it gets a 400. The client is
    /// the address in the header; LOCAL and UNKNOWN identify the proxy itself. If --listen is not given, the server
    /// listens on these addresses only.
    #[arg(long, env = "METRICSTREAM_PROXY_LISTEN", help_heading = LISTENING)]
    #[arg(value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub proxy_listen: Option<Vec<ListenAddress>>,
    /// Addresses that serve statistics only [default: none, they are served on all addresses]
    ///
    /// Takes the same forms as --listen. GET /metrics, /stats and /stats/clients are then served on these addresses
    /// only; /health and /ready are served on all. Each reactor reserves 16 connections for these addresses in addition
    /// to --max-connections, so monitoring works when all client connections are in use.
    #[arg(long, env = "METRICSTREAM_ADMIN_LISTEN", help_heading = LISTENING)]
    #[arg(value_name = "ADDR", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub admin_listen: Option<Vec<ListenAddress>>,
    /// Networks of the proxies that are trusted to name the client [default: none]
    ///
    /// 10.0.0.0/8, 2001:db8::/32, 192.0.2.7, or unix for every peer of a unix socket; 256 at most. Client addresses
    /// given by other peers are ignored.
    #[arg(long, env = "METRICSTREAM_TRUSTED_PROXIES", help_heading = LISTENING)]
    #[arg(value_name = "NET", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub trusted_proxies: Option<Vec<TrustedProxy>>,
    /// Header field in which a trusted proxy names the client of a request [default: auto]
    ///
    /// The field is read from the right: the first address that is not a trusted proxy is the client, and an entry that
    /// is not an address ends the search at the last proxy before it. auto uses whichever field is present; if both are
    /// present and disagree, the proxy counts as the client. Set this to the field that your proxies write: they pass
    /// the other one through as the client sent it.
    #[arg(long, env = "METRICSTREAM_FORWARDED_HEADER", help_heading = LISTENING)]
    #[arg(value_name = "auto|forwarded|x-forwarded-for|off")]
    pub forwarded_header: Option<Text<ForwardedHeader>>,
    /// Permissions of the unix socket files, in octal [default: 660]
    ///
    /// From 000 to 777. A client needs write permission on the file and search permission on the directories above it.
    #[arg(long, env = "METRICSTREAM_UNIX_MODE", value_name = "MODE", help_heading = LISTENING)]
    pub unix_mode: Option<Text<Mode>>,
    /// Maximum number of open connections [default: 10000, or what the descriptor limit allows]
    ///
    /// Each connection takes one file descriptor. The server raises the soft limit to the hard one (ulimit -Hn,
    /// LimitNOFILE= in systemd) and refuses to start with a number that the limit does not allow. When the maximum is
    /// reached, a new connection replaces an idle or unfinished one of the address that has the most, if its own
    /// address has fewer; otherwise its requests get a 503 with Retry-After, except for /health and /ready.
    #[arg(long, env = "METRICSTREAM_MAX_CONNECTIONS", value_name = "N", help_heading = LISTENING)]
    pub max_connections: Option<u32>,
    /// Cores to run on: auto, or a list such as 0-3 or 0,2 [default: auto]
    ///
    /// auto takes every core that this process may use (taskset, AllowedCPUs=, a cpuset). A listed core outside that
    /// set is an error at startup. The last core runs the log writer and each other core runs a reactor; a single core
    /// runs both.
    #[arg(long, env = "METRICSTREAM_CORES", value_name = "LIST", help_heading = CORES)]
    pub cores: Option<CoreList>,
    /// Number of reactors [default: one per core, except the writer's core]
    ///
    /// From 1 to 256. With more reactors than cores, reactors share cores.
    #[arg(long, env = "METRICSTREAM_REACTORS", value_name = "N", help_heading = CORES)]
    pub reactors: Option<usize>,
    /// Core of the log writer [default: auto]
    ///
    /// auto takes the last of the cores.
    #[arg(long, env = "METRICSTREAM_WRITER_CORE", value_name = "auto|N", help_heading = CORES)]
    pub writer_core: Option<WriterCore>,
    /// Network driver [default: auto]
    ///
    /// auto uses io_uring where it is available (Linux 6.0 or later, not forbidden by a sysctl, a seccomp filter or the
    /// locked-memory limit) and epoll otherwise; the choice and its reason are logged at startup. A driver that is
    /// named explicitly is never replaced: if it is unavailable, the server does not start.
    #[arg(long, env = "METRICSTREAM_DRIVER", value_name = "auto|io_uring|epoll", help_heading = CORES)]
    pub driver: Option<DriverChoice>,
    /// Time that the writer polls for data before it sleeps [default: 10us, 0s when it shares its core with a reactor]
    ///
    /// From 0s to 10ms. Waking a thread costs more than serving several requests; polling occupies the writer's core.
    #[arg(long, env = "METRICSTREAM_WRITER_POLL", value_name = "TIME", help_heading = CORES)]
    pub writer_poll: Option<Text<Span>>,
    /// Requests that a client may make in any one second; 0 disables the limit [default: 10000]
    ///
    /// From 0 to 10000000. A client is identified by its API key; without --api-keys by its Authorization value;
    /// without one by its address. The window slides and is exact across all cores. A batch is charged when its request
    /// head is complete, whether or not it is valid, and refunded if the response is 503. A request over the limit gets
    /// a 429, without its body being read, and a Retry-After computed from the window. A request with a wrong key is
    /// charged to its address.
    #[arg(long, env = "METRICSTREAM_RATE_LIMIT", value_name = "N", help_heading = CLIENTS)]
    pub rate_limit: Option<u32>,
    /// Decoded bytes that a client may send in any one second; 0 disables the limit [default: 256MiB, 0 with
    /// --rate-limit 0]
    ///
    /// From 0 to 1024GiB. A leaky bucket that holds one second's worth: a client may send that much at once, and that
    /// much per second on average. A compressed body is charged while it is decompressed; at the limit decompression
    /// stops and the response is 429 with Retry-After. A body that exceeds the limit on its own gets a 413, like one
    /// over --max-body. Bodies of agents' protocols that become more than eight times as many bytes of lines are
    /// charged an eighth of these.
    #[arg(long, env = "METRICSTREAM_RATE_LIMIT_BYTES", value_name = "SIZE", help_heading = CLIENTS)]
    pub rate_limit_bytes: Option<Text<Bytes>>,
    /// Authorization values per address that count as separate clients without --api-keys [default: 1024]
    ///
    /// From 1 to 16777216. Further values are charged to the address, as are all of them when three quarters of
    /// --max-clients are in use.
    #[arg(long, env = "METRICSTREAM_MAX_NAMES_PER_ADDRESS", value_name = "N", help_heading = CLIENTS)]
    pub max_names_per_address: Option<usize>,
    /// Leading bits of an IPv6 address that identify one client [default: 64]
    ///
    /// From 1 to 128. A host can use every address of its network, usually a /64. A customer with a /48 has 65536 such
    /// networks: 48 makes them one client.
    #[arg(long, env = "METRICSTREAM_IPV6_PREFIX", value_name = "BITS", help_heading = CLIENTS)]
    pub ipv6_prefix: Option<u8>,
    /// Clients that the rate limiter tracks at one time [default: 65536]
    ///
    /// From 1 to 16777216; 128 bytes each. If the table is full and no client in it is idle, a new client gets a 503
    /// with Retry-After. A quarter of the table is reserved for API keys and addresses: beyond three quarters,
    /// unverified Authorization values are charged to their address.
    #[arg(long, env = "METRICSTREAM_MAX_CLIENTS", value_name = "N", help_heading = CLIENTS)]
    pub max_clients: Option<usize>,
    /// File of API keys that may send batches and queries [default: none, no key is needed]
    ///
    /// One key per line, which a client sends as Authorization, with or without Bearer before it; blank lines and lines
    /// that begin with # are ignored. The file is read at startup, must be a regular file, and is refused if it is
    /// writable by its group or accessible to others (chmod 0640). A batch or query without a valid key gets a 401.
    #[arg(long, env = "METRICSTREAM_API_KEYS", value_name = "FILE", help_heading = CLIENTS)]
    pub api_keys: Option<PathBuf>,
    /// Origins whose web pages may send batches and read responses; * is all [default: none]
    ///
    /// An origin is written as browsers send it: https://app.example or http://localhost:3000. Repeat the option or
    /// separate values with commas, 64 at most. Preflight requests (OPTIONS) then get a 204; every response, errors
    /// included, names the origin and exposes Retry-After to the page. Without this option OPTIONS gets a 405.
    #[arg(long, env = "METRICSTREAM_CORS_ORIGIN", help_heading = CLIENTS)]
    #[arg(value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pub cors_origin: Option<Vec<Origin>>,
    /// Access to GET /metrics, /stats and /stats/clients: open to all, or with an API key only [default: open]
    ///
    /// keys requires --api-keys; a request for statistics without a valid key gets a 401. /health and /ready never
    /// need a key.
    #[arg(long, env = "METRICSTREAM_STATS_AUTH", value_name = "open|keys", help_heading = CLIENTS)]
    pub stats_auth: Option<StatsAuth>,
    /// Largest body, as sent and also after decompression [default: 4MiB]
    ///
    /// From 1 to 64MiB. A larger body, chunked or not, gets a 413, and nothing of it is stored.
    #[arg(long, env = "METRICSTREAM_MAX_BODY", value_name = "SIZE", help_heading = BATCHES)]
    pub max_body: Option<Text<Bytes>>,
    /// Maximum number of metrics in one batch [default: 1000]
    ///
    /// From 1 to 1000000. A larger batch gets a 400.
    #[arg(long, env = "METRICSTREAM_MAX_BATCH", value_name = "N", help_heading = BATCHES)]
    pub max_batch: Option<usize>,
    /// Maximum length of a metric's name, in bytes [default: 255]
    ///
    /// From 1 to 65536, counted after unescaping. A batch with a longer name gets a 400.
    #[arg(long, env = "METRICSTREAM_MAX_NAME", value_name = "BYTES", help_heading = BATCHES)]
    pub max_name: Option<usize>,
    /// Maximum number of tags on one metric [default: 128]
    ///
    /// From 1 to 1024. A batch with more tags on one metric gets a 400.
    #[arg(long, env = "METRICSTREAM_MAX_TAGS", value_name = "N", help_heading = BATCHES)]
    pub max_tags: Option<usize>,
    /// Maximum length of a tag's key and of its value, in bytes [default: 1048576]
    ///
    /// From 1 to 67108864, counted after unescaping. A batch with a longer key or value gets a 400.
    #[arg(long, env = "METRICSTREAM_MAX_TAG_VALUE", value_name = "BYTES", help_heading = BATCHES)]
    pub max_tag_value: Option<usize>,
    /// Header field whose value names a client, such as X-Scope-OrgID [default: none]
    ///
    /// Its value is a name that nobody has checked: --max-names-per-address bounds it. A request without the field is
    /// counted by its Authorization value, or its address. Not with --api-keys.
    #[arg(long, env = "METRICSTREAM_CLIENT_HEADER", value_name = "NAME", help_heading = PROTOCOLS)]
    pub client_header: Option<String>,
    /// Status for a client over its rate [default: protocol]
    ///
    /// protocol: 503 with Retry-After for remote write, InfluxDB 1, the push gateway, the Prometheus import and
    /// collectd, whose agents drop what gets a 429; 429 for all others. 429 or 503: this one for all.
    #[arg(long, env = "METRICSTREAM_OVER_RATE_STATUS", value_name = "protocol|429|503", help_heading = PROTOCOLS)]
    pub over_rate_status: Option<OverRateStatus>,
    /// Key of a tag that holds the database or bucket of line protocol [default: none]
    ///
    /// The value is the parameter db or bucket of the request; without the option neither is stored.
    #[arg(long, env = "METRICSTREAM_INFLUX_DATABASE_TAG", value_name = "KEY", help_heading = PROTOCOLS)]
    pub influx_database_tag: Option<String>,
    /// Names of OTLP metrics: as sent, or in Prometheus' form [default: sent]
    ///
    /// prometheus turns process.cpu.time in seconds into process_cpu_time_seconds_total.
    #[arg(long, env = "METRICSTREAM_OTLP_NAMES", value_name = "sent|prometheus", help_heading = PROTOCOLS)]
    pub otlp_names: Option<OtlpNames>,
    /// Adds the tags job and instance to OTLP metrics [default: false]
    ///
    /// job is service.name, after service.namespace and a slash if there is one; instance is service.instance.id.
    #[arg(long, env = "METRICSTREAM_OTLP_JOB", value_name = "true|false", num_args = 0..=1, default_missing_value = "true", help_heading = PROTOCOLS)]
    pub otlp_job: Option<bool>,
    /// Timeout for a request's head, from its first byte [default: 10s]
    ///
    /// From 1ms to 24h. When it expires, the response is 408 and the connection is closed.
    #[arg(long, env = "METRICSTREAM_HEAD_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub head_timeout: Option<Text<Span>>,
    /// Timeout for a request's body, from the end of its head [default: 30s]
    ///
    /// From 1ms to 24h. When it expires, the response is 408 and the connection is closed; nothing of the batch is
    /// stored.
    #[arg(long, env = "METRICSTREAM_BODY_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub body_timeout: Option<Text<Span>>,
    /// Timeout for a connection between requests [default: 75s]
    ///
    /// From 1ms to 24h. When it expires, the connection is closed without a response. Behind a load balancer it must be
    /// longer than the balancer's idle timeout (60 s for most), so that the balancer never sends a request into a
    /// connection that is closing.
    #[arg(long, env = "METRICSTREAM_IDLE_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub idle_timeout: Option<Text<Span>>,
    /// Timeout for a response: for the log to store the batch, and for the client to read [default: 30s]
    ///
    /// From 1ms to 24h. When it expires, the connection is closed. A batch whose response was dropped may still be
    /// stored, as a whole.
    #[arg(long, env = "METRICSTREAM_WRITE_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub write_timeout: Option<Text<Span>>,
    /// Timeout for open requests at shutdown, before connections are closed [default: 10s]
    ///
    /// From 1ms to 24h. Everything acknowledged is still written and synced, within 10 s more.
    #[arg(long, env = "METRICSTREAM_DRAIN_TIMEOUT", value_name = "TIME", help_heading = TIMEOUTS)]
    pub drain_timeout: Option<Text<Span>>,
    /// Directory of the log [default: data]
    ///
    /// Created if missing, and locked: one server at a time. It holds metrics.jsonl (the active segment),
    /// metrics-TIME.jsonl (sealed segments) and, after a crash, torn-TIME.bin (incomplete data moved out of the log).
    /// While the disk is full, batches get a 503; the server resumes by itself once there is space.
    #[arg(long, env = "METRICSTREAM_DATA_DIR", value_name = "DIR", help_heading = LOG)]
    pub data_dir: Option<PathBuf>,
    /// Acknowledgement level of batches without ?ack= in the request [default: write]
    ///
    /// memory: acknowledged when handed to the writer; survives a clean shutdown only. write: acknowledged when written
    /// to the file; survives a crash of the process. fsync: acknowledged when on stable storage, by group commit;
    /// survives a power loss.
    #[arg(long, env = "METRICSTREAM_ACK", value_name = "memory|write|fsync", help_heading = LOG)]
    pub ack: Option<Text<AckLevel>>,
    /// Size of each reactor's ring to the writer [default: 16MiB, more when --max-body needs it]
    ///
    /// A power of two up to 1GiB, large enough for two batches of --max-body. When the disk is slower than the load and
    /// the ring is full, batches get a 503 with Retry-After.
    #[arg(long, env = "METRICSTREAM_RING_SIZE", value_name = "SIZE", help_heading = LOG)]
    pub ring_size: Option<Text<Bytes>>,
    /// Size at which the log is rotated; 0 disables it [default: 1GiB]
    ///
    /// From 64KiB. The active file is renamed with a timestamp and a new one is started. A batch is never split.
    #[arg(long, env = "METRICSTREAM_ROTATE_SIZE", value_name = "SIZE", help_heading = ROTATION)]
    pub rotate_size: Option<Text<Bytes>>,
    /// Age at which the log is rotated; 0s disables it [default: 0s]
    ///
    /// From 1s. SIGHUP always rotates at once, and reopens the log if its file was moved or replaced.
    #[arg(long, env = "METRICSTREAM_ROTATE_AGE", value_name = "TIME", help_heading = ROTATION)]
    pub rotate_age: Option<Text<Span>>,
    /// Compression of sealed segments [default: off]
    ///
    /// zstd turns them into metrics-TIME.jsonl.zst, which zstdcat reads, in blocks that queries can skip. A
    /// low-priority thread compresses them.
    #[arg(long, env = "METRICSTREAM_COMPRESS", value_name = "off|zstd", help_heading = ROTATION)]
    pub compress: Option<Compression>,
    /// Size of the whole log above which the oldest sealed segments are deleted; 0 keeps everything [default: 0]
    ///
    /// From 64KiB. The active segment is never deleted, so rotation must be enabled: --rotate-size or --rotate-age.
    #[arg(long, env = "METRICSTREAM_RETAIN_SIZE", value_name = "SIZE", help_heading = ROTATION)]
    pub retain_size: Option<Text<Bytes>>,
    /// Age above which a sealed segment is deleted; 0s keeps everything [default: 0s]
    ///
    /// From 1s. The age counts from when the segment was sealed. A step of the wall clock of more than a minute deletes
    /// nothing: see RELIABILITY.md.
    #[arg(long, env = "METRICSTREAM_RETAIN_AGE", value_name = "TIME", help_heading = ROTATION)]
    pub retain_age: Option<Text<Span>>,
    /// URLs of Prometheus remote write receivers that the log is forwarded to; repeatable [default: none]
    ///
    /// For example http://127.0.0.1:9090/api/v1/write. Repeat the option or separate values with commas, 16 at most.
    /// Each receives what is stored from then on by remote write 2.0 or 1.0, at least once and in order; while it is
    /// away, its place in the log is kept in the data directory (forward-NAME.state). A server that is built with the
    /// feature kafka also takes kafka://BROKER:9092/TOPIC, and delivers to it exactly once. Tables [[forward]] of the
    /// configuration file also set a name, header fields, and a start at the beginning of the log. See
    /// docs/forwarding.md.
    #[arg(long, env = "METRICSTREAM_FORWARD", value_name = "URL", value_delimiter = ',', help_heading = FORWARDING)]
    pub forward: Option<Vec<ForwardOption>>,
    /// Size of the segments that are kept for a forward although retention would delete them; 0 keeps none [default:
    /// 10GiB]
    ///
    /// --retain-size and --retain-age wait for forwards up to this size, of all segments that they hold together and on
    /// top of what is retained. Over it, or when less than 5% of the disk (at most 4GiB) is free, the oldest are
    /// deleted, and the lines that were never delivered are counted.
    #[arg(long, env = "METRICSTREAM_FORWARD_HOLD", value_name = "SIZE", help_heading = FORWARDING)]
    pub forward_hold: Option<Text<Bytes>>,
    /// The log position of a batch in its response, as X-MetricsStream-Position: on or off [default: off]
    ///
    /// The position of the batch's end, as GET /log?from= takes it. At the levels write and fsync; at memory the batch
    /// has no position yet when its response is sent.
    #[arg(long, env = "METRICSTREAM_POSITION_HEADER", value_name = "on|off", help_heading = ROTATION)]
    pub position_header: Option<PositionHeader>,
    /// Threads that run queries; 0 disables queries [default: one for 4 cores, at least 2]
    ///
    /// From 0 to 256. A query also uses threads that are idle. Up to 64 queries wait for a thread, up to 32 per client;
    /// further queries get a 503, or a 429 if only that client has too many, with Retry-After. One client uses at most
    /// half of the threads. With 0 threads the query paths return 404.
    #[arg(long, env = "METRICSTREAM_QUERY_THREADS", value_name = "N", help_heading = QUERIES)]
    pub query_threads: Option<usize>,
    /// Cores that queries run on: auto, or a list such as 0-3 or 0,2 [default: auto]
    ///
    /// auto takes the cores in --cores that run neither a reactor nor the writer; if there are none, the writer's core;
    /// if a reactor runs there too, all of --cores. On a core shared with a reactor or the writer, queries run at low
    /// priority.
    #[arg(long, env = "METRICSTREAM_QUERY_CORES", value_name = "LIST", help_heading = QUERIES)]
    pub query_cores: Option<CoreList>,
    /// Timeout for a query until its response begins, the wait for a thread included [default: 30s]
    ///
    /// From 1ms to 24h. When it expires, the response is 503 with Retry-After. A response that has begun is aborted
    /// when its client does not read a chunk of 64 KiB within --write-timeout.
    #[arg(long, env = "METRICSTREAM_QUERY_TIMEOUT", value_name = "TIME", help_heading = QUERIES)]
    pub query_timeout: Option<Text<Span>>,
    /// Maximum number of series in a query's response, or of names or tag values [default: 262144]
    ///
    /// From 1 to 100000000. A query that would return more gets a 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_SERIES", value_name = "N", help_heading = QUERIES)]
    pub query_max_series: Option<usize>,
    /// Maximum number of points in a query's response [default: 1000000]
    ///
    /// From 1 to 100000000; each is about 30 bytes of JSON. A query that would return more gets a 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_POINTS", value_name = "N", help_heading = QUERIES)]
    pub query_max_points: Option<usize>,
    /// Maximum memory that one query may hold while it is evaluated [default: 512MiB]
    ///
    /// From 1MiB to 1024GiB, for each of --query-threads. A query that needs more gets a 422. All responses that are
    /// not read yet may together hold the same amount, those of one client half of it.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_MEMORY", value_name = "SIZE", help_heading = QUERIES)]
    pub query_max_memory: Option<Text<Bytes>>,
    /// Maximum amount of the log that one query may scan, decompressed [default: 1024GiB]
    ///
    /// From 1MiB to 1048576GiB. Blocks that are skipped because they cannot match are not counted. A query that would
    /// scan more gets a 422.
    #[arg(long, env = "METRICSTREAM_QUERY_MAX_SCAN", value_name = "SIZE", help_heading = QUERIES)]
    pub query_max_scan: Option<Text<Bytes>>,
    /// Interval at which a line of statistics is logged; 0s disables it [default: 10s]
    ///
    /// The line shows connections, batches per second, successes and failures, p50/p95/p99 of the interval, queues and
    /// memory. GET /stats shows the same interval and the totals since startup.
    #[arg(long, env = "METRICSTREAM_STATS_INTERVAL", value_name = "TIME", help_heading = OBSERVATION)]
    pub stats_interval: Option<Text<Span>>,
    /// Format of the log lines on standard error [default: text]
    ///
    /// text for people, json for programs: one object per line. The variable METRICSTREAM_LOG sets the level: error,
    /// warn, info (the default), debug. Lines that cannot be written to standard error are dropped and counted.
    #[arg(long, env = "METRICSTREAM_LOG_FORMAT", value_name = "text|json", help_heading = OBSERVATION)]
    pub log_format: Option<LogFormat>,
    /// The live page at GET /ui: on or off [default: on]
    ///
    /// The page is served where statistics are, and with it the stream of figures that it shows, of which the last 10
    /// minutes are kept by the second and the last 24 hours by the minute. With --api-keys the page asks for a key.
    #[arg(long, env = "METRICSTREAM_UI", value_name = "on|off", help_heading = OBSERVATION)]
    pub ui: Option<Ui>,
    /// URL of an OTLP receiver for traces and the server's own metrics [default: the OTEL_* variables, else none]
    ///
    /// For example http://127.0.0.1:4318, or https://, verified with the certificates of this machine. Over HTTP,
    /// v1/traces and v1/metrics are appended to it. If the receiver does not respond, the export is lost and nothing
    /// else is affected.
    #[arg(long, env = "METRICSTREAM_OTLP_ENDPOINT", value_name = "URL", help_heading = TELEMETRY)]
    pub otlp_endpoint: Option<String>,
    /// Protocol of the OTLP receiver [default: that of OTEL_EXPORTER_OTLP_PROTOCOL, else http/protobuf]
    ///
    /// The usual port is 4317 for grpc and 4318 for http/protobuf.
    #[arg(long, env = "METRICSTREAM_OTLP_PROTOCOL", value_name = "grpc|http/protobuf", help_heading = TELEMETRY)]
    pub otlp_protocol: Option<Text<Protocol>>,
    /// Fraction of batches traced if the client makes no choice [default: that of OTEL_TRACES_SAMPLER, else 0.01]
    ///
    /// From 0 to 1. A client chooses with the sampled flag of its traceparent header, which is always honoured.
    #[arg(long, env = "METRICSTREAM_TRACE_RATIO", value_name = "RATIO", help_heading = TELEMETRY)]
    pub trace_ratio: Option<f64>,
    /// Duration above which a batch is always traced; 0s disables it [default: 250ms]
    ///
    /// Batches with a 5xx response are always traced too; both together up to 100 per second on each core.
    #[arg(long, env = "METRICSTREAM_TRACE_SLOW", value_name = "TIME", help_heading = TELEMETRY)]
    pub trace_slow: Option<Text<Span>>,
    /// TOML file with any of these options
    ///
    /// Keys are the names of the flags with underscores; sizes and times are strings: data_dir = "/srv/metrics",
    /// rate_limit = 5000, max_body = "1MiB". Flags override variables, and variables override the file. An unknown key
    /// is an error at startup, reported with its line.
    #[arg(long, env = "METRICSTREAM_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
}

impl Arguments {
    /// The cores that the options name explicitly.
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

    /// The values of `self`, with those of `other` where `self` has none.
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
            client_header,
            over_rate_status,
            influx_database_tag,
            otlp_names,
            otlp_job,
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
            forward,
            forward_hold,
            position_header,
            query_threads,
            query_cores,
            query_timeout,
            query_max_series,
            query_max_points,
            query_max_memory,
            query_max_scan,
            stats_interval,
            log_format,
            ui,
            otlp_endpoint,
            otlp_protocol,
            trace_ratio,
            trace_slow,
            config,
        )
    }
}

/// Reads a TOML configuration file.
pub fn read_file(path: &Path) -> Result<Arguments, ConfigError> {
    let cannot = |error: String| ConfigError(format!("cannot read the configuration file {}: {error}", path.display()));
    let bytes = read_file_or_pipe(path).map_err(cannot)?;
    let text = String::from_utf8(bytes).map_err(|error| cannot(error.utf8_error().to_string()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let what = error.message().replace('\n', " ");
        ConfigError(format!("{}, line {line}: {what}", path.display()))
    })
}

//! The one configuration, and the sole reader of flags, environment and file. What was typed (`Arguments`, every field
//! optional) is kept apart from what was resolved ([`Config`], every field decided). Flags win over `METRICSTREAM_*`
//! variables, those over the file, the file over the defaults.

mod parse;
mod placement;

use crate::{doctor, limits, log::AckLevel, metric, verify};
use clap::{Args, Parser, Subcommand};
use serde::Deserialize;
use std::{
    collections::HashSet,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use parse::{Bytes, Span};
pub use placement::{CoreList, Placement, allowed_cores};

/// The command line of `metricstream`.
#[derive(Debug, Parser)]
#[command(
    name = "metricstream",
    version,
    about = "Takes batches of metrics over HTTP, holds each client to its rate, and appends them to a log you can read.",
    after_help = "Every option can also come from a METRICSTREAM_* variable (METRICSTREAM_DATA_DIR=/srv/metrics) or from a \
                  TOML file (--config FILE, keys as below with underscores: data_dir = \"/srv/metrics\"). Flags win over \
                  variables, variables over the file.\n\n\
                  Sizes take KiB, MiB, GiB (also kB, MB, GB); times take ms, s, m, h.\n\n\
                  SIGTERM or SIGINT: stop accepting, answer what is in flight, write everything down, exit 0. A second \
                  signal exits at once. Exit codes: 0 clean stop, 1 failure while running, 2 it could not start.",
    args_conflicts_with_subcommands = true
)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default).
    Serve(Box<Arguments>),
    /// Say what on this host, or in the configuration that `serve` would have, costs speed or data, and how to mend it.
    Doctor(Box<DoctorArguments>),
    /// Check a log offline: every line, sidecar and checksum. Says what is damaged, and moves it aside if asked to.
    Verify(verify::Arguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "It changes nothing, and takes one to three seconds: half of one to watch for stolen time, the rest to time fdatasync on a \
                        file of 800 KiB in the data directory, which it removes.\n\n\
                        Exit codes: 0 nothing worse than notes, 10 warnings, 20 something critical; 1 the report could not be \
                        written, 2 wrong flags."
)]
struct DoctorArguments {
    /// Print one JSON document: every check, and what it read
    #[arg(long)]
    json: bool,
    /// Print also what is in order, and what each check read
    #[arg(long, short = 'v', visible_alias = "verbose", conflicts_with = "json")]
    all: bool,
    #[command(flatten)]
    serve: Arguments,
}

/// What was typed, or stood in the file: nothing is decided yet.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Arguments {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "METRICSTREAM_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Directory of the log; made when missing, used by one server at a time [default: data]
    #[arg(long, env = "METRICSTREAM_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Cores to run on: `auto` for all that this process may use, or a list such as 0-3 or 0,2 [default: auto]
    #[arg(long, env = "METRICSTREAM_CORES", value_name = "LIST")]
    cores: Option<CoreList>,
    /// Number of reactors; more than there are cores share them [default: one a core, the writer's core left out]
    #[arg(long, env = "METRICSTREAM_REACTORS", value_name = "N")]
    reactors: Option<usize>,
    /// Core of the log writer [default: auto, the last of the cores]
    #[arg(long, env = "METRICSTREAM_WRITER_CORE", value_name = "auto|N")]
    writer_core: Option<WriterCore>,
    /// Network driver. `auto` takes io_uring where it is to be had, else epoll; a named one is never replaced [default: auto]
    #[arg(long, env = "METRICSTREAM_DRIVER", value_name = "auto|io_uring|epoll")]
    driver: Option<DriverChoice>,
    /// When a batch is acknowledged unless the request says ?ack=: handed to the writer (memory), in the file (write),
    /// on stable storage (fsync) [default: write]
    #[arg(long, env = "METRICSTREAM_ACK", value_name = "memory|write|fsync")]
    ack: Option<Text<AckLevel>>,
    /// Requests a client may make in any one second; 0 is without limit [default: 10000]
    #[arg(long, env = "METRICSTREAM_RATE_LIMIT", value_name = "N")]
    rate_limit: Option<u32>,
    /// Clients whose rate is remembered at one time; a further one is answered 503 [default: 65536]
    #[arg(long, env = "METRICSTREAM_MAX_CLIENTS", value_name = "N")]
    max_clients: Option<usize>,
    /// File of API keys, one a line; an Authorization that is not in it is answered 401 [default: none, all may post]
    #[arg(long, env = "METRICSTREAM_API_KEYS", value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Connections open at one time; a further one is answered 503 [default: 10000, or what the descriptor limit allows]
    #[arg(long, env = "METRICSTREAM_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<u32>,
    /// Largest body, as sent and also after decompression [default: 4MiB]
    #[arg(long, env = "METRICSTREAM_MAX_BODY", value_name = "SIZE")]
    max_body: Option<Text<Bytes>>,
    /// Most metrics in one batch [default: 1000]
    #[arg(long, env = "METRICSTREAM_MAX_BATCH", value_name = "N")]
    max_batch: Option<usize>,
    /// Longest name of a metric, in bytes [default: 255]
    #[arg(long, env = "METRICSTREAM_MAX_NAME", value_name = "BYTES")]
    max_name: Option<usize>,
    /// Most tags on one metric [default: 128]
    #[arg(long, env = "METRICSTREAM_MAX_TAGS", value_name = "N")]
    max_tags: Option<usize>,
    /// Memory of each reactor's ring to the writer; a power of two [default: 16MiB, more when --max-body needs it]
    #[arg(long, env = "METRICSTREAM_RING_SIZE", value_name = "SIZE")]
    ring_size: Option<Text<Bytes>>,
    /// How long the writer looks for lines before it sleeps: a wake-up costs more than several requests. 0s when it shares
    /// its core with a reactor [default: 10us]
    #[arg(long, env = "METRICSTREAM_WRITER_POLL", value_name = "TIME")]
    writer_poll: Option<Text<Span>>,
    /// How long a request's head may take from its first byte [default: 10s]
    #[arg(long, env = "METRICSTREAM_HEAD_TIMEOUT", value_name = "TIME")]
    head_timeout: Option<Text<Span>>,
    /// How long a request's body may take from the end of its head [default: 30s]
    #[arg(long, env = "METRICSTREAM_BODY_TIMEOUT", value_name = "TIME")]
    body_timeout: Option<Text<Span>>,
    /// How long a connection may stay open between requests [default: 60s]
    #[arg(long, env = "METRICSTREAM_IDLE_TIMEOUT", value_name = "TIME")]
    idle_timeout: Option<Text<Span>>,
    /// How long a client may take to read its answers [default: 30s]
    #[arg(long, env = "METRICSTREAM_WRITE_TIMEOUT", value_name = "TIME")]
    write_timeout: Option<Text<Span>>,
    /// How long a stop may take before what is left is cut off [default: 10s]
    #[arg(long, env = "METRICSTREAM_DRAIN_TIMEOUT", value_name = "TIME")]
    drain_timeout: Option<Text<Span>>,
    /// Size at which the log is rotated: sealed under a name that says when, and begun anew; 0 is never [default: 1GiB]
    #[arg(long, env = "METRICSTREAM_ROTATE_SIZE", value_name = "SIZE")]
    rotate_size: Option<Text<Bytes>>,
    /// Age at which the log is rotated; 0s is never. SIGHUP rotates at once [default: 0s]
    #[arg(long, env = "METRICSTREAM_ROTATE_AGE", value_name = "TIME")]
    rotate_age: Option<Text<Span>>,
    /// Whether sealed segments of the log are compressed [default: off]
    #[arg(long, env = "METRICSTREAM_COMPRESS", value_name = "off|zstd")]
    compress: Option<Compression>,
    /// Bytes of the log in all, above which the oldest sealed segments are deleted; 0 keeps everything [default: 0]
    #[arg(long, env = "METRICSTREAM_RETAIN_SIZE", value_name = "SIZE")]
    retain_size: Option<Text<Bytes>>,
    /// Age since its sealing above which a segment is deleted; 0s keeps everything [default: 0s]
    #[arg(long, env = "METRICSTREAM_RETAIN_AGE", value_name = "TIME")]
    retain_age: Option<Text<Span>>,
    /// How often a line of statistics is logged; 0s is never [default: 10s]
    #[arg(long, env = "METRICSTREAM_STATS_INTERVAL", value_name = "TIME")]
    stats_interval: Option<Text<Span>>,
    /// Form of the lines on standard error: text for people, or a JSON object each [default: text]
    #[arg(long, env = "METRICSTREAM_LOG_FORMAT", value_name = "text|json")]
    log_format: Option<LogFormat>,
    /// TOML file with any of these options
    #[arg(long, env = "METRICSTREAM_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// Everything decided. Times and sizes are in the units their names end in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// Which thread runs where.
    pub placement: Placement,
    /// Which network driver was asked for.
    pub driver: DriverChoice,
    /// Acknowledgement level of a request that names none.
    pub ack: AckLevel,
    /// Requests a client may make in one second; `None` is without limit.
    pub rate_limit: Option<u32>,
    /// Clients the limiter remembers.
    pub clients_limit: usize,
    /// The keys that may post; `None` lets everybody.
    pub api_keys: Option<HashSet<Vec<u8>>>,
    /// Connections served at one time, over all reactors; `None` takes what the descriptor limit allows.
    pub connections_limit: Option<u32>,
    /// Bytes of a body, before and after decompression.
    pub body_bytes_limit: usize,
    /// Bounds of a batch.
    pub metric: metric::Bounds,
    /// Bytes of each reactor's ring; a power of two.
    pub ring_bytes: usize,
    /// How long the writer looks for lines before it sleeps.
    pub writer_poll: Duration,
    /// Deadlines of a connection.
    pub timeouts: Timeouts,
    /// How long a stop may take.
    pub drain_timeout: Duration,
    /// When a segment of the log is sealed, and how long it is kept.
    pub rotation: Rotation,
    /// How often statistics are logged; `None` is never.
    pub stats_interval: Option<Duration>,
    /// Form of the lines on standard error.
    pub log_format: LogFormat,
}

/// When a segment of the log is sealed, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Length at which the active segment is sealed; `None` is never.
    pub rotate_bytes: Option<u64>,
    /// Age at which it is sealed; `None` is never.
    pub rotate_age: Option<Duration>,
    /// Whether sealed segments are compressed, and how.
    pub compress: Compression,
    /// Bytes of all segments, above which the oldest sealed ones are deleted; `None` keeps them.
    pub retain_bytes: Option<u64>,
    /// Age since its sealing above which a segment is deleted; `None` keeps it.
    pub retain_age: Option<Duration>,
}

/// Whether sealed segments are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// They stay as they are.
    #[default]
    Off,
    /// By zstd, block by block.
    Zstd,
}

impl FromStr for Compression {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "zstd" => Ok(Self::Zstd),
            _ => Err("expected off or zstd".into()),
        }
    }
}

/// Deadlines of a connection, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a head to its end.
    pub head_ms: u64,
    /// From the end of the head to the end of the body.
    pub body_ms: u64,
    /// From an answer, or from the accept, to the first byte of the next head.
    pub idle_ms: u64,
    /// From the hand-over of answers to the kernel until it has taken them all.
    pub write_ms: u64,
}

/// Which network driver runs the reactors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverChoice {
    /// io_uring where it is to be had, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    #[serde(rename = "io_uring")]
    IoUring,
    /// epoll or an error.
    Epoll,
}

impl FromStr for DriverChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "io_uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err("expected auto, io_uring or epoll".into()),
        }
    }
}

/// How the lines on standard error are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object each, for programs.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json"),
        }
    }
}

/// Where the writer was asked to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub enum WriterCore {
    /// On the last of the cores.
    #[default]
    Auto,
    /// On this core.
    Core(usize),
}

/// A value that a TOML file may give as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for WriterCore {
    type Error = String;
    fn try_from(value: NumberOrText) -> Result<Self, String> {
        match value {
            NumberOrText::Number(number) => number.to_string().parse(),
            NumberOrText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for WriterCore {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Core).map_err(|_| "expected auto or the number of a core".into()),
        }
    }
}

/// A value that is written as text in a file just as on the command line.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String", bound(deserialize = "T: FromStr<Err: fmt::Display>"))]
struct Text<T: FromStr<Err: fmt::Display>>(T);

impl<T: FromStr<Err: fmt::Display>> FromStr for Text<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: T::Err| error.to_string())
    }
}

impl<T: FromStr<Err: fmt::Display>> TryFrom<String> for Text<T> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Why there is no configuration: one line, for a person.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// `Err` with a line made like `format!`.
macro_rules! refuse {
    ($($part:tt)*) => { return Err(ConfigError(format!($($part)*))) };
}

impl CommandLine {
    /// The form of the report, if it is doctor that is asked for.
    #[must_use]
    pub fn doctor(&self) -> Option<doctor::Form> {
        match &self.command {
            Some(Command::Doctor(arguments)) if arguments.json => Some(doctor::Form::Json),
            Some(Command::Doctor(arguments)) if arguments.all => Some(doctor::Form::All),
            Some(Command::Doctor(_)) => Some(doctor::Form::Text),
            Some(Command::Serve(_) | Command::Verify(_)) | None => None,
        }
    }

    /// What is to be checked, if it is verify that is asked for.
    #[must_use]
    pub fn verify(&self) -> Option<&verify::Arguments> {
        match &self.command {
            Some(Command::Verify(arguments)) => Some(arguments),
            Some(Command::Serve(_) | Command::Doctor(_)) | None => None,
        }
    }

    /// Reads the file that was named, if any, and decides everything.
    ///
    /// # Errors
    /// What is wrong, where it stood, and what would be right.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let examined = self.doctor().is_some();
        let typed = match self.command {
            Some(Command::Serve(arguments)) => *arguments,
            Some(Command::Doctor(arguments)) => arguments.serve,
            // A check has no need of what the server is configured to do.
            Some(Command::Verify(_)) | None => self.serve,
        };
        let arguments = match &typed.config {
            Some(path) => typed.clone().or(read_file(path)?),
            None => typed,
        };
        let mut allowed =
            allowed_cores().map_err(|error| ConfigError(format!("cannot read the CPU affinity: {error}")))?;
        if examined {
            // That a core is withheld is for doctor to find.
            allowed.extend(arguments.named_cores());
        }
        arguments.resolve(&allowed)
    }
}

fn read_file(path: &Path) -> Result<Arguments, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("cannot read the configuration file {}: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let what = error.message().replace('\n', " ");
        ConfigError(format!("{}, line {line}: {what}", path.display()))
    })
}

impl Arguments {
    /// The cores that were named.
    fn named_cores(&self) -> Vec<usize> {
        let mut cores = match &self.cores {
            Some(CoreList::Cores(cores)) => cores.clone(),
            Some(CoreList::Auto) | None => Vec::new(),
        };
        if let Some(WriterCore::Core(core)) = self.writer_core {
            cores.push(core);
        }
        cores
    }

    /// Each value of `self`, or where it has none, that of `other`.
    fn or(self, other: Self) -> Self {
        macro_rules! first_of {
            ($($field:ident),* $(,)?) => { Self { $($field: self.$field.or(other.$field)),* } };
        }
        first_of!(
            listen,
            data_dir,
            cores,
            reactors,
            writer_core,
            driver,
            ack,
            rate_limit,
            max_clients,
            api_keys,
            max_connections,
            max_body,
            max_batch,
            max_name,
            max_tags,
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
            stats_interval,
            log_format,
            config,
        )
    }

    fn resolve(self, allowed: &[usize]) -> Result<Config, ConfigError> {
        let placement = Placement::resolve(
            &self.cores.unwrap_or_default(),
            self.reactors,
            self.writer_core.unwrap_or_default(),
            allowed,
        )
        .map_err(ConfigError)?;

        let body_bytes_limit = self.max_body.map_or(limits::BODY_BYTES_DEFAULT, |text| text.0.0);
        if body_bytes_limit == 0 || body_bytes_limit > limits::BODY_BYTES_CAP {
            refuse!("--max-body must be from 1 to {} bytes", limits::BODY_BYTES_CAP);
        }
        let metric = metric::Bounds {
            batch_metrics_limit: within(
                "--max-batch",
                self.max_batch,
                limits::BATCH_METRICS_DEFAULT,
                limits::BATCH_METRICS_CAP,
            )?,
            name_bytes_limit: within("--max-name", self.max_name, limits::NAME_BYTES_DEFAULT, limits::NAME_BYTES_CAP)?,
            tags_limit: within("--max-tags", self.max_tags, limits::TAGS_DEFAULT, limits::TAGS_CAP)?,
        };
        let needed = limits::ring_bytes_min(metric::BatchEncoder::new(metric).encoded_bytes_max(body_bytes_limit));
        let ring_bytes = match self.ring_size.map(|text| text.0.0) {
            None => limits::RING_BYTES_DEFAULT.max(needed),
            Some(bytes) if !bytes.is_power_of_two() => refuse!("--ring-size must be a power of two, not {bytes}"),
            Some(bytes) if bytes > limits::RING_BYTES_CAP => {
                refuse!("--ring-size must be at most {}", limits::RING_BYTES_CAP)
            }
            Some(bytes) if bytes < needed => {
                refuse!("--ring-size must be at least {needed}: one batch of --max-body bytes must fit twice")
            }
            Some(bytes) => bytes,
        };
        let stats_interval = self.stats_interval.map_or(Duration::from_secs(10), |text| text.0.0);
        let rotation = Rotation {
            rotate_bytes: size(
                "--rotate-size",
                self.rotate_size,
                limits::ROTATE_BYTES_DEFAULT,
                limits::ROTATE_BYTES_MIN,
            )?,
            rotate_age: age("--rotate-age", self.rotate_age, limits::ROTATE_AGE_MIN)?,
            compress: self.compress.unwrap_or_default(),
            retain_bytes: size("--retain-size", self.retain_size, 0, limits::ROTATE_BYTES_MIN)?,
            retain_age: age("--retain-age", self.retain_age, limits::ROTATE_AGE_MIN)?,
        };
        if rotation.rotate_bytes.is_none() && rotation.rotate_age.is_none() && rotation.retain_bytes.is_some() {
            refuse!(
                "--retain-size deletes sealed segments only, and nothing would seal one: set --rotate-size or --rotate-age"
            );
        }
        let api_keys = self.api_keys.as_deref().map(read_api_keys).transpose()?;
        if self.max_connections == Some(0) {
            refuse!("--max-connections must be at least 1");
        }

        let shares_core = placement.reactor_cores.contains(&placement.writer_core);
        let writer_poll = match self.writer_poll {
            Some(text) if text.0.0 <= limits::WRITER_POLL_CAP => text.0.0,
            Some(_) => refuse!("--writer-poll must be at most {:?}", limits::WRITER_POLL_CAP),
            None if shares_core => Duration::ZERO,
            None => limits::WRITER_POLL_DEFAULT,
        };

        Ok(Config {
            listen: self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("data")),
            placement,
            driver: self.driver.unwrap_or_default(),
            ack: self.ack.map_or(AckLevel::Write, |text| text.0),
            rate_limit: match self.rate_limit.unwrap_or(limits::RATE_LIMIT_DEFAULT) {
                0 => None,
                limit if limit > limits::RATE_LIMIT_CAP => {
                    refuse!("--rate-limit must be at most {}, or 0 for none", limits::RATE_LIMIT_CAP)
                }
                limit => Some(limit),
            },
            clients_limit: within("--max-clients", self.max_clients, limits::CLIENTS_DEFAULT, limits::CLIENTS_CAP)?,
            api_keys,
            connections_limit: self.max_connections,
            body_bytes_limit,
            metric,
            ring_bytes,
            writer_poll,
            timeouts: Timeouts {
                head_ms: timeout("--head-timeout", self.head_timeout, 10)?,
                body_ms: timeout("--body-timeout", self.body_timeout, 30)?,
                idle_ms: timeout("--idle-timeout", self.idle_timeout, 60)?,
                write_ms: timeout("--write-timeout", self.write_timeout, 30)?,
            },
            drain_timeout: Duration::from_millis(timeout("--drain-timeout", self.drain_timeout, 10)?),
            rotation,
            stats_interval: (!stats_interval.is_zero()).then_some(stats_interval),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

fn within(flag: &str, value: Option<usize>, default: usize, cap: usize) -> Result<usize, ConfigError> {
    match value.unwrap_or(default) {
        value if (1..=cap).contains(&value) => Ok(value),
        value => refuse!("{flag} must be from 1 to {cap}, not {value}"),
    }
}

/// A number of bytes from `min`; zero is none.
fn size(flag: &str, value: Option<Text<Bytes>>, default: u64, min: u64) -> Result<Option<u64>, ConfigError> {
    match value.map_or(default, |text| text.0.0 as u64) {
        0 => Ok(None),
        bytes if bytes >= min => Ok(Some(bytes)),
        _ => refuse!("{flag} must be at least {min} bytes, or 0"),
    }
}

/// A span of time from `min`, none by default; zero is none.
fn age(flag: &str, value: Option<Text<Span>>, min: Duration) -> Result<Option<Duration>, ConfigError> {
    match value.map_or(Duration::ZERO, |text| text.0.0) {
        Duration::ZERO => Ok(None),
        span if span >= min => Ok(Some(span)),
        _ => refuse!("{flag} must be at least {min:?}, or 0s"),
    }
}

/// Milliseconds from 1 to a day.
fn timeout(flag: &str, value: Option<Text<Span>>, default_s: u64) -> Result<u64, ConfigError> {
    let span = value.map_or(Duration::from_secs(default_s), |text| text.0.0);
    match u64::try_from(span.as_millis()) {
        Ok(milliseconds @ 1..=86_400_000) => Ok(milliseconds),
        _ => refuse!("{flag} must be from 1ms to 24h"),
    }
}

/// The keys of a file: one a line, blank lines and lines beginning with `#` left out.
fn read_api_keys(path: &Path) -> Result<HashSet<Vec<u8>>, ConfigError> {
    let text = std::fs::read(path)
        .map_err(|error| ConfigError(format!("cannot read the API keys in {}: {error}", path.display())))?;
    let keys: HashSet<Vec<u8>> = text
        .split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && line[0] != b'#')
        .map(<[u8]>::to_vec)
        .collect();
    if keys.is_empty() {
        refuse!("{} holds no API key: nobody could post", path.display());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(flags: &[&str]) -> Result<Config, String> {
        let line =
            CommandLine::try_parse_from([&["metricstream"], flags].concat()).map_err(|error| error.to_string())?;
        line.resolve().map_err(|error| error.to_string())
    }

    fn with_file(text: &str, flags: &[&str]) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        resolve(&[flags, &["--config", file.path().to_str().unwrap()]].concat())
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.data_dir, Path::new("data"));
        assert_eq!(config.ack, AckLevel::Write);
        assert_eq!(config.rate_limit, Some(10_000));
        assert_eq!(config.body_bytes_limit, 4 << 20);
        assert_eq!(config.timeouts.idle_ms, 60_000);
        assert_eq!(config.stats_interval, Some(Duration::from_secs(10)));
    }

    #[test]
    fn the_word_serve_changes_nothing() {
        let config = resolve(&["serve", "--rate-limit", "0", "--stats-interval", "0s"]).unwrap();
        assert_eq!(config.rate_limit, None);
        assert_eq!(config.stats_interval, None);
    }

    #[test]
    fn rotation_is_as_asked_for() {
        let default = resolve(&[]).unwrap().rotation;
        assert_eq!((default.rotate_bytes, default.rotate_age), (Some(1 << 30), None));
        assert_eq!((default.retain_bytes, default.retain_age, default.compress), (None, None, Compression::Off));
        let rotation = with_file(
            "rotate_size = \"0\"\nrotate_age = \"24h\"\nretain_age = \"720h\"\ncompress = \"zstd\"",
            &["--retain-size", "10GiB"],
        );
        let day = Duration::from_secs(86_400);
        let expected = Rotation {
            rotate_bytes: None,
            rotate_age: Some(day),
            compress: Compression::Zstd,
            retain_bytes: Some(10 << 30),
            retain_age: Some(30 * day),
        };
        assert_eq!(rotation.unwrap().rotation, expected);
        let refusal = resolve(&["--rotate-size", "0", "--retain-size", "1GiB"]).unwrap_err();
        assert!(refusal.contains("nothing would seal one"), "{refusal}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let config = with_file(
            "rate_limit = 7\nmax_body = \"1MiB\"\nwriter_core = 0\nack = \"memory\"\nlog_format = \"json\"",
            &["--rate-limit", "8"],
        )
        .unwrap();
        assert_eq!((config.rate_limit, config.body_bytes_limit, config.ack), (Some(8), 1 << 20, AckLevel::Memory));
        assert_eq!((config.placement.writer_core, config.log_format), (0, LogFormat::Json));
    }

    #[test]
    fn a_bad_file_is_one_line_that_names_the_place() {
        for (text, part) in [
            ("listen = \"127.0.0.1:1\"\nspeed = 3", "line 2: unknown field `speed`"),
            ("max_body = \"4 apples\"", "line 1: "),
            ("rate_limit = [", "line 1: "),
            ("driver = \"kqueue\"", "line 1: unknown variant `kqueue`"),
        ] {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        assert!(
            resolve(&["--config", "/nonexistent.toml"]).unwrap_err().starts_with("cannot read the configuration file")
        );
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        for (flags, part) in [
            (["--max-body", "0"], "--max-body must be"),
            (["--max-body", "65GiB"], "--max-body must be"),
            (["--ring-size", "3MiB"], "--ring-size must be a power of two"),
            (["--ring-size", "4096"], "--ring-size must be at least"),
            (["--max-batch", "0"], "--max-batch must be from 1"),
            (["--idle-timeout", "0s"], "--idle-timeout must be from 1ms"),
            (["--cores", "900"], "core 900"),
            (["--reactors", "0"], "--reactors must be"),
            (["--max-connections", "0"], "--max-connections must be"),
            (["--rotate-size", "1"], "--rotate-size must be at least"),
            (["--rotate-age", "1ms"], "--rotate-age must be at least"),
            (["--retain-age", "1ms"], "--retain-age must be at least"),
            (["--retain-size", "1"], "--retain-size must be at least"),
            (["--compress", "gzip"], "expected off or zstd"),
            (["--ack", "disk"], "invalid value 'disk' for '--ack"),
            (["--log-format", "xml"], "expected text or json"),
            (["--driver", "kqueue"], "expected auto, io_uring or epoll"),
            (["--listen", "8080"], "invalid value '8080' for '--listen"),
        ] {
            let error = resolve(&flags).unwrap_err();
            assert!(error.contains(part), "{flags:?}: {error}");
        }
    }

    #[test]
    fn api_keys_are_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# ours\nalpha\n\n  beta \n").unwrap();
        let keys = read_api_keys(file.path()).unwrap();
        assert_eq!(keys, HashSet::from([b"alpha".to_vec(), b"beta".to_vec()]));
        std::fs::write(file.path(), "# none\n").unwrap();
        assert!(read_api_keys(file.path()).unwrap_err().to_string().contains("no API key"));
    }
}

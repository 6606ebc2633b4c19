//! From what was typed to what is decided: defaults, bounds, and what must fit together. Whatever cannot be is refused
//! by the name of its flag.

use super::{
    Config, ConfigError, ListenAddress, Placement, Query, Rotation, StatsAuth, Timeouts,
    arguments::Arguments,
    keys::read_api_keys,
    parse::{Bytes, Span, Text},
    protocols::{self, Protocols},
    telemetry::{Telemetry, Typed},
};
use crate::{
    forward, limits,
    proxy::{ForwardedHeader, TrustedProxies, TrustedProxy},
};
use http1::{Cors, Origin};
use log::AckLevel;
use query::Bounds;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// The default address to listen on.
const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Returns `Err` with a line formatted as by `format!`.
macro_rules! refuse {
    ($($part:tt)*) => { return Err(ConfigError(format!($($part)*))) };
}

impl Arguments {
    /// Resolves all options, for a process that may run on the `allowed` cores.
    ///
    /// # Errors
    /// The invalid option, and what is expected.
    pub fn resolve(mut self, allowed: &[usize]) -> Result<Config, ConfigError> {
        let cores = self.cores.take().unwrap_or_default();
        let writer_core = self.writer_core.take().unwrap_or_default();
        let placement = Placement::resolve(&cores, self.reactors, writer_core, allowed).map_err(ConfigError)?;
        let query_timeout_ms = timeout("--query-timeout", self.query_timeout, limits::QUERY_TIMEOUT_DEFAULT_S)?;
        let query_cores = self.query_cores.take().unwrap_or_default();
        let bounds = self.query_bounds()?;
        let query =
            Query::resolve(self.query_threads, &query_cores, query_timeout_ms, bounds, &cores, &placement, allowed)
                .map_err(ConfigError)?;

        let body_bytes_limit = self.body_bytes_limit()?;
        let metric = self.metric_bounds()?;
        let ring_bytes = self.ring_bytes(metric, body_bytes_limit)?;
        let stats_interval = self.stats_interval.map_or(Duration::from_secs(10), |text| text.0.0);
        let rotation = self.rotation()?;
        let api_keys = self.api_keys.as_deref().map(read_api_keys).transpose()?;
        let stats_auth = self.stats_auth.unwrap_or_default();
        if stats_auth == StatsAuth::Keys && api_keys.is_none() {
            refuse!("--stats-auth keys requires --api-keys: without keys no client could read statistics");
        }
        let protocols = self.protocols(api_keys.is_some(), metric.tag_bytes_limit)?;
        let telemetry = self.telemetry()?;
        if self.max_connections == Some(0) {
            refuse!("--max-connections must be at least 1");
        }
        let writer_poll = self.writer_poll(&placement)?;
        let trusted_proxies = trusted(self.trusted_proxies.take())?;
        let forwarded_header = forwarded(self.forwarded_header.map(|text| text.0), &trusted_proxies)?;
        let [listen, proxy_listen, admin_listen] = self.addresses(&trusted_proxies, forwarded_header)?;
        let rate_limit = self.rate_limit()?;
        let rate_limit_bytes = self.rate_limit_bytes(rate_limit)?;

        Ok(Config {
            listen,
            proxy_listen,
            admin_listen,
            trusted_proxies,
            forwarded_header,
            unix_mode: self.unix_mode.map_or(limits::UNIX_MODE_DEFAULT, |text| text.0.0),
            placement,
            driver: self.driver.unwrap_or_default(),
            ack: self.ack.map_or(AckLevel::Write, |text| text.0),
            rate_limit,
            rate_limit_bytes,
            names_limit: self.names_limit()?,
            ipv6_prefix: self.ipv6_prefix()?,
            clients_limit: within("--max-clients", self.max_clients, limits::CLIENTS_DEFAULT, limits::CLIENTS_CAP)?,
            api_keys,
            cors: Cors::new(cors_origins(self.cors_origin.take())?),
            stats_auth,
            connections_limit: self.max_connections,
            body_bytes_limit,
            metric,
            ring_bytes,
            writer_poll,
            timeouts: self.timeouts()?,
            drain_timeout: Duration::from_millis(timeout("--drain-timeout", self.drain_timeout, 10)?),
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("data")),
            rotation,
            protocols,
            query,
            position_header: self.position_header.unwrap_or_default(),
            stats_interval: (!stats_interval.is_zero()).then_some(stats_interval),
            log_format: self.log_format.unwrap_or_default(),
            ui: self.ui.unwrap_or_default(),
            telemetry,
            forwards: forward::resolve(self.forward.unwrap_or_default()).map_err(ConfigError)?,
        })
    }

    /// The limits of one query.
    fn query_bounds(&self) -> Result<Bounds, ConfigError> {
        Ok(Bounds {
            series_limit: within(
                "--query-max-series",
                self.query_max_series,
                query::limits::QUERY_SERIES_DEFAULT,
                limits::QUERY_COUNT_CAP,
            )?,
            points_limit: within(
                "--query-max-points",
                self.query_max_points,
                query::limits::QUERY_POINTS_DEFAULT,
                limits::QUERY_COUNT_CAP,
            )?,
            held_bytes_limit: query_size(
                "--query-max-memory",
                self.query_max_memory,
                query::limits::QUERY_HELD_BYTES_DEFAULT,
                limits::QUERY_HELD_BYTES_CAP,
            )?,
            scanned_bytes_limit: query_size(
                "--query-max-scan",
                self.query_max_scan,
                query::limits::QUERY_SCANNED_BYTES_DEFAULT,
                limits::QUERY_SCANNED_BYTES_CAP,
            )?,
        })
    }

    /// Maximum number of bytes of a request's body.
    fn body_bytes_limit(&self) -> Result<usize, ConfigError> {
        let body_bytes_limit = self.max_body.map_or(limits::BODY_BYTES_DEFAULT, |text| text.0.0);
        if body_bytes_limit == 0 || body_bytes_limit > http1::limits::BODY_BYTES_CAP {
            refuse!("--max-body must be from 1 to {} bytes", http1::limits::BODY_BYTES_CAP);
        }
        Ok(body_bytes_limit)
    }

    /// The limits of one batch.
    fn metric_bounds(&self) -> Result<metric::Bounds, ConfigError> {
        Ok(metric::Bounds {
            batch_metrics_limit: within(
                "--max-batch",
                self.max_batch,
                metric::limits::BATCH_METRICS_DEFAULT,
                limits::BATCH_METRICS_CAP,
            )?,
            name_bytes_limit: within(
                "--max-name",
                self.max_name,
                metric::limits::NAME_BYTES_DEFAULT,
                limits::NAME_BYTES_CAP,
            )?,
            tag_bytes_limit: within(
                "--max-tag-value",
                self.max_tag_value,
                metric::limits::TAG_BYTES_DEFAULT,
                limits::TAG_BYTES_CAP,
            )?,
            tags_limit: within("--max-tags", self.max_tags, metric::limits::TAGS_DEFAULT, limits::TAGS_CAP)?,
        })
    }

    /// Size of each ring: two of the largest batches fit.
    fn ring_bytes(&self, metric: metric::Bounds, body_bytes_limit: usize) -> Result<usize, ConfigError> {
        let needed = limits::ring_bytes_min(metric::BatchEncoder::new(metric).encoded_bytes_max(body_bytes_limit));
        Ok(match self.ring_size.map(|text| text.0.0) {
            None => limits::RING_BYTES_DEFAULT.max(needed),
            Some(bytes) if !bytes.is_power_of_two() => refuse!("--ring-size must be a power of two, not {bytes}"),
            Some(bytes) if bytes > limits::RING_BYTES_CAP => {
                refuse!("--ring-size must be at most {}", limits::RING_BYTES_CAP)
            }
            Some(bytes) if bytes < needed => {
                refuse!("--ring-size must be at least {needed}: two batches of --max-body bytes must fit")
            }
            Some(bytes) => bytes,
        })
    }

    /// When a segment of the log is sealed, and when it is deleted.
    fn rotation(&self) -> Result<Rotation, ConfigError> {
        let rotation = Rotation {
            rotate_bytes: size(
                "--rotate-size",
                self.rotate_size,
                limits::ROTATE_BYTES_DEFAULT,
                limits::ROTATE_BYTES_MIN,
            )?,
            rotate_age: age("--rotate-age", self.rotate_age, log::limits::ROTATE_AGE_MIN)?,
            compress: self.compress.unwrap_or_default(),
            retain_bytes: size("--retain-size", self.retain_size, 0, limits::ROTATE_BYTES_MIN)?,
            retain_age: age("--retain-age", self.retain_age, log::limits::ROTATE_AGE_MIN)?,
            forward_hold_bytes: self.forward_hold.map_or(limits::FORWARD_HOLD_BYTES_DEFAULT, |text| text.0.0 as u64),
        };
        if rotation.rotate_bytes.is_none() && rotation.rotate_age.is_none() && rotation.retain_bytes.is_some() {
            refuse!(
                "--retain-size deletes sealed segments only, and nothing would seal one: set --rotate-size or \
                --rotate-age"
            );
        }
        Ok(rotation)
    }

    /// The options of the protocols of agents.
    fn protocols(&mut self, has_api_keys: bool, tag_bytes_limit: usize) -> Result<Protocols, ConfigError> {
        let typed = protocols::Typed {
            client_header: self.client_header.take(),
            over_rate_status: self.over_rate_status.take(),
            influx_database_tag: self.influx_database_tag.take(),
            otlp_names: self.otlp_names.take(),
            otlp_job: self.otlp_job.take(),
        };
        Protocols::resolve(typed, has_api_keys, tag_bytes_limit)
    }

    /// Resolves the export of traces, from the options and OpenTelemetry's own variables.
    fn telemetry(&mut self) -> Result<Telemetry, ConfigError> {
        let typed = Typed {
            endpoint: self.otlp_endpoint.take(),
            protocol: self.otlp_protocol.map(|text| text.0),
            ratio: self.trace_ratio,
            slow: self.trace_slow.map(|text| text.0.0),
        };
        Telemetry::resolve(&typed, &|name| std::env::var(name).ok()).map_err(ConfigError)
    }

    /// Resolves the time for which the writer polls its rings before it sleeps.
    fn writer_poll(&self, placement: &Placement) -> Result<Duration, ConfigError> {
        let shares_core = placement.reactor_cores.contains(&placement.writer_core);
        Ok(match self.writer_poll {
            Some(text) if text.0.0 <= limits::WRITER_POLL_CAP => text.0.0,
            Some(_) => refuse!("--writer-poll must be at most {:?}", limits::WRITER_POLL_CAP),
            None if shares_core => Duration::ZERO,
            None => log::limits::WRITER_POLL_DEFAULT,
        })
    }

    /// The addresses for clients, for proxies and for statistics.
    fn addresses(
        &mut self,
        trusted_proxies: &TrustedProxies,
        forwarded_header: ForwardedHeader,
    ) -> Result<[Vec<ListenAddress>; 3], ConfigError> {
        let proxy_listen = places("--proxy-listen", self.proxy_listen.take())?.unwrap_or_default();
        if !proxy_listen.is_empty() && trusted_proxies.is_empty() {
            refuse!("--proxy-listen accepts headers from --trusted-proxies only, and none are set");
        }
        if !trusted_proxies.is_empty() && proxy_listen.is_empty() && forwarded_header == ForwardedHeader::Off {
            refuse!("--trusted-proxies cannot name a client: set --proxy-listen, or --forwarded-header");
        }
        let listen = places("--listen", self.listen.take())?;
        let default = if proxy_listen.is_empty() { vec![ListenAddress::Ip(DEFAULT_ADDRESS)] } else { Vec::new() };
        let admin_listen = places("--admin-listen", self.admin_listen.take())?;
        Ok([listen.unwrap_or(default), proxy_listen, admin_listen.unwrap_or_default()])
    }

    /// Requests of one client in a window; `None` means no limit.
    fn rate_limit(&self) -> Result<Option<u32>, ConfigError> {
        Ok(match self.rate_limit.unwrap_or(limits::RATE_LIMIT_DEFAULT) {
            0 => None,
            limit if limit > rate::limits::RATE_LIMIT_CAP => {
                refuse!("--rate-limit must be at most {}, or 0 for no limit", rate::limits::RATE_LIMIT_CAP)
            }
            limit => Some(limit),
        })
    }

    /// Bytes of one client in a window; `None` means no limit, which is the default without a limit of requests.
    fn rate_limit_bytes(&self, rate_limit: Option<u32>) -> Result<Option<u64>, ConfigError> {
        Ok(match self.rate_limit_bytes.map(|text| text.0.0 as u64) {
            None => rate_limit.map(|_| limits::RATE_LIMIT_BYTES_DEFAULT),
            Some(0) => None,
            Some(bytes) if bytes > limits::RATE_LIMIT_BYTES_CAP => {
                refuse!("--rate-limit-bytes must be at most {} bytes, or 0 for no limit", limits::RATE_LIMIT_BYTES_CAP)
            }
            bytes => bytes,
        })
    }

    /// Names of clients that one address may use.
    fn names_limit(&self) -> Result<u32, ConfigError> {
        let limit = within(
            "--max-names-per-address",
            self.max_names_per_address,
            limits::NAMES_PER_ADDRESS_DEFAULT,
            limits::CLIENTS_CAP,
        )?;
        Ok(u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// Bits of an IPv6 address that make a client.
    fn ipv6_prefix(&self) -> Result<u8, ConfigError> {
        match self.ipv6_prefix.unwrap_or(rate::limits::IPV6_PREFIX_DEFAULT) {
            bits @ 1..=128 => Ok(bits),
            bits => refuse!("--ipv6-prefix must be from 1 to 128, not {bits}"),
        }
    }

    /// Timeouts of a connection.
    fn timeouts(&self) -> Result<Timeouts, ConfigError> {
        Ok(Timeouts {
            head_ms: timeout("--head-timeout", self.head_timeout, 10)?,
            body_ms: timeout("--body-timeout", self.body_timeout, 30)?,
            idle_ms: timeout("--idle-timeout", self.idle_timeout, limits::IDLE_TIMEOUT_DEFAULT_S)?,
            write_ms: timeout("--write-timeout", self.write_timeout, 30)?,
        })
    }
}

/// The origins whose pages may read responses.
fn cors_origins(value: Option<Vec<Origin>>) -> Result<Vec<Origin>, ConfigError> {
    let origins = value.unwrap_or_default();
    if origins.len() > limits::CORS_ORIGINS_MAX {
        refuse!("--cors-origin takes at most {} origins, not {}", limits::CORS_ORIGINS_MAX, origins.len());
    }
    Ok(origins)
}

/// Checks that an option that is given has at least one address to listen on.
fn places(flag: &str, value: Option<Vec<ListenAddress>>) -> Result<Option<Vec<ListenAddress>>, ConfigError> {
    if value.as_ref().is_some_and(Vec::is_empty) {
        refuse!("{flag} has no address to listen on");
    }
    Ok(value)
}

/// The networks of the trusted proxies.
fn trusted(value: Option<Vec<TrustedProxy>>) -> Result<TrustedProxies, ConfigError> {
    let proxies = value.unwrap_or_default();
    if proxies.len() > limits::TRUSTED_PROXIES_MAX {
        refuse!("--trusted-proxies takes at most {} networks, not {}", limits::TRUSTED_PROXIES_MAX, proxies.len());
    }
    Ok(proxies.into_iter().collect())
}

/// The header field in which trusted proxies name the client; it needs at least one trusted proxy.
fn forwarded(value: Option<ForwardedHeader>, trusted: &TrustedProxies) -> Result<ForwardedHeader, ConfigError> {
    match value.unwrap_or_default() {
        ForwardedHeader::Forwarded | ForwardedHeader::XForwardedFor if trusted.is_empty() => {
            refuse!("--forwarded-header is used for --trusted-proxies only, and none are set")
        }
        header => Ok(header),
    }
}

fn within(flag: &str, value: Option<usize>, default: usize, cap: usize) -> Result<usize, ConfigError> {
    match value.unwrap_or(default) {
        value if (1..=cap).contains(&value) => Ok(value),
        value => refuse!("{flag} must be from 1 to {cap}, not {value}"),
    }
}

/// Resolves a number of bytes from 1 MiB to `cap`.
fn query_size<T: Copy + PartialOrd + TryFrom<usize>>(
    flag: &str,
    value: Option<Text<Bytes>>,
    default: T,
    cap: T,
) -> Result<T, ConfigError> {
    let Some(Text(Bytes(bytes))) = value else { return Ok(default) };
    match T::try_from(bytes) {
        Ok(limit) if bytes >= limits::MIB && limit <= cap => Ok(limit),
        _ => refuse!("{flag} must be from 1MiB to its maximum (see --help), not {bytes} bytes"),
    }
}

/// Resolves a number of bytes from `min`; zero means no limit.
fn size(flag: &str, value: Option<Text<Bytes>>, default: u64, min: u64) -> Result<Option<u64>, ConfigError> {
    match value.map_or(default, |text| text.0.0 as u64) {
        0 => Ok(None),
        bytes if bytes >= min => Ok(Some(bytes)),
        _ => refuse!("{flag} must be at least {min} bytes, or 0"),
    }
}

/// Resolves a duration from `min`; zero, the default, means no limit.
fn age(flag: &str, value: Option<Text<Span>>, min: Duration) -> Result<Option<Duration>, ConfigError> {
    match value.map_or(Duration::ZERO, |text| text.0.0) {
        Duration::ZERO => Ok(None),
        span if span >= min => Ok(Some(span)),
        _ => refuse!("{flag} must be at least {min:?}, or 0s"),
    }
}

/// Resolves a timeout in milliseconds, from 1 ms to one day.
fn timeout(flag: &str, value: Option<Text<Span>>, default_s: u64) -> Result<u64, ConfigError> {
    let span = value.map_or(Duration::from_secs(default_s), |text| text.0.0);
    match u64::try_from(span.as_millis()) {
        Ok(milliseconds @ 1..=86_400_000) => Ok(milliseconds),
        _ => refuse!("{flag} must be from 1ms to 24h"),
    }
}

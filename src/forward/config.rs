//! Configuration of forwards: `--forward URL`, or a table `[[forward]]` in the configuration file.

#[cfg(feature = "kafka")]
use super::kafka::{self, KafkaConfig};
use super::{
    format::{Compression, Protocol},
    target::{self, Target},
};
use crate::{limits, trace::DeliveryReceiver};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Duration};

/// The beginning of the URL of a topic.
const KAFKA_SCHEME: &str = "kafka://";

/// The place at which a forward without a cursor begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// The end of the log.
    #[default]
    End,
    /// The oldest line that is kept.
    Beginning,
}

/// A forward as given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ForwardOption {
    pub(super) url: String,
    pub(super) name: Option<String>,
    start: StartAt,
    protocol: Protocol,
    compression: Compression,
    shards: Option<usize>,
    batch_samples: Option<usize>,
    batch_age: Option<String>,
    timeout: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) tenant: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    /// The table of what only Kafka has; checked by the build that has Kafka.
    pub(super) kafka: Option<toml::Table>,
}

impl FromStr for ForwardOption {
    type Err = std::convert::Infallible;
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self { url: url.to_owned(), ..Self::default() })
    }
}

/// A forward, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Name: of its cursor, and in statistics.
    pub name: String,
    /// The place to begin at.
    pub start: StartAt,
    /// Time from a line to its request, while the forward keeps up.
    pub batch_age: Duration,
    /// Time that one request may take, from connecting to the end of the response.
    pub timeout: Duration,
    /// The receiver, and what is set for it.
    pub receiver: Receiver,
}

/// A receiver, by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receiver {
    /// Prometheus remote write.
    RemoteWrite(RemoteWrite),
    /// A topic of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(KafkaConfig),
}

impl Receiver {
    /// The URL, without secrets.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::RemoteWrite(remote) => &remote.target.url,
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => &kafka.url,
        }
    }

    /// The receiver as spans name it.
    pub(super) fn for_traces(&self) -> DeliveryReceiver {
        match self {
            Self::RemoteWrite(RemoteWrite { target, .. }) => {
                DeliveryReceiver::Http { host: target.host.clone(), port: target.port }
            }
            #[cfg(feature = "kafka")]
            Self::Kafka(kafka) => DeliveryReceiver::Kafka { topic: kafka.topic.clone() },
        }
    }
}

/// A receiver of remote write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWrite {
    /// The receiver.
    pub target: Target,
    /// The version of remote write.
    pub protocol: Protocol,
    /// The compression of requests.
    pub compression: Compression,
    /// Number of connections.
    pub shards: usize,
    /// Samples of one request, at most.
    pub batch_samples: usize,
}

/// Checks the forwards, and reads the files that they name.
///
/// # Errors
/// What is wrong with which one.
pub fn resolve(options: Vec<ForwardOption>) -> Result<Vec<ForwardConfig>, String> {
    if options.len() > limits::FORWARDS_MAX {
        return Err(format!("--forward takes at most {} receivers, not {}", limits::FORWARDS_MAX, options.len()));
    }
    let mut configs: Vec<ForwardConfig> = Vec::new();
    for option in options {
        // Without what may be a password.
        let url = option.url.rsplit_once('@').map_or(&option.url[..], |(_, rest)| rest);
        let config = check(&option).map_err(|why| format!("--forward {url} {why}"))?;
        if configs.iter().any(|other| other.name == config.name) {
            return Err(format!("two forwards are named {}: give each its own name in [[forward]]", config.name));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn check(option: &ForwardOption) -> Result<ForwardConfig, String> {
    let receiver =
        if option.url.starts_with(KAFKA_SCHEME) { check_kafka(option)? } else { check_remote_write(option)? };
    let name = option.name.clone().unwrap_or_else(|| name_of(receiver.url()));
    if !is_name(&name) {
        return Err(format!(
            "needs a name of 1 to {} letters, digits, dots, underscores and hyphens",
            limits::FORWARD_NAME_BYTES_MAX
        ));
    }
    Ok(ForwardConfig {
        name,
        start: option.start,
        batch_age: time("batch_age", option.batch_age.as_deref(), limits::FORWARD_BATCH_AGE_DEFAULT)?,
        timeout: time("timeout", option.timeout.as_deref(), limits::FORWARD_REQUEST_TIMEOUT_DEFAULT)?,
        receiver,
    })
}

fn check_remote_write(option: &ForwardOption) -> Result<Receiver, String> {
    let target = target::check(option)?;
    if option.kafka.is_some() {
        return Err("has a table [forward.kafka], but is not kafka://".to_owned());
    }
    if option.protocol == Protocol::V2 && option.compression == Compression::Zstd {
        return Err("cannot have protocol \"2.0\" with compression \"zstd\": that version has snappy only".to_owned());
    }
    let count = |key: &str, given: Option<usize>, default: usize, cap: usize| match given.unwrap_or(default) {
        count if (1..=cap).contains(&count) => Ok(count),
        count => Err(format!("cannot have {key} = {count}: it is 1 to {cap}")),
    };
    let (samples, samples_cap) = (limits::FORWARD_BATCH_SAMPLES_DEFAULT, limits::FORWARD_BATCH_SAMPLES_CAP);
    Ok(Receiver::RemoteWrite(RemoteWrite {
        target,
        protocol: option.protocol,
        compression: option.compression,
        shards: count("shards", option.shards, 1, limits::FORWARD_SHARDS_CAP)?,
        batch_samples: count("batch_samples", option.batch_samples, samples, samples_cap)?,
    }))
}

#[cfg(not(feature = "kafka"))]
fn check_kafka(_: &ForwardOption) -> Result<Receiver, String> {
    Err("needs a server that is built with the feature kafka: cargo build --release --features kafka".to_owned())
}

/// Checks what only Kafka has, and that nothing is set that only remote write has.
#[cfg(feature = "kafka")]
fn check_kafka(option: &ForwardOption) -> Result<Receiver, String> {
    let foreign = [
        ("protocol", option.protocol != Protocol::default()),
        ("compression", option.compression != Compression::default()),
        ("shards", option.shards.is_some()),
        ("batch_samples", option.batch_samples.is_some()),
        ("headers", !option.headers.is_empty()),
        ("tenant", option.tenant.is_some()),
        ("username", option.username.is_some()),
        ("password", option.password.is_some() || option.password_file.is_some()),
        ("bearer_token", option.bearer_token.is_some() || option.bearer_token_file.is_some()),
        ("ca_file", option.ca_file.is_some()),
    ];
    if let Some((key, _)) = foreign.iter().find(|(_, is_set)| *is_set) {
        return Err(format!("cannot have {key}, which is of remote write: see [forward.kafka]"));
    }
    kafka::check(&option.url[KAFKA_SCHEME.len()..], option.kafka.clone()).map(Receiver::Kafka)
}

/// True for what can be the name of a forward.
pub(super) fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=limits::FORWARD_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn time(key: &str, text: Option<&str>, default: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(default) };
    let (number, unit_ms) = match (text.strip_suffix("ms"), text.strip_suffix('s'), text.strip_suffix('m')) {
        (Some(number), ..) => (number, 1),
        (None, Some(number), _) => (number, 1_000),
        (None, None, Some(number)) => (number, 60_000),
        (None, None, None) => ("", 0),
    };
    let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).map(Duration::from_millis);
    let allowed = limits::FORWARD_TIME_MIN..=limits::FORWARD_TIME_CAP;
    time.filter(|time| allowed.contains(time)).ok_or_else(|| {
        let (least, most) = (allowed.start(), allowed.end());
        format!("cannot have {key} = {text:?}: it is a time such as 500ms or 5s, of {least:?} to {most:?}")
    })
}

/// The name of a forward that was given none: its URL, without what a file name cannot have.
fn name_of(url: &str) -> String {
    let text = url.split_once("://").map_or(url, |(_, text)| text);
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = text.trim_end_matches('/').chars().map(safe).collect();
    name.trim_matches('-').chars().take(limits::FORWARD_NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(urls: &[&str]) -> Result<Vec<ForwardConfig>, String> {
        resolve(urls.iter().map(|url| url.parse().unwrap()).collect())
    }

    fn remote(config: &ForwardConfig) -> &RemoteWrite {
        match &config.receiver {
            Receiver::RemoteWrite(remote) => remote,
            #[cfg(feature = "kafka")]
            Receiver::Kafka(_) => panic!("not remote write"),
        }
    }

    #[cfg(not(feature = "kafka"))]
    #[test]
    fn kafka_without_its_feature_is_refused_by_name() {
        let error = resolved(&["kafka://localhost:9092/metrics"]).unwrap_err();
        assert!(error.contains("--features kafka"), "{error}");
    }

    #[test]
    fn a_forward_is_named_by_its_url() {
        let configs = resolved(&["http://localhost:9090/api/v1/write", "http://[::1]/w?a=b"]).unwrap();
        assert_eq!((configs[0].name.as_str(), remote(&configs[0]).target.port), ("localhost-9090-api-v1-write", 9090));
        let target = &remote(&configs[1]).target;
        assert_eq!((target.host.as_str(), target.port), ("::1", 80));
        assert!(target.head.starts_with("POST /w?a=b HTTP/1.1\r\nHost: [::1]\r\n"));
    }

    #[test]
    fn a_forward_that_cannot_be_is_refused() {
        for (urls, part) in [
            (&["localhost"][..], "is not a URL that begins"),
            (&["ftp://a/b"], "is not a URL that begins"),
            (&["http://user:secret@a/b"], "has a user in it"),
            (&["http://a:99999/b"], "has a port that is not from 1 to 65535"),
            (&["http://a:0/b"], "has a port that is not"),
            (&["https://[::1]:/b"], "has a port that is not"),
            (&["http://a/b", "http://a/b"], "two forwards are named a-b"),
            (&["http://a/b", "https://a/b"], "two forwards are named a-b"),
        ] {
            let error = resolved(urls).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn options_of_a_forward_are_bounded() {
        let table = |text: &str| resolve(vec![toml::from_str(&format!("url = 'https://a/b'\n{text}")).unwrap()]);
        for (text, part) in [
            ("headers = { Host = 'c' }", "cannot send the header Host"),
            ("headers = { x-prometheus-remote-write-version = '1' }", "the server sets it"),
            ("headers = { Authorization = 'c' }\nbearer_token = 'd'", "more than one"),
            ("username = 'c'\nbearer_token = 'd'", "more than one"),
            ("password = 'c'", "password without a username"),
            ("bearer_token_file = '/dev/zero'", "cannot read /dev/zero"),
            ("ca_file = '/dev/null'", "cannot read /dev/null"),
            ("tenant = \"a\\nb\"", "cannot send the header X-Scope-OrgID"),
            ("shards = 0", "cannot have shards = 0: it is 1 to"),
            ("batch_samples = 1000000", "batch_samples = 1000000"),
            ("batch_age = '1ms'", "batch_age"),
            ("batch_age = '99999999999999999999s'", "batch_age"),
            ("batch_age = '1'", "batch_age"),
            ("compression = 'zstd'\nprotocol = '2.0'", "snappy only"),
            ("[kafka]\nkey = 'series'", "is not kafka://"),
        ] {
            let error = table(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let all = "shards = 8\nbatch_samples = 10000\nbatch_age = '250ms'\ncompression = 'zstd'\ntenant = 't'\n\
                   username = 'u'\npassword = 'p'";
        let config = table(all).unwrap().remove(0);
        let remote = remote(&config);
        assert_eq!((remote.shards, remote.batch_samples, config.batch_age.as_millis()), (8, 10_000, 250));
        assert!(remote.target.head.contains("\r\nAuthorization: Basic dTpw\r\n"), "{}", remote.target.head);
        assert!(remote.target.head.contains("\r\nX-Scope-OrgID: t\r\n"), "{}", remote.target.head);
        assert_eq!(remote.target.port, 443);
    }
}

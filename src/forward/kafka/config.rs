//! Configuration of a forward to Kafka: its URL, and the table `[forward.kafka]`.

use crate::limits;
use rdkafka::ClientConfig;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The key of a record, which chooses its partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Key {
    /// A hash of the series, in hexadecimal digits.
    #[default]
    Series,
    /// The value of a tag; of a line that does not have it, the series.
    Tag(String),
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("tag:") {
            _ if text == "series" => Ok(Self::Series),
            Some(name) if !name.is_empty() => Ok(Self::Tag(name.to_owned())),
            _ => Err(format!("key = {text:?} is not \"series\" or \"tag:NAME\"")),
        }
    }
}

/// The value of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Value {
    /// The line as it is in the log, without its line feed.
    #[default]
    #[serde(rename = "line")]
    Line,
    /// A message `io.prometheus.write.v2.Request` of one sample, not compressed by itself.
    #[serde(rename = "remote-write-2")]
    RemoteWrite2,
}

/// The compression of record batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// None.
    None,
    /// Snappy.
    Snappy,
    /// LZ4, which is fast and which every client reads.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The table `[forward.kafka]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KafkaOption {
    key: Key,
    value: Value,
    compression: Codec,
    properties: BTreeMap<String, Property>,
}

/// A property, given as a text, a number or a truth value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Property {
    Text(String),
    Number(i64),
    Truth(bool),
}

/// A topic of Kafka to forward to.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaConfig {
    /// The URL.
    pub url: String,
    /// Brokers to begin with: `host:port`, separated by commas.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The key of a record.
    pub key: Key,
    /// The value of a record.
    pub value: Value,
    compression: Codec,
    /// Properties of librdkafka, some of them secret.
    properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, key, value, compression, properties, .. } = self;
        let names: Vec<_> = properties.keys().collect();
        write!(f, "KafkaConfig({url}, {key:?}, {value:?}, {compression:?}, {names:?})")
    }
}

/// Properties that the server sets itself, as its guarantees and its bounds stand on them, or that replace what it has
/// set; the reason of each.
const OWN_PROPERTIES: [(&str, &str); 31] = [
    ("bootstrap.servers", BY_URL),
    ("metadata.broker.list", BY_URL),
    ("test.mock.num.brokers", BY_URL),
    ("transactional.id", IDENTITY),
    ("group.id", IDENTITY),
    ("group.instance.id", IDENTITY),
    ("enable.idempotence", EXACTLY_ONCE),
    ("enable.gapless.guarantee", EXACTLY_ONCE),
    ("acks", EXACTLY_ONCE),
    ("request.required.acks", EXACTLY_ONCE),
    ("retries", EXACTLY_ONCE),
    ("message.send.max.retries", EXACTLY_ONCE),
    ("max.in.flight", EXACTLY_ONCE),
    ("max.in.flight.requests.per.connection", EXACTLY_ONCE),
    ("queuing.strategy", EXACTLY_ONCE),
    ("isolation.level", EXACTLY_ONCE),
    ("enable.auto.commit", EXACTLY_ONCE),
    ("enable.auto.offset.store", EXACTLY_ONCE),
    ("auto.offset.reset", EXACTLY_ONCE),
    ("delivery.report.only.error", EXACTLY_ONCE),
    ("produce.offset.report", EXACTLY_ONCE),
    ("partitioner", ORDER),
    ("sticky.partitioning.linger.ms", ORDER),
    ("queue.buffering.max.kbytes", MEMORY),
    ("queue.buffering.max.messages", MEMORY),
    ("message.copy.max.bytes", MEMORY),
    ("compression.codec", BY_KEY),
    ("compression.type", BY_KEY),
    ("log.queue", LOG),
    ("statistics.interval.ms", LOG),
    ("plugin.library.paths", "no code is loaded"),
];
const BY_URL: &str = "the URL names the brokers";
const IDENTITY: &str = "it is made of the forward's name and the data directory";
const EXACTLY_ONCE: &str = "each line exactly once depends on it";
const ORDER: &str = "the order within a key depends on it";
const MEMORY: &str = "the memory of a forward is bounded";
const BY_KEY: &str = "set compression in [forward.kafka]";
const LOG: &str = "the server has its own log and statistics";

/// Properties, by the beginning of their names, that a connection needs whatever it is for.
const OF_CONNECTIONS: [&str; 7] = ["security.", "sasl.", "ssl.", "socket.", "broker.address.", "client.", "reconnect."];

/// Checks what a forward to Kafka has of its own. `rest` is the URL without its scheme.
///
/// # Errors
/// What is wrong, to follow the URL.
pub fn check(rest: &str, table: Option<toml::Table>) -> Result<KafkaConfig, String> {
    let (brokers, topic) = rest.split_once('/').ok_or("has no topic: kafka://HOST:PORT/TOPIC")?;
    let is_broker = |broker: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        !broker.is_empty() && broker.bytes().all(is_part)
    };
    if !brokers.split(',').all(is_broker) {
        return Err("has a broker that is not HOST:PORT".to_owned());
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_path = [".", ".."].contains(&topic);
    if topic.is_empty() || topic.len() > limits::KAFKA_TOPIC_BYTES_MAX || !topic.bytes().all(is_allowed) || is_path {
        let most = limits::KAFKA_TOPIC_BYTES_MAX;
        return Err(format!("needs a topic of 1 to {most} letters, digits, dots, underscores and hyphens"));
    }
    let option: KafkaOption = table.unwrap_or_default().try_into().map_err(|error: toml::de::Error| {
        // Without the text around it, which may hold a secret.
        format!("has a [forward.kafka] that cannot be: {}", error.message())
    })?;
    if option.properties.len() > limits::KAFKA_PROPERTIES_MAX {
        return Err(format!("has more than {} properties in [forward.kafka.properties]", limits::KAFKA_PROPERTIES_MAX));
    }
    for name in option.properties.keys() {
        if let Some((_, why)) = OWN_PROPERTIES.iter().find(|(own, _)| own == name) {
            return Err(format!("cannot have the property {name}: {why}"));
        }
    }
    let text = |value| match value {
        Property::Text(text) => text,
        Property::Number(number) => number.to_string(),
        Property::Truth(truth) => truth.to_string(),
    };
    let config = KafkaConfig {
        url: format!("kafka://{brokers}/{topic}"),
        brokers: brokers.to_owned(),
        topic: topic.to_owned(),
        key: option.key,
        value: option.value,
        compression: option.compression,
        properties: option.properties.into_iter().map(|(name, value)| (name, text(value))).collect(),
    };
    for (name, value) in &config.properties {
        // One at a time, so that the message can name it without its value, which may be a secret.
        if ClientConfig::new().set(name, value).create_native_config().is_err() {
            return Err(format!("cannot have the property {name}: librdkafka does not know it, or not this value"));
        }
    }
    Ok(config)
}

impl KafkaConfig {
    /// The configuration of the producer of `identity`.
    pub fn producer(&self, identity: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.extend(self.properties.clone());
        config
            .set("bootstrap.servers", &self.brokers)
            .set("transactional.id", identity)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // As the clients of Java choose a partition.
            .set("partitioner", "murmur2_random")
            .set("compression.codec", self.compression.name())
            .set("queue.buffering.max.kbytes", limits::KAFKA_QUEUE_KIBIBYTES.to_string())
            .set("queue.buffering.max.messages", limits::KAFKA_QUEUE_RECORDS.to_string());
        config
    }

    /// The configuration of the consumer that reads the cursor of `identity`.
    pub fn consumer(&self, identity: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        let of_connections = |name: &str| OF_CONNECTIONS.iter().any(|begin| name.starts_with(begin));
        config.extend(self.properties.clone().into_iter().filter(|(name, _)| of_connections(name)));
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", identity)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(rest: &str, table: &str) -> Result<KafkaConfig, String> {
        check(rest, Some(toml::from_str(table).unwrap()))
    }

    #[test]
    fn a_topic_with_its_options_is_taken() {
        let config = checked("a:9092,[::1]:9093/metrics.v1", "key = 'tag:host'\nvalue = 'remote-write-2'").unwrap();
        assert_eq!((config.brokers.as_str(), config.topic.as_str()), ("a:9092,[::1]:9093", "metrics.v1"));
        assert_eq!((config.key, config.value), (Key::Tag("host".to_owned()), Value::RemoteWrite2));
        let table = "compression = 'zstd'\nproperties = { 'linger.ms' = 20, 'socket.keepalive.enable' = true }";
        let config = checked("a/b", table).unwrap();
        let producer = config.producer("one");
        for (name, value) in [
            ("linger.ms", "20"),
            ("socket.keepalive.enable", "true"),
            ("compression.codec", "zstd"),
            ("acks", "all"),
            ("transactional.id", "one"),
        ] {
            assert_eq!(producer.get(name), Some(value), "{name}");
        }
        let consumer = config.consumer("one");
        assert_eq!((consumer.get("linger.ms"), consumer.get("socket.keepalive.enable")), (None, Some("true")));
    }

    #[test]
    fn a_topic_that_cannot_be_is_refused() {
        for (rest, table, part) in [
            ("localhost:9092", "", "has no topic"),
            ("localhost:9092/", "", "needs a topic of 1 to 249"),
            ("localhost:9092/a/b", "", "needs a topic of 1 to 249"),
            ("localhost:9092/..", "", "needs a topic of 1 to 249"),
            ("/a", "", "a broker that is not HOST:PORT"),
            ("a:1,,b:1/a", "", "a broker that is not HOST:PORT"),
            ("user@a:1/a", "", "a broker that is not HOST:PORT"),
            ("a/b", "key = 'client'", "is not \"series\" or \"tag:NAME\""),
            ("a/b", "key = 'tag:'", "is not \"series\" or \"tag:NAME\""),
            ("a/b", "value = 'json'", "unknown variant"),
            ("a/b", "compression = 'gzip'", "unknown variant"),
            ("a/b", "topic = 'c'", "unknown field"),
        ] {
            let error = checked(rest, table).unwrap_err();
            assert!(error.contains(part), "{rest} {table}: {error}");
        }
    }

    #[test]
    fn a_property_that_breaks_a_promise_is_refused() {
        for (name, why) in OWN_PROPERTIES {
            let error = checked("a/b", &format!("properties = {{ '{name}' = '1' }}")).unwrap_err();
            assert!(error.contains(name) && error.contains(why), "{error}");
        }
        for (name, value) in [("linger.millis", "5"), ("linger.ms", "secret")] {
            let error = checked("a/b", &format!("properties = {{ '{name}' = '{value}' }}")).unwrap_err();
            assert!(error.contains(name) && !error.contains("secret"), "{error}");
        }
    }
}

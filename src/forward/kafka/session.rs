//! A transactional producer, and the consumer group that has the cursor, as one session with the brokers.
//!
//! The protocol: [`Session::init`] ends whatever an earlier session with this identity has left open, and fences it;
//! then [`Session::cursor`] is final. Each transaction is [`Session::begin`], [`Session::send`] for each record,
//! [`Session::flush`] until all are acknowledged, [`Session::put_cursor`], and [`Session::commit`]; or, at any point,
//! [`Session::abort`]. Every call says what its failure requires, by the three kinds of librdkafka: [`Failure`].

use super::{committed::CommittedOffset, config::KafkaConfig};
use crate::limits;
use log::LogPosition;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    util::Timeout,
};
use std::{sync::PoisonError, time::Duration};
use wake::sync::real::Mutex;

/// The partition that the cursor is committed for. Every topic has it.
const CURSOR_PARTITION: i32 = 0;
const CURSOR_HEADER: &str = "metricstream 1 ";

/// A failure, by what it requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The same call again.
    Again(String),
    /// An abort, and the same transaction again.
    Abort(String),
    /// An abort, and the transaction in smaller parts: the brokers do not take one of its records.
    Refused(RDKafkaErrorCode),
    /// A new session: this one is over.
    Lost(String),
}

/// The cursor, as Kafka has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The number of lines that are behind the cursor: the offset that Kafka shows.
    pub lines: u64,
    /// The position in the log up to which everything is in the topic. `None`: the brokers do not keep the metadata of
    /// an offset, as some that are compatible with Kafka do not.
    pub position: Option<LogPosition>,
}

/// A full queue: the record was not taken.
#[derive(Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Receives what librdkafka reports from its threads and while it is polled.
#[derive(Debug, Default)]
struct Reports {
    /// The first record of the transaction that was not delivered.
    undelivered: Mutex<Option<RDKafkaErrorCode>>,
}

impl Reports {
    fn undelivered(&self) -> Option<RDKafkaErrorCode> {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        // It repeats itself at every attempt; what matters is in the errors of calls.
        tracing::debug!(target: "librdkafka", facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
    }
}

impl ConsumerContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // Those that an abort takes back.
        if !matches!(code, RDKafkaErrorCode::PurgeInflight | RDKafkaErrorCode::PurgeQueue) {
            self.undelivered.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
    }
}

/// A session.
pub struct Session {
    topic: String,
    producer: BaseProducer<Reports>,
    consumer: BaseConsumer<Reports>,
    is_initialised: bool,
}

impl Session {
    /// Makes the clients. They connect by themselves.
    ///
    /// # Errors
    /// librdkafka does not take the configuration as a whole, or cannot start its threads.
    pub fn new(config: &KafkaConfig, identity: &str) -> Result<Self, String> {
        let text = |error: KafkaError| format!("librdkafka: {error}");
        let (mut producer, mut consumer) = (config.producer(identity), config.consumer(identity));
        producer.set_log_level(RDKafkaLogLevel::Info);
        consumer.set_log_level(RDKafkaLogLevel::Info);
        Ok(Self {
            topic: config.topic.clone(),
            producer: BaseProducer::from_config_and_context(&producer, Reports::default()).map_err(text)?,
            consumer: BaseConsumer::from_config_and_context(&consumer, Reports::default()).map_err(text)?,
            is_initialised: false,
        })
    }

    /// Ends what an earlier session of this identity has left, and fences it. Waits for [`limits::KAFKA_WAIT_SLICE`].
    ///
    /// # Errors
    /// [`Failure::Again`]: it is under way. [`Failure::Lost`].
    pub fn init(&mut self) -> Result<(), Failure> {
        if !self.is_initialised {
            self.producer.init_transactions(limits::KAFKA_WAIT_SLICE).map_err(failure)?;
            self.is_initialised = true;
        }
        Ok(())
    }

    /// The cursor that is committed. `None`: there is none.
    ///
    /// # Errors
    /// [`Failure::Again`]. Also while a transaction with a cursor is not decided.
    pub fn cursor(&self, timeout: Duration) -> Result<Option<Committed>, Failure> {
        let again = |error: KafkaError| Failure::Again(format!("the cursor cannot be read: {error}"));
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.topic, CURSOR_PARTITION);
        let found = self.consumer.committed_offsets(wanted, timeout).map_err(again)?;
        let Some(found) = CommittedOffset::first(&found) else { return Ok(None) };
        match found.error() {
            None => {}
            // The topic is made by the first record, where the brokers allow that.
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(None),
            Some(code) => {
                return Err(Failure::Again(format!("the cursor cannot be read: {code} ({})", found.code)));
            }
        }
        // Negative: there is none.
        let Ok(lines) = u64::try_from(found.offset) else { return Ok(None) };
        let text = std::str::from_utf8(found.metadata).ok();
        let position = text.and_then(|text| text.strip_prefix(CURSOR_HEADER)?.parse().ok());
        Ok(Some(Committed { lines, position }))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn begin(&self) -> Result<(), Failure> {
        self.producer.context().clear();
        self.producer.begin_transaction().map_err(failure)
    }

    /// Adds a record, or fails if the queue is full.
    ///
    /// # Errors
    /// [`Failure`]; within, [`QueueFull`]: the same record again, after [`Self::poll`].
    pub fn send(&self, key: &[u8], value: &[u8]) -> Result<Result<(), QueueFull>, Failure> {
        match self.producer.send(BaseRecord::to(&self.topic).key(key).payload(value)) {
            Ok(()) => Ok(Ok(())),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                self.check().map(|()| Err(QueueFull))
            }
            Err((error, _)) => {
                self.check()?;
                Err(match error.rdkafka_error_code() {
                    Some(code) if is_of_the_record(code) => Failure::Refused(code),
                    Some(RDKafkaErrorCode::Fatal) => self.lost(),
                    // Its transaction has failed, which the abort will settle.
                    _ => Failure::Abort(format!("a record is not taken: {error}")),
                })
            }
        }
    }

    /// Serves what librdkafka has to report, for some time.
    pub fn poll(&self, time: Duration) {
        self.producer.poll(time);
        // It is never subscribed: what comes are reports.
        drop(self.consumer.poll(Duration::ZERO));
    }

    /// True once all records are acknowledged. Waits for [`limits::KAFKA_WAIT_SLICE`].
    ///
    /// # Errors
    /// [`Failure`]: a record was not delivered.
    pub fn flush(&self) -> Result<bool, Failure> {
        let flushed = self.producer.flush(limits::KAFKA_WAIT_SLICE);
        self.check()?;
        match flushed {
            Ok(()) => Ok(true),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) => Ok(false),
            Err(error) => Err(Failure::Abort(format!("records are not delivered: {error}"))),
        }
    }

    /// Adds the cursor to the transaction.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn put_cursor(&self, position: LogPosition, lines: u64, timeout: Duration) -> Result<(), Failure> {
        let lost = |error: KafkaError| Failure::Lost(format!("the cursor cannot be put: {error}"));
        let mut offsets = TopicPartitionList::new();
        let mut element = offsets.add_partition(&self.topic, CURSOR_PARTITION);
        element.set_offset(Offset::Offset(i64::try_from(lines).unwrap_or(i64::MAX))).map_err(lost)?;
        element.set_metadata(format!("{CURSOR_HEADER}{position}"));
        let group: ConsumerGroupMetadata =
            self.consumer.group_metadata().ok_or_else(|| Failure::Lost("the group has no metadata".to_owned()))?;
        self.producer.send_offsets_to_transaction(&offsets, &group, timeout).map_err(failure)
    }

    /// Commits, within what is left of the time of the transaction, as librdkafka recommends.
    ///
    /// # Errors
    /// [`Failure`]. [`Failure::Again`] and [`Failure::Lost`] leave open whether it is committed.
    pub fn commit(&self) -> Result<(), Failure> {
        self.producer.commit_transaction(Timeout::Never).map_err(failure)
    }

    /// True once the transaction is aborted. Waits for [`limits::KAFKA_WAIT_SLICE`] while there are records, which it
    /// takes back where they are not on their way, and then for what is left of the time of the transaction.
    ///
    /// # Errors
    /// [`Failure::Again`], [`Failure::Lost`].
    pub fn abort(&self) -> Result<bool, Failure> {
        // Their reports have to be served in between: it waits for that.
        self.poll(Duration::ZERO);
        let has_records = self.producer.in_flight_count() > 0;
        let timeout = if has_records { Timeout::After(limits::KAFKA_WAIT_SLICE) } else { Timeout::Never };
        match self.producer.abort_transaction(timeout).map_err(failure) {
            Ok(()) => {
                self.poll(Duration::ZERO);
                self.producer.context().clear();
                Ok(true)
            }
            Err(Failure::Again(_)) if has_records => Ok(false),
            // Nothing else can be done for it.
            Err(Failure::Abort(why)) => Err(Failure::Lost(why)),
            Err(other) => Err(other),
        }
    }

    /// Fails if a record was not delivered, or the session is over.
    fn check(&self) -> Result<(), Failure> {
        if self.producer.client().fatal_error().is_some() {
            return Err(self.lost());
        }
        match self.producer.context().undelivered() {
            None => Ok(()),
            Some(code) if is_of_the_record(code) => Err(Failure::Refused(code)),
            Some(code) => Err(Failure::Abort(format!("a record is not delivered: {code}"))),
        }
    }

    fn lost(&self) -> Failure {
        let reason = self.producer.client().fatal_error();
        Failure::Lost(reason.map_or_else(|| "a fatal error".to_owned(), |(code, text)| format!("{code}: {text}")))
    }
}

/// True if a record is refused for what it is: the same record is refused again.
fn is_of_the_record(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidRecord | RDKafkaErrorCode::InvalidTimestamp
    )
}

/// Sorts the error of a call by what it requires. What is neither retriable nor abortable is fatal, by the advice of
/// librdkafka.
fn failure(error: KafkaError) -> Failure {
    match error {
        KafkaError::Transaction(error) if error.txn_requires_abort() => Failure::Abort(error.string()),
        KafkaError::Transaction(error) if error.is_retriable() && !error.is_fatal() => Failure::Again(error.string()),
        KafkaError::Transaction(error) => Failure::Lost(error.string()),
        KafkaError::Flush(code) => Failure::Again(code.to_string()),
        other => Failure::Lost(other.to_string()),
    }
}

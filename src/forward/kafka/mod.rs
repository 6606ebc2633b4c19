//! Kafka as the receiver of a forward: one record for each line, exactly once.
//!
//! Owns: the configuration (`config`), the identity by which Kafka knows this forward of this log (`identity`), the key
//! and value of a line (`record`), a producer in the protocol of transactions (`session`), the cursor as the brokers
//! sent it (`committed`), and the thread (`job`).
//! Promises: the records of a transaction and the position behind them in the log are committed together, and the
//! position in Kafka decides where a forward continues. A reader with `read_committed` sees each line once, in the
//! order of the log within a key. Everything runs on the forward's own thread and those of librdkafka.
//! May not touch: the reactors, clients.

mod committed;
mod config;
mod identity;
mod job;
mod record;
mod session;
#[cfg(test)]
mod tests;

pub use config::{KafkaConfig, check};
pub use job::Job;

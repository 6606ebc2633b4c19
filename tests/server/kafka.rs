//! Forwarding to Kafka, with librdkafka's mock cluster in this process and the server as one of its own.
//!
//! The mock cluster knows the protocol of transactions, but it forgets the cursor that is put in one, and records of a
//! transaction that was aborted stay visible. So these servers continue where the cursor on disk says, whose number of
//! lines shows that each was counted once. scripts/kafka.sh has a broker that keeps the cursor.

use crate::{
    forward::{store, store_all},
    log,
    server::{DEADLINE, Driver, Server, Setup, until},
    with_driver,
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};
use testkit::random::Random;

const TOPIC: &str = "metrics";
const PARTITIONS: i32 = 3;
const SERIES: usize = 20;

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    cluster
}

/// A setup that forwards to the cluster, with further lines for both tables, and the file that they are in.
fn setup(driver: Driver, cluster: &Cluster, forward: &str, kafka: &str) -> (Setup, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("kafka://{}/{TOPIC}", cluster.bootstrap_servers());
    let text = format!(
        "[[forward]]\nname = \"store\"\nurl = \"{url}\"\nstart = \"beginning\"\nbatch_age = \"20ms\"\n{forward}\n\
         [forward.kafka]\n{kafka}\n"
    );
    fs::write(file.path(), text).unwrap();
    (with_driver(driver).flag("--config", file.path().display()), file)
}

fn consumer(cluster: &Cluster, group: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("group.id", group);
    config.set("enable.auto.commit", "false").create().unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    key: String,
    value: Vec<u8>,
    partition: i32,
}

/// Everything that is in the topic, each partition in its order.
fn records(cluster: &Cluster) -> Vec<Record> {
    let consumer = consumer(cluster, "reader");
    let (mut places, mut missing) = (TopicPartitionList::new(), 0);
    for partition in 0..PARTITIONS {
        let wait = DEADLINE;
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, wait).unwrap();
        places.add_partition_offset(TOPIC, partition, Offset::Beginning).unwrap();
        missing += high - low;
    }
    consumer.assign(&places).unwrap();
    let mut found = Vec::new();
    until("all records of the topic", || {
        while missing > 0
            && let Some(message) = consumer.poll(Duration::from_millis(100))
        {
            let message = message.unwrap();
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            found.push(Record { key, value: message.payload().unwrap().to_vec(), partition: message.partition() });
            missing -= 1;
        }
        (missing == 0).then_some(())
    });
    found
}

/// The position and the number of lines on disk.
fn cursor(directory: &Path) -> (String, u64) {
    let text = fs::read_to_string(directory.join("forward-store.state")).unwrap();
    let mut lines = text.lines().skip(1);
    let position = lines.next().unwrap().strip_prefix("position ").unwrap().to_owned();
    (position, lines.next().unwrap().strip_prefix("lines ").unwrap().parse().unwrap())
}

fn metric(number: usize) -> String {
    let timestamp = 1_767_323_045_000 + number;
    format!(r#"{{"name":"m{}","value":{number},"timestamp":{timestamp}}}"#, number % SERIES)
}

fn wait_for(server: &Server, count: usize) {
    until("everything to be committed", || (server.stat("/forwards/0/delivered") >= count as u64).then_some(()));
}

/// Checks that the topic has every line of the log, and those of a key in their order but for what is repeated after an
/// abort. Returns the number of those.
fn repeated(records: &[Record], directory: &Path) -> usize {
    let (mut series, mut lines) = (BTreeMap::<&str, (i32, Vec<&[u8]>)>::new(), BTreeSet::new());
    for Record { key, value, partition } in records {
        let (own, values) = series.entry(key).or_insert((*partition, Vec::new()));
        assert_eq!(own, partition, "{key} is in two partitions");
        if lines.insert(&value[..]) {
            // Each line begins with its timestamp, which counts up.
            assert!(values.last().is_none_or(|last| *last < &value[..]), "{key} is out of order");
            values.push(value);
        }
    }
    let stored = log::lines(directory);
    assert!(lines == stored.iter().map(|line| line.as_bytes()).collect(), "the topic has other lines than the log");
    records.len() - stored.len()
}

fn delivers_in_order(driver: Driver) {
    let cluster = cluster();
    let (setup, _file) = setup(driver, &cluster, "", "compression = \"zstd\"\nproperties = { \"linger.ms\" = 1 }");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    store_all(&server, &(0..3_000).map(metric).collect::<Vec<_>>());
    wait_for(&server, 3_000);
    server.stop();
    let records = records(&cluster);
    assert_eq!(repeated(&records, directory.path()), 0);
    assert_eq!(records.iter().map(|record| &record.key).collect::<BTreeSet<_>>().len(), SERIES);
    let bytes: usize = log::lines(directory.path()).iter().map(|line| line.len() + 1).sum();
    assert_eq!(cursor(directory.path()), (format!("first:{bytes}"), 3_000));
    // The next server has nothing to add.
    let mut server = setup.start_in(directory.path());
    store(&server, "next", 1);
    wait_for(&server, 1);
    server.stop();
    assert_eq!(cursor(directory.path()).1, 3_001);
}

#[test]
fn lines_reach_kafka_in_order_from_epoll() {
    delivers_in_order(Driver::Epoll);
}

#[test]
fn lines_reach_kafka_in_order_from_io_uring() {
    delivers_in_order(Driver::IoUring);
}

#[test]
fn kills_under_load_commit_each_line_to_kafka_once() {
    const KILLS: usize = 6;
    let mut random = Random::announced("kills_under_load_commit_each_line_to_kafka_once");
    let cluster = cluster();
    let (setup, _file) = setup(Driver::Epoll, &cluster, "", "");
    let directory = tempfile::tempdir().unwrap();
    let mut stored = 0;
    for _ in 0..KILLS {
        let mut server = setup.start_in(directory.path());
        for _ in 0..1 + random.below(8) {
            let count = 1 + random.below(400) as usize;
            store_all(&server, &(stored..stored + count).map(metric).collect::<Vec<_>>());
            stored += count;
        }
        thread::sleep(Duration::from_millis(random.below(150).into()));
        server.kill();
    }
    let mut server = setup.start_in(directory.path());
    until("everything to be committed", || (cursor(directory.path()).1 >= stored as u64).then_some(()));
    assert_eq!(server.stat("/forwards/0/gaps"), 0);
    server.stop();
    assert_eq!(cursor(directory.path()).1, stored as u64);
    repeated(&records(&cluster), directory.path());
}

#[test]
fn a_cursor_of_brokers_that_is_older_keeps_the_number() {
    let cluster = cluster();
    let (setup, _file) = setup(Driver::Epoll, &cluster, "", "");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    store_all(&server, &(0..100).map(metric).collect::<Vec<_>>());
    wait_for(&server, 100);
    server.stop();
    // As brokers that keep no metadata return it while a later transaction is not decided.
    let identity = fs::read_to_string(directory.path().join("forward-store.kafka")).unwrap();
    let mut older = TopicPartitionList::new();
    older.add_partition_offset(TOPIC, 0, Offset::Offset(40)).unwrap();
    let consumer = consumer(&cluster, &format!("metricstream-forward-store-{}", identity.trim()));
    consumer.commit(&older, CommitMode::Sync).unwrap();
    let mut server = setup.start_in(directory.path());
    store_all(&server, &(100..110).map(metric).collect::<Vec<_>>());
    wait_for(&server, 10);
    server.stop();
    assert_eq!(cursor(directory.path()).1, 110);
    assert_eq!(repeated(&records(&cluster), directory.path()), 0);
}

#[test]
fn errors_of_brokers_are_counted_and_overcome() {
    use Code::*;
    // Each is returned to some requests of that kind in turn. Those that librdkafka does not repeat by itself end the
    // transaction, or the session.
    let errors: [(Api, &[Code]); 9] = [
        (Api::Produce, &[RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR__TRANSPORT]),
        (Api::Produce, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]),
        (Api::AddPartitionsToTxn, &[RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS]),
        (Api::AddPartitionsToTxn, &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]),
        (Api::AddOffsetsToTxn, &[RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]),
        (Api::TxnOffsetCommit, &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE]),
        (Api::TxnOffsetCommit, &[RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]),
        (Api::EndTxn, &[RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS, RD_KAFKA_RESP_ERR__TRANSPORT]),
        (Api::EndTxn, &[RD_KAFKA_RESP_ERR_PRODUCER_FENCED]),
    ];
    let cluster = cluster();
    cluster.broker_round_trip_time(-1, Duration::from_millis(3)).unwrap();
    let (setup, _file) = setup(Driver::Epoll, &cluster, "", "properties = { \"retry.backoff.ms\" = 10 }");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    let mut stored = 0;
    for (api, codes) in errors {
        cluster.request_errors(api, codes);
        store_all(&server, &(stored..stored + 200).map(metric).collect::<Vec<_>>());
        stored += 200;
        wait_for(&server, stored);
    }
    assert!(server.stat("/forwards/0/retries") > 0);
    assert_eq!(server.stat("/forwards/0/refused_by/other"), 0);
    assert_ne!(server.stats()["forwards"][0]["last_error"], "");
    server.stop();
    assert_eq!(cursor(directory.path()).1, stored as u64);
    repeated(&records(&cluster), directory.path());
}

#[test]
fn a_record_that_brokers_refuse_is_alone_in_it() {
    let cluster = cluster();
    let (setup, _file) = setup(Driver::Epoll, &cluster, "", "properties = { \"message.max.bytes\" = 1000 }");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    let mut metrics: Vec<String> = (0..300).map(metric).collect();
    for at in [0, 77, 299] {
        let long = "x".repeat(2_000);
        metrics[at] = format!(r#"{{"name":"long","value":{at},"tags":{{"a":"{long}"}}}}"#);
    }
    store_all(&server, &metrics);
    wait_for(&server, 297);
    until("the refused to be counted", || (server.stat("/forwards/0/refused_by/too_large") == 3).then_some(()));
    server.stop();
    assert_eq!(cursor(directory.path()).1, 300);
    let values: BTreeSet<Vec<u8>> = records(&cluster).into_iter().map(|record| record.value).collect();
    let stored = log::lines(directory.path());
    let short: BTreeSet<Vec<u8>> =
        stored.into_iter().map(String::into_bytes).filter(|line| line.len() < 1_000).collect();
    assert_eq!(values, short);
}

#[test]
fn a_broker_that_is_away_does_not_hold_up_a_stop() {
    let cluster = cluster();
    cluster.broker_down(-1).unwrap();
    let (setup, _file) = setup(Driver::Epoll, &cluster, "", "");
    let directory = tempfile::tempdir().unwrap();
    let mut server = setup.start_in(directory.path());
    store_all(&server, &(0..100).map(metric).collect::<Vec<_>>());
    until("an attempt to fail", || (server.stat("/forwards/0/retries") > 0).then_some(()));
    server.stop();
    cluster.broker_up(-1).unwrap();
    let mut server = setup.start_in(directory.path());
    wait_for(&server, 100);
    server.stop();
    assert_eq!(repeated(&records(&cluster), directory.path()), 0);
}

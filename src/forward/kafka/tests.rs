//! Sessions with librdkafka's mock cluster. It forgets a cursor that is put in a transaction, neither takes back the
//! records of one that is not committed nor hides them, and does not fence. tests/server/kafka.rs has whole servers,
//! and scripts/kafka.sh a broker, which has the cursor.

use super::{
    config::{KafkaConfig, check},
    session::{Committed, Failure, Session},
};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code},
};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

const DEADLINE: Duration = Duration::from_secs(60);

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> (Cluster, KafkaConfig) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("metrics", 1, 1).unwrap();
    let config = check(&format!("{}/metrics", cluster.bootstrap_servers()), None).unwrap();
    (cluster, config)
}

/// Makes a call until it need not be made again.
fn insist<T>(mut call: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match call() {
            Err(Failure::Again(why)) => assert!(Instant::now() < deadline, "{why}"),
            result => return result,
        }
    }
}

fn connected(config: &KafkaConfig) -> Session {
    let mut session = Session::new(config, "one").unwrap();
    insist(|| session.init()).unwrap();
    session
}

/// Sends ten records, all of which are acknowledged then.
fn send_ten(session: &Session) -> Result<(), Failure> {
    session.begin()?;
    for number in 0..10 {
        assert_eq!(session.send(b"key", format!("{number}").as_bytes())?, Ok(()));
    }
    let deadline = Instant::now() + DEADLINE;
    while !session.flush()? {
        assert!(Instant::now() < deadline, "the records are not acknowledged");
    }
    Ok(())
}

fn put_cursor(session: &Session, lines: u64) -> Result<(), Failure> {
    let position = "20260102T030405.678Z:4096".parse().unwrap();
    insist(|| session.put_cursor(position, lines, DEADLINE))
}

fn transact(session: &Session, lines: u64) -> Result<(), Failure> {
    send_ten(session)?;
    put_cursor(session, lines)?;
    insist(|| session.commit())
}

fn abort(session: &Session) {
    let deadline = Instant::now() + DEADLINE;
    while !insist(|| session.abort()).unwrap() {
        assert!(Instant::now() < deadline, "the transaction is not aborted");
    }
}

#[test]
fn a_session_begins_where_another_has_ended() {
    let (_cluster, config) = cluster();
    let session = connected(&config);
    assert_eq!(insist(|| session.cursor(DEADLINE)).unwrap(), None);
    transact(&session, 10).unwrap();
    transact(&session, 20).unwrap();
    // As if the process was killed between the records and the commit: nothing is aborted.
    send_ten(&session).unwrap();
    drop(session);
    let session = connected(&config);
    transact(&session, 30).unwrap();
}

#[test]
fn an_abort_lets_the_same_be_sent_again() {
    let (cluster, config) = cluster();
    let session = connected(&config);
    for (api, code, is_refused) in [
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, false),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, true),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, true),
        (Api::AddPartitionsToTxn, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, false),
        (Api::TxnOffsetCommit, Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, false),
    ] {
        cluster.request_errors(api, &[code]);
        match transact(&session, 10) {
            Err(Failure::Refused(_)) if is_refused => {}
            Err(Failure::Abort(_)) if !is_refused => {}
            other => panic!("{code:?}: {other:?}"),
        }
        abort(&session);
        // A request that was on its way may take another of the errors.
        cluster.clear_request_errors(api);
        let is_done = (0..10).any(|_| match transact(&session, 10) {
            Ok(()) => true,
            Err(Failure::Abort(_) | Failure::Refused(_)) => {
                abort(&session);
                false
            }
            Err(other) => panic!("{code:?}: {other:?}"),
        });
        assert!(is_done, "{code:?}: no transaction succeeds");
    }
}

#[test]
fn a_full_queue_takes_records_once_others_are_delivered() {
    let (_cluster, config) = cluster();
    let session = connected(&config);
    session.begin().unwrap();
    let value = vec![b'x'; 500_000];
    let (mut sent, mut full) = (0, 0);
    let deadline = Instant::now() + DEADLINE;
    while sent < 100 {
        match session.send(b"key", &value).unwrap() {
            Ok(()) => sent += 1,
            Err(_) => {
                full += 1;
                assert!(Instant::now() < deadline, "the queue stays full");
                session.poll(Duration::from_millis(20));
            }
        }
    }
    assert!(full > 0, "50 MB fit into the queue");
    while !session.flush().unwrap() {
        assert!(Instant::now() < deadline, "the records are not acknowledged");
    }
    put_cursor(&session, 100).unwrap();
    insist(|| session.commit()).unwrap();
}

/// Commits an offset as any client can, with metadata that rdkafka would not send: OffsetCommit, version 2.
fn commit_offset(cluster: &Cluster, group: &str, offset: i64, metadata: &[u8]) {
    let string = |bytes: &[u8]| [&i16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let request = [
        // The head: the call, its version, a number, the client.
        &8_i16.to_be_bytes()[..],
        &2_i16.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &string(b"test"),
        // No member of the group, and no time.
        &string(group.as_bytes()),
        &(-1_i32).to_be_bytes(),
        &string(b""),
        &(-1_i64).to_be_bytes(),
        // One topic with one partition.
        &1_i32.to_be_bytes(),
        &string(b"metrics"),
        &1_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &offset.to_be_bytes(),
        &string(metadata),
    ]
    .concat();
    let mut connection = TcpStream::connect(cluster.bootstrap_servers()).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    connection.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    connection.write_all(&request).unwrap();
    let mut length = [0; 4];
    connection.read_exact(&mut length).unwrap();
    let mut response = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    connection.read_exact(&mut response).unwrap();
    assert!(response.ends_with(&[0, 0]), "the broker refuses it: {response:?}");
}

#[test]
fn metadata_of_any_bytes_ends_no_session() {
    let (cluster, config) = cluster();
    let session = connected(&config);
    let position = "20260102T030405.678Z:4096".parse().unwrap();
    for (offset, metadata, expected) in [
        (7, &b"metricstream 1 20260102T030405.678Z:4096"[..], Some((7, Some(position)))),
        (8, b"metricstream 1 \xff\xfe\x80", Some((8, None))),
        (9, b"\xc3", Some((9, None))),
        (i64::MAX, b"", Some((i64::MAX.unsigned_abs(), None))),
        (-5, b"metricstream 1 20260102T030405.678Z:4096", None),
    ] {
        commit_offset(&cluster, "one", offset, metadata);
        let found = insist(|| session.cursor(DEADLINE)).unwrap();
        assert_eq!(found, expected.map(|(lines, position)| Committed { lines, position }), "{offset}");
    }
}

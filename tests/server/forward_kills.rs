//! The server is killed under load while it forwards: each acknowledged line reaches the receiver, none of a series
//! before those that are before it in the log, whatever the receiver does meanwhile.

use crate::{
    forward::{state_file, store_all, table},
    receiver::{Act, Knows, Receiver},
    server::until,
};
use std::{collections::BTreeMap, thread, time::Duration};
use testkit::random::Random;

const KILLS: usize = 8;
const SERIES: usize = 20;

#[test]
fn kills_under_load_lose_nothing_for_a_receiver() {
    let mut random = Random::announced("kills_under_load_lose_nothing_for_a_receiver");
    let misdeeds = [Act::Respond(503, ""), Act::Reset, Act::CloseInside, Act::Bytes(b"HTTP/1.1 2"), Act::Hang];
    let acts: Vec<Act> = (0..200)
        .map(|_| match random.index(4) {
            0 => misdeeds[random.index(misdeeds.len())],
            _ => crate::receiver::TAKE,
        })
        .collect();
    let receiver = Receiver::start(Knows::Both, &acts);
    let directory = tempfile::tempdir().unwrap();
    let more = "shards = 3\nbatch_samples = 50\nbatch_age = \"20ms\"";
    let (setup, _file) = table(&receiver, more);
    let setup = setup.flag("--rotate-size", "64KiB").flag("--compress", "zstd");
    let mut stored = 0;
    for _ in 0..KILLS {
        let mut server = setup.start_in(directory.path());
        // A forward without a cursor would begin at the end of the log.
        state_file(directory.path());
        let metric = |number: usize| {
            let timestamp = 1_767_323_045_000 + number;
            format!(r#"{{"name":"m{}","value":{number},"timestamp":{timestamp}}}"#, number % SERIES)
        };
        for _ in 0..1 + random.index(10) {
            let count = 1 + random.index(400);
            store_all(&server, &(stored..stored + count).map(metric).collect::<Vec<_>>());
            stored += count;
        }
        thread::sleep(Duration::from_millis(random.index(60) as u64));
        server.kill();
    }
    let mut server = setup.start_in(directory.path());
    let mut next = BTreeMap::<String, usize>::new();
    until("everything to be delivered", || {
        next = (0..SERIES).map(|series| (format!("m{series}"), series)).collect();
        receiver.seen(|seen| {
            for sample in &seen.acknowledged {
                let next = next.get_mut(sample.name()).unwrap();
                let number = usize::try_from(sample.timestamp_ms - 1_767_323_045_000).unwrap();
                assert!(number <= *next, "{number} of {} came before {next}", sample.name());
                if number == *next {
                    *next += SERIES;
                }
            }
        });
        next.values().all(|next| *next >= stored).then_some(())
    });
    assert_eq!(server.stat("/forwards/0/gaps"), 0);
    server.stop();
}

//! Descriptors are counted for the whole process, so the tests that count them run alone.

use crate::world::TcpStream;
use crate::{
    accepting,
    harness::{Event, Harness, Options, reset},
};
use reactor::{Driver, Peer, Token};
use std::{
    collections::HashMap,
    io::Write,
    net::SocketAddr,
    process::Command,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

static DESCRIPTORS: RwLock<()> = RwLock::new(());

/// For a test that opens and closes descriptors as it likes.
pub fn among_others() -> RwLockReadGuard<'static, ()> {
    DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that counts them.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner)
}

fn count() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Thousands of connections through a few slots, ended in every way there is.
pub fn churn_leaves_no_descriptor_behind<D: Driver>() {
    const SLOTS: usize = 32;
    const ROUNDS: usize = 100;
    let before_open = count();
    let mut harness = Harness::<D>::open(Options { connections_max: 32, send_buffer_bytes: Some(4096) });
    let before = count();
    let mut slots = HashMap::<usize, usize>::new();
    for _ in 0..ROUNDS {
        let mut peers: Vec<_> = (0..SLOTS).map(|_| harness.peer()).map(Some).collect();
        let places: HashMap<SocketAddr, usize> =
            peers.iter().flatten().enumerate().map(|(place, peer)| (peer.local_addr().unwrap(), place)).collect();
        peers.iter_mut().flatten().for_each(|peer| peer.write_all(b"hello").unwrap());
        let (mut tokens, mut closed) = (HashMap::<Token, usize>::new(), 0);
        harness.until("a round is over", |harness| {
            for event in harness.events() {
                match event {
                    Event::Accepted(token, _, Peer::Inet(peer)) => {
                        *slots.entry(token.slot()).or_default() += 1;
                        tokens.insert(token, places[&peer]);
                    }
                    Event::Data(token, bytes) => {
                        end_somehow(harness, token, bytes, &mut peers[tokens[&token]], tokens[&token])
                    }
                    Event::Sent(token, _) | Event::Eof(token) => harness.close(token),
                    Event::Closed(_, _) => closed += 1,
                    other => panic!("{other:?}"),
                }
            }
            (closed == SLOTS).then_some(())
        });
        drop(peers);
        assert_eq!(count(), before);
    }
    assert_eq!(slots.values().sum::<usize>(), SLOTS * ROUNDS);
    harness.finish();
    assert_eq!(count(), before_open);
}

/// One of the ways in which a connection that has received something can end.
fn end_somehow<D: Driver>(
    harness: &mut Harness<D>,
    token: Token,
    received: Vec<u8>,
    peer: &mut Option<TcpStream>,
    place: usize,
) {
    match place % 5 {
        // `sent` closes it.
        0 => harness.send(token, received),
        1 => harness.close(token),
        2 => drop(peer.take()),
        3 => peer.take().into_iter().for_each(reset),
        _ => {
            // More than the buffers of both ends hold, with the small one of this end.
            harness.send(token, vec![b'x'; 1_000_000]);
            harness.settle();
            harness.close(token);
        }
    }
}

/// Runs itself again in a process that may have few descriptors.
pub fn running_out_of_descriptors_is_survived<D: Driver>(name: &str) {
    const MARK: &str = "CONTRACT_WITH_FEW_DESCRIPTORS";
    if std::env::var_os(MARK).is_some() {
        return accepting::accept_without_descriptors::<D>();
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MARK, "yes")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success() && said[0].contains("1 passed"), "{}{}", said[0], said[1]);
}

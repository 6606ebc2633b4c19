//! Connections that come in, the bound on them, and the end of accepting.

use crate::harness::{Event, Harness, Options, peer_of};
use crate::world::{Instant, TcpStream};
use reactor::{Driver, Peer, Token};
use std::{
    collections::HashSet,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    time::Duration,
};

/// The tokens and peers of the connections that came in.
fn accepted(events: &[Event]) -> Vec<(Token, SocketAddr)> {
    let accepted = |event: &Event| match event {
        Event::Accepted(token, _, Peer::Inet(peer)) => Some((*token, *peer)),
        _ => None,
    };
    events.iter().filter_map(accepted).collect()
}

fn addresses(peers: &[TcpStream]) -> HashSet<SocketAddr> {
    peers.iter().map(|peer| peer.local_addr().unwrap()).collect()
}

pub fn the_peer_is_named<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let peers = [harness.peer(), harness.peer(), harness.peer()];
    let mut tokens = peers.iter().map(|peer| harness.wait_accepted(peer.local_addr().unwrap())).collect::<Vec<_>>();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 3);
    harness.finish();
}

pub fn bytes_sent_before_the_accept_arrive<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let mut peer = harness.peer();
    let address = peer.local_addr().unwrap();
    peer.write_all(b"early").unwrap();
    drop(peer);
    let token = harness.wait_accepted(address);
    assert_eq!(harness.wait_data(token, 5), b"early");
    harness.wait_eof(token);
    harness.finish();
}

pub fn a_full_backlog_is_taken_over_several_turns<D: Driver>() {
    let mut harness = Harness::<D>::new();
    // As many as a listener of the standard library queues without dropping any.
    let peers: Vec<_> = (0..100).map(|_| harness.peer()).collect();
    let mut came = HashSet::new();
    harness.until("all are accepted", |harness| {
        came.extend(accepted(&harness.events()).into_iter().map(|(_, peer)| peer));
        (came.len() == peers.len()).then_some(())
    });
    assert_eq!(came, addresses(&peers));
    harness.finish();
}

pub fn a_pause_leaves_newcomers_in_the_backlog<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (_served, _) = harness.accept();
    harness.pause_accept(0);
    harness.settle();
    let peers: Vec<_> = (0..20).map(|_| harness.peer()).collect();
    harness.settle();
    assert_eq!(accepted(&harness.events()), [], "accepted during the pause");
    harness.resume_accept(0);
    let mut came = HashSet::new();
    harness.until("all are accepted", |harness| {
        came.extend(accepted(&harness.events()).into_iter().map(|(_, peer)| peer));
        (came.len() == peers.len()).then_some(())
    });
    assert_eq!(came, addresses(&peers));
    harness.finish();
}

pub fn accepting_pauses_at_the_bound_and_goes_on<D: Driver>() {
    const BOUND: usize = 4;
    let mut harness = Harness::<D>::open(Options { connections_max: 4, ..Options::default() });
    let mut peers: Vec<_> = (0..3 * BOUND).map(|_| harness.peer()).collect();
    peers.iter_mut().for_each(|peer| peer.write_all(b"x").unwrap());
    let (mut open, mut came) = (Vec::new(), HashSet::new());
    while came.len() < peers.len() {
        harness.until("the free slots are filled", |harness| {
            for (token, peer) in accepted(&harness.events()) {
                open.push(token);
                assert!(came.insert(peer));
            }
            (open.len() == BOUND).then_some(())
        });
        harness.settle();
        assert_eq!(accepted(&harness.events()), [], "more than the bound");
        // All four, so that the end of the backlog meets free slots too.
        for token in open.drain(..) {
            harness.close(token);
        }
    }
    assert_eq!(came, addresses(&peers));
    assert!(harness.counters().accept_pauses >= 1);
    // A connection that comes when the slots have long been free.
    harness.settle();
    let (_peer, _) = harness.accept();
    harness.finish();
}

pub fn a_stopped_listener_hands_over_its_backlog_and_refuses<D: Driver>() {
    let mut harness = Harness::<D>::new();
    let (mut before, token) = harness.accept();
    let mut queued: Vec<_> = (0..70).map(|_| harness.peer()).collect();
    harness.stop_accept();
    let mut came = Vec::new();
    harness.until("the backlog is handed over", |harness| {
        came.extend(accepted(&harness.events()));
        (came.len() == queued.len()).then_some(())
    });
    assert_eq!(came.iter().map(|(_, peer)| *peer).collect::<HashSet<_>>(), addresses(&queued));
    harness.settle();
    assert_eq!(TcpStream::connect(harness.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Those that are open stay open.
    let last = queued.last_mut().unwrap();
    let last_token = came.iter().find(|(_, peer)| *peer == last.local_addr().unwrap()).unwrap().0;
    for (peer, token) in [(&mut before, token), (last, last_token)] {
        peer.write_all(b"ping").unwrap();
        let request = harness.wait_data(token, 4);
        harness.send(token, request);
        harness.wait_sent(token);
        let mut reply = [0; 4];
        peer.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"ping");
    }
    // A second stop finds nothing to do.
    harness.stop_accept();
    harness.finish();
}

pub fn stopping_at_the_bound_leaves_nobody_waiting<D: Driver>() {
    let mut harness = Harness::<D>::open(Options { connections_max: 2, ..Options::default() });
    let mut peers: Vec<_> = (0..4).map(|_| harness.peer()).collect();
    harness.stop_accept();
    let mut open = Vec::new();
    harness.until("two are handed over", |harness| {
        open.extend(accepted(&harness.events()));
        (open.len() == 2).then_some(())
    });
    harness.settle();
    assert_eq!(harness.events(), [], "more than the bound");
    assert!(TcpStream::connect(harness.address).is_err());
    // The others come in when there is a slot, or learn that there will be none.
    open.iter().for_each(|(token, _)| harness.close(*token));
    peers.iter().for_each(|peer| peer.set_nonblocking(true).unwrap());
    harness.until("nobody waits", |harness| {
        open.extend(accepted(&harness.events()));
        peers.retain_mut(|peer| {
            let address = peer.local_addr().unwrap();
            let hears_nothing = peer.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            hears_nothing && open.iter().all(|(_, accepted)| *accepted != address)
        });
        peers.is_empty().then_some(())
    });
    harness.finish();
}

/// The part of `descriptors::running_out_of_descriptors_is_survived` that runs where descriptors are few.
pub fn accept_without_descriptors<D: Driver>() {
    /// A driver that spins fails thousands of times in as long as this.
    const BACK_OFF_MIN: Duration = Duration::from_millis(10);
    const FAILURES: u32 = 4;
    /// Turns that may return for each failure.
    const TURNS_MAX: u32 = 5;
    let mut harness = Harness::<D>::new();
    let (mut served, token) = harness.accept();
    let address = harness.address;
    let peers: Vec<_> = (0..8).map(|_| peer_of(address)).collect();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    let (began, turns_before) = (Instant::now(), harness.counters().turns);
    for _ in 0..FAILURES {
        harness.until_without_limit(|harness| {
            harness.take(|event| (*event == Event::AcceptFailed(Some(libc::EMFILE))).then_some(()))
        });
    }
    assert!(began.elapsed() >= BACK_OFF_MIN * (FAILURES - 1), "{FAILURES} failures in {:?}", began.elapsed());
    assert!(harness.counters().turns - turns_before <= u64::from(FAILURES * TURNS_MAX));
    assert!(harness.counters().accept_pauses >= 1);
    assert!(harness.connect(address).is_err(), "no descriptor is free");
    // Those that are here are served all the while.
    served.write_all(b"ping").unwrap();
    assert_eq!(harness.wait_data(token, 4), b"ping");
    drop(hoard);
    for peer in &peers {
        harness.wait_accepted(peer.local_addr().unwrap());
    }
    harness.finish();
}

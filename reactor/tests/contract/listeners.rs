//! Several listeners of one driver, of TCP and of unix sockets: which one a connection came in by, and what one can do
//! to the others.

use crate::{
    harness::{Event, Harness, LIMIT, listener, peer_of},
    world::{TcpListener, TcpStream},
};
use reactor::{Driver, Listener, Peer, Token, listen};
use std::{
    collections::HashSet,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::{linux::net::SocketAddrExt, unix::net, unix::net::UnixListener, unix::net::UnixStream},
    sync::atomic::{AtomicU32, Ordering},
};

/// A unix socket of this test's own, in the abstract namespace.
struct Unix {
    address: net::SocketAddr,
    listener: UnixListener,
}

impl Unix {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("reactor-contract-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let address = net::SocketAddr::from_abstract_name(name).unwrap();
        Self { listener: UnixListener::bind_addr(&address).unwrap(), address }
    }

    fn listener(&self) -> Listener {
        self.listener.try_clone().unwrap().into()
    }

    fn peer(&self) -> UnixStream {
        let peer = UnixStream::connect_addr(&self.address).unwrap();
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        peer.set_write_timeout(Some(LIMIT)).unwrap();
        peer
    }
}

fn tcp() -> (TcpListener, SocketAddr) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns the connection that was accepted, its listener and its peer.
fn accepted(event: &Event) -> Option<(Token, usize, Peer)> {
    match event {
        Event::Accepted(token, listener, peer) => Some((*token, *listener, *peer)),
        _ => None,
    }
}

/// The effective user of this process (proc(5)): real, effective, saved, file system.
fn own_user() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub fn a_connection_names_its_listener<D: Driver>() {
    let ((first, first_at), (second, second_at), unix) = (tcp(), tcp(), Unix::new());
    let mut harness = Harness::<D>::on(vec![first.into(), second.into(), unix.listener()], first_at, 16);
    for _ in 0..3 {
        let (one, two, three) = (peer_of(first_at), peer_of(second_at), unix.peer());
        let mut came: Vec<_> = (0..3).map(|_| harness.wait("accepted", accepted)).collect();
        came.sort_by_key(|(_, listener, _)| *listener);
        let expected =
            [Peer::Inet(one.local_addr().unwrap()), Peer::Inet(two.local_addr().unwrap()), Peer::User(own_user())];
        for (index, (_, listener, peer)) in came.into_iter().enumerate() {
            assert_eq!((listener, peer), (index, expected[index]));
        }
        drop(three);
    }
    harness.finish();
}

pub fn a_unix_connection_carries_bytes_both_ways<D: Driver>() {
    let unix = Unix::new();
    let mut harness = Harness::<D>::on(vec![unix.listener()], tcp().1, 16);
    let mut peer = unix.peer();
    let (token, ..) = harness.wait("accepted", accepted);
    let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let reader = std::thread::spawn({
        let (bytes, mut peer) = (bytes.clone(), peer.try_clone().unwrap());
        move || {
            let mut got = vec![0; bytes.len()];
            peer.read_exact(&mut got).unwrap();
            assert!(got == bytes);
            let ended = peer.read(&mut [0; 1]).unwrap();
            assert_eq!(ended, 0);
        }
    });
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || {
            peer.write_all(&bytes).unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            peer
        }
    });
    let received = harness.wait_data(token, bytes.len());
    assert!(received == bytes);
    harness.wait_eof(token);
    harness.send(token, received);
    harness.wait_sent(token);
    harness.shutdown_write(token);
    reader.join().unwrap();
    drop(writer.join().unwrap());
    harness.finish();
}

pub fn each_listener_is_paused_apart<D: Driver>() {
    let ((first, first_at), unix) = (tcp(), Unix::new());
    let mut harness = Harness::<D>::on(vec![first.into(), unix.listener()], first_at, 16);
    harness.settle();
    for (paused, open) in [(0, 1), (1, 0)] {
        harness.pause_accept(paused);
        harness.settle();
        let _peers = (peer_of(first_at), unix.peer());
        let (_, listener, _) = harness.wait("the other listener goes on", accepted);
        assert_eq!(listener, open);
        harness.settle();
        assert_eq!(harness.take(accepted), None, "accepted during the pause");
        harness.resume_accept(paused);
        let (_, listener, _) = harness.wait("it goes on", accepted);
        assert_eq!(listener, paused);
    }
    // Calls that name no listener are ignored.
    harness.pause_accept(2);
    harness.resume_accept(2);
    harness.finish();
}

pub fn a_listener_leaves_the_slots_that_it_spares<D: Driver>() {
    let ((public, public_at), (private, private_at)) = (tcp(), tcp());
    let listeners = vec![Listener::from(public).sparing(2), private.into()];
    let mut harness = Harness::<D>::on(listeners, public_at, 5);
    let _crowd: Vec<_> = (0..12).map(|_| peer_of(public_at)).collect();
    let public: Vec<Token> = (0..3).map(|_| harness.wait("accepted", accepted).0).collect();
    harness.settle();
    assert_eq!(harness.take(accepted), None, "more than the listener may have");
    let _others = [peer_of(private_at), peer_of(private_at)];
    let private = [(); 2].map(|()| {
        let (token, listener, _) = harness.wait("a spared slot", accepted);
        assert_eq!(listener, 1);
        token
    });
    // The crowd goes on while more than the spared slots are free.
    for (closed, expected) in [(&public[..], 1), (&private[..], 2)] {
        closed.iter().for_each(|token| harness.close(*token));
        for _ in 0..expected {
            assert_eq!(harness.wait("the next of the crowd", accepted).1, 0);
        }
        harness.settle();
        assert_eq!(harness.take(accepted), None, "the spared slots are filled");
    }
    harness.finish();
}

pub fn stopping_empties_and_closes_every_listener<D: Driver>() {
    let ((first, first_at), (second, second_at), unix) = (tcp(), tcp(), Unix::new());
    let mut harness = Harness::<D>::on(vec![first.into(), second.into(), unix.listener()], first_at, 64);
    let peers: Vec<_> = (0..5).map(|_| (peer_of(first_at), peer_of(second_at), unix.peer())).collect();
    let Unix { address, listener } = unix;
    drop(listener);
    harness.stop_accept();
    let mut came = [0; 3];
    for _ in 0..15 {
        came[harness.wait("accepted", accepted).1] += 1;
    }
    assert_eq!(came, [5; 3]);
    harness.settle();
    for gone in [first_at, second_at] {
        assert_eq!(TcpStream::connect(gone).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    assert_eq!(UnixStream::connect_addr(&address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(peers);
    harness.finish();
}

pub fn drivers_share_a_unix_listener<D: Driver>() {
    let unix = Unix::new();
    let nowhere = tcp().1;
    let mut drivers: Vec<_> = (0..2).map(|_| Harness::<D>::on(vec![unix.listener()], nowhere, 64)).collect();
    let round = |drivers: &mut Vec<Harness<D>>| {
        let peers: Vec<_> = (0..20).map(|_| unix.peer()).collect();
        let mut tokens = HashSet::new();
        while tokens.len() < peers.len() {
            for (index, driver) in drivers.iter_mut().enumerate() {
                driver.turn(Some(std::time::Duration::from_millis(1)));
                tokens.extend(driver.take(accepted).map(|(token, ..)| (index, token)));
            }
        }
        peers
    };
    let served = round(&mut drivers);
    // One that stops leaves the other all that comes.
    let mut first = drivers.remove(0);
    first.stop_accept();
    first.settle();
    let later = round(&mut drivers);
    drop((served, later));
    first.finish();
    drivers.into_iter().for_each(Harness::finish);
}

/// `listen::UnixListening` is what the server's drivers get.
pub fn a_socket_file_serves_every_driver<D: Driver>() {
    let path =
        std::env::temp_dir().join(format!("reactor-{}-{}", std::process::id(), std::any::type_name::<D>().len()));
    let address = listen::UnixAddress::Path(path.clone());
    let listening = listen::UnixListening::at(&address, 0o600, 16).unwrap();
    let mut harness = Harness::<D>::on(vec![listening.share().unwrap().into()], tcp().1, 16);
    let mut peer = UnixStream::connect(&path).unwrap();
    peer.write_all(b"ping").unwrap();
    let (token, ..) = harness.wait("accepted", accepted);
    assert_eq!(harness.wait_data(token, 4), b"ping");
    drop(listening);
    assert!(!path.exists());
    harness.finish();
}

//! The io_uring driver against real sockets: what the kernel does to it and it must keep from the handler. The contract
//! that all drivers share is tested in `contract.rs`.

use reactor::{Cause, Counters, Doorbell, Driver, Flow, Handler, Setup, Token, UringDriver, listen};
use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// A test that waits longer than this for what it waits for has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Held by every test: some count this process's descriptors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Notes what the driver reports, and checks the order of it.
#[derive(Default)]
struct Notes {
    open: HashSet<Token>,
    accepted: Vec<Token>,
    connected: Vec<Token>,
    received: HashMap<Token, Vec<u8>>,
    eofs: HashSet<Token>,
    sent: Vec<(Token, Vec<u8>)>,
    closed: Vec<(Token, Cause)>,
    accept_errors: Vec<io::Error>,
    /// Answer `Pause` to data from now on.
    pause: bool,
    paused: HashSet<Token>,
    /// Bytes of `data` calls since the last `clear`, by connection.
    in_turn: HashMap<Token, usize>,
}

impl Handler for Notes {
    fn accepted(&mut self, token: Token, peer: SocketAddr) {
        assert_ne!(peer.port(), 0);
        assert!(self.open.insert(token), "a token begins once");
        self.accepted.push(token);
    }
    fn accept_failed(&mut self, error: &io::Error) {
        self.accept_errors.push(io::Error::from_raw_os_error(error.raw_os_error().unwrap()));
    }
    fn connected(&mut self, token: Token) {
        assert!(self.open.insert(token), "a token begins once");
        self.connected.push(token);
    }
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        assert!(self.open.contains(&token), "data outside accepted..closed");
        assert!(!self.eofs.contains(&token), "data after the end of file");
        assert!(!self.paused.contains(&token), "data during a pause");
        assert!(!bytes.is_empty());
        self.received.entry(token).or_default().extend_from_slice(bytes);
        *self.in_turn.entry(token).or_default() += bytes.len();
        if self.pause {
            self.paused.insert(token);
            return Flow::Pause;
        }
        Flow::Continue
    }
    fn eof(&mut self, token: Token) {
        assert!(self.open.contains(&token) && !self.paused.contains(&token));
        assert!(self.eofs.insert(token), "one end of file");
    }
    fn sent(&mut self, token: Token, buffer: Vec<u8>) {
        assert!(self.open.contains(&token) && buffer.is_empty() && buffer.capacity() > 0);
        self.sent.push((token, buffer));
    }
    fn closed(&mut self, token: Token, cause: Cause) {
        // A connect that fails was never open.
        self.open.remove(&token);
        assert!(!self.closed.iter().any(|(closed, _)| *closed == token), "closed once");
        self.closed.push((token, cause));
    }
}

impl Notes {
    fn bytes(&self, token: Token) -> usize {
        self.received.get(&token).map_or(0, Vec::len)
    }
}

struct Bench {
    driver: UringDriver,
    notes: Notes,
    address: SocketAddr,
    doorbell: Arc<Doorbell>,
}

impl Bench {
    fn new(connections_max: u32, receive_buffers: u16, receive_buffer_bytes: u32) -> Self {
        let listener = listen::listen(([127, 0, 0, 1], 0).into(), 1024, false).unwrap();
        let address = listener.local_addr().unwrap();
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let setup = Setup {
            listener: Some(listener),
            connections_max,
            receive_buffer_bytes,
            receive_buffers,
            doorbell: doorbell.clone(),
        };
        Self { driver: UringDriver::open(setup).unwrap(), notes: Notes::default(), address, doorbell }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn turn(&mut self) {
        self.notes.in_turn.clear();
        self.driver.turn(Some(Duration::from_millis(20)), &mut self.notes).unwrap();
    }

    /// Turns until `done`.
    #[track_caller]
    fn until(&mut self, done: impl Fn(&Notes) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.notes) {
            assert!(Instant::now() < deadline, "waited in vain: {:?}", self.driver.counters());
            self.turn();
        }
    }

    /// Turns until turns bring nothing more.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.counters().completions;
            self.driver.turn(Some(Duration::from_millis(2)), &mut self.notes).unwrap();
            quiet = if self.counters().completions == before { quiet + 1 } else { 0 };
        }
    }

    fn counters(&self) -> Counters {
        self.driver.counters()
    }

    /// A client and its accepted connection.
    fn pair(&mut self) -> (TcpStream, Token) {
        let client = self.client();
        let accepted = self.notes.accepted.len();
        self.until(|notes| notes.accepted.len() > accepted);
        (client, self.notes.accepted[accepted])
    }

    /// Sends everything received back, until `clients` connections have ended.
    fn echo_until_closed(&mut self, clients: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut sending = HashSet::new();
        let mut answered = 0;
        while self.notes.closed.len() < clients {
            assert!(Instant::now() < deadline, "{} of {clients} closed", self.notes.closed.len());
            self.turn();
            for (token, mut buffer) in self.notes.sent.split_off(answered) {
                buffer.shrink_to_fit();
                sending.remove(&token);
            }
            answered = self.notes.sent.len();
            let open: Vec<_> = self.notes.open.iter().copied().collect();
            for token in open {
                if sending.contains(&token) {
                    continue;
                }
                match self.notes.received.remove(&token) {
                    Some(bytes) => {
                        sending.insert(token);
                        self.driver.send(token, bytes);
                    }
                    None if self.notes.eofs.contains(&token) => self.driver.close(token),
                    None => {}
                }
            }
        }
    }
}

fn pattern(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|index| u8::try_from((index * 31 + index / 251 + seed) % 251).unwrap()).collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Sends `request`, ends the write side, and reads to the end.
fn exchange(mut client: TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = client.try_clone()?;
    thread::scope(|scope| {
        let written = scope.spawn(move || {
            writer.write_all(request)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer)?;
        written.join().unwrap()?;
        Ok(answer)
    })
}

#[test]
fn probe_reports_a_step_on_this_kernel() {
    let report = reactor::uring::probe().unwrap();
    assert!(report.to_string().contains("multishot receive"), "{report}");
}

#[test]
fn a_driver_with_senseless_bounds_is_refused() {
    let _alone = alone();
    for (connections_max, receive_buffers, receive_buffer_bytes) in [(0, 4, 64), (8, 3, 64), (8, 4, 100)] {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let setup = Setup { listener: None, connections_max, receive_buffer_bytes, receive_buffers, doorbell };
        assert_eq!(UringDriver::open(setup).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn many_connections_are_echoed() {
    let _alone = alone();
    let mut bench = Bench::new(256, 64, 1024);
    let address = bench.address;
    let clients: Vec<_> = (0..200)
        .map(|seed| {
            thread::spawn(move || {
                let client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                let request = pattern(3000, seed);
                assert_eq!(exchange(client, &request).unwrap(), request);
            })
        })
        .collect();
    bench.echo_until_closed(200);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!(bench.notes.open.is_empty());
    assert!(bench.notes.closed.iter().all(|(_, cause)| matches!(cause, Cause::Local)));
}

#[test]
fn megabytes_go_both_ways_through_short_sends() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 16 * 1024);
    let client = bench.client();
    let request = pattern(8 << 20, 7);
    let expected = request.clone();
    let peer = thread::spawn(move || exchange(client, &request).unwrap());
    bench.echo_until_closed(1);
    assert!(peer.join().unwrap() == expected);
}

#[test]
fn a_send_that_a_cancelled_wait_cut_short_is_not_needed_to_finish_a_large_answer() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 4096);
    let (mut client, token) = bench.pair();
    let answer = pattern(16 << 20, 3);
    bench.driver.send(token, answer.clone());
    let reader = thread::spawn(move || {
        let mut got = vec![0; 16 << 20];
        client.read_exact(&mut got).unwrap();
        (client, got)
    });
    bench.until(|notes| notes.sent.len() == 1);
    assert!(bench.notes.sent[0].1.capacity() >= answer.len());
    let (_client, got) = reader.join().unwrap();
    assert!(got == answer);
}

#[test]
fn a_pause_loses_nothing_and_resume_goes_on() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (client, token) = bench.pair();
    let request = pattern(1 << 20, 1);
    let expected = request.clone();
    let mut writer = client.try_clone().unwrap();
    let peer = thread::spawn(move || {
        writer.write_all(&request).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    bench.notes.pause = true;
    let deadline = Instant::now() + PATIENCE;
    while !bench.notes.eofs.contains(&token) {
        assert!(Instant::now() < deadline, "{} bytes", bench.notes.bytes(token));
        bench.turn();
        if bench.notes.paused.remove(&token) {
            // Turns during the pause deliver nothing: `Notes::data` asserts it.
            bench.notes.paused.insert(token);
            bench.turn();
            bench.notes.paused.remove(&token);
            bench.driver.resume_receive(token);
            // Twice is once.
            bench.driver.resume_receive(token);
        }
    }
    peer.join().unwrap();
    assert!(bench.notes.received[&token] == expected);
}

#[test]
fn an_end_of_file_during_a_pause_is_told_after_it() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (mut client, token) = bench.pair();
    bench.notes.pause = true;
    client.write_all(b"first").unwrap();
    bench.until(|notes| notes.paused.contains(&token));
    client.write_all(b"second").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bench.settle();
    assert_eq!(bench.notes.received[&token], b"first");
    bench.notes.pause = false;
    bench.notes.paused.clear();
    bench.driver.resume_receive(token);
    bench.until(|notes| notes.eofs.contains(&token));
    assert_eq!(bench.notes.received[&token], b"firstsecond");
}

#[test]
fn a_pause_that_nothing_arrives_in_costs_no_submission() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let (mut client, token) = bench.pair();
    bench.notes.pause = true;
    client.write_all(b"a").unwrap();
    bench.until(|notes| notes.paused.contains(&token));
    bench.notes.paused.clear();
    let before = bench.counters();
    bench.driver.resume_receive(token);
    client.write_all(b"b").unwrap();
    bench.until(|notes| notes.bytes(token) == 2);
    assert_eq!(bench.counters().rearms, before.rearms);
    assert_eq!(bench.counters().completions, before.completions + 1);
}

#[test]
fn one_connection_gets_a_bounded_share_of_a_turn() {
    let _alone = alone();
    let mut bench = Bench::new(8, 256, 16 * 1024);
    let (mut client, token) = bench.pair();
    let request = pattern(16 << 20, 5);
    let expected = request.clone();
    let peer = thread::spawn(move || {
        client.write_all(&request).unwrap();
        client
    });
    let deadline = Instant::now() + PATIENCE;
    let mut largest = 0;
    while bench.notes.bytes(token) < expected.len() {
        assert!(Instant::now() < deadline);
        // Lets data pile up, so that a turn finds more than its share.
        thread::sleep(Duration::from_micros(300));
        bench.turn();
        largest = largest.max(bench.notes.in_turn.get(&token).copied().unwrap_or(0));
    }
    let _client = peer.join().unwrap();
    assert!(bench.notes.received[&token] == expected);
    assert!(largest <= (256 + 16) * 1024, "{largest} bytes in one turn");
}

#[test]
fn more_connections_than_buffers_are_all_served() {
    let _alone = alone();
    let mut bench = Bench::new(64, 2, 64);
    let mut clients: Vec<_> = (0..48).map(|_| bench.pair()).collect();
    // All at once, many buffers each, in one turn.
    for (seed, (client, _)) in clients.iter_mut().enumerate() {
        client.write_all(&pattern(2000, seed)).unwrap();
    }
    let tokens: Vec<_> = clients.iter().map(|(_, token)| *token).collect();
    bench.until(|notes| tokens.iter().all(|token| notes.bytes(*token) == 2000));
    for (seed, token) in tokens.iter().enumerate() {
        assert_eq!(bench.notes.received[token], pattern(2000, seed));
    }
    assert!(bench.counters().buffers_exhausted > 0, "the ring was never empty: {:?}", bench.counters());
    // A connection that is closed while it waits for a buffer is forgotten.
    for (client, _) in &mut clients {
        client.write_all(&[1; 2000]).unwrap();
    }
    bench.turn();
    tokens.iter().for_each(|token| bench.driver.close(*token));
    bench.until(|notes| notes.closed.len() == 48);
    // Every buffer came back: a new connection is served.
    let (mut client, token) = bench.pair();
    client.write_all(&pattern(500, 0)).unwrap();
    bench.until(|notes| notes.bytes(token) == 500);
}

#[test]
fn an_empty_ring_does_not_spin() {
    let _alone = alone();
    let mut bench = Bench::new(64, 2, 64);
    let mut clients: Vec<_> = (0..32).map(|_| bench.pair()).collect();
    clients.iter_mut().for_each(|(client, _)| client.write_all(&[1; 640]).unwrap());
    bench.until(|notes| notes.received.values().map(Vec::len).sum::<usize>() == 32 * 640);
    bench.settle();
    let before = bench.counters();
    bench.driver.turn(Some(Duration::from_millis(5)), &mut bench.notes).unwrap();
    assert_eq!(bench.counters().completions, before.completions);
}

#[test]
fn at_the_bound_accepting_pauses_and_goes_on() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let mut clients: Vec<_> = (0..20).map(|_| bench.client()).collect();
    bench.settle();
    assert_eq!(bench.notes.accepted.len(), 4);
    assert!(bench.counters().accept_pauses > 0);
    assert_eq!(bench.driver.connect(bench.address).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    let mut served = 0;
    while served < 20 {
        bench.until(|notes| notes.accepted.len() > served);
        let token = bench.notes.accepted[served];
        assert!(bench.notes.open.len() <= 4);
        bench.driver.close(token);
        served += 1;
    }
    bench.until(|notes| notes.closed.len() == 20);
    for client in &mut clients {
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0, "an end of file, no reset");
    }
}

#[test]
fn after_a_half_close_the_answer_still_goes_out() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    client.write_all(b"ask").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    bench.until(|notes| notes.eofs.contains(&token));
    assert_eq!(bench.notes.received[&token], b"ask");
    bench.driver.send(token, b"answer".to_vec());
    bench.driver.shutdown_write(token);
    let mut answer = Vec::new();
    bench.until(|notes| notes.sent.len() == 1);
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    assert!(bench.notes.open.contains(&token), "the end of both directions is not yet the end");
    let before = bench.counters().completions;
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert_eq!(bench.counters().completions, before, "with nothing in flight nothing is cancelled");
}

#[test]
fn our_write_side_ends_first_and_the_peer_is_still_heard() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    bench.driver.shutdown_write(token);
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    bench.until(|notes| notes.bytes(token) == 10);
}

#[test]
fn a_reset_closes_with_its_error() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (client, token) = bench.pair();
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    bench.until(|notes| notes.closed.len() == 1);
    let (closed, cause) = &bench.notes.closed[0];
    assert_eq!(*closed, token);
    assert!(matches!(cause, Cause::Error(error) if error.kind() == ErrorKind::ConnectionReset), "{cause:?}");
    // Named once more, it is nobody.
    bench.driver.send(token, b"late".to_vec());
    bench.driver.resume_receive(token);
    bench.driver.shutdown_write(token);
    bench.driver.close(token);
    bench.settle();
    assert_eq!(bench.notes.closed.len(), 1);
}

#[test]
fn a_reset_during_a_send_closes_once_with_an_error() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (client, token) = bench.pair();
    bench.driver.send(token, pattern(16 << 20, 0));
    bench.settle();
    assert!(bench.notes.sent.is_empty());
    // Closing with unread bytes resets.
    drop(client);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(&bench.notes.closed[0].1, Cause::Error(_)));
    bench.settle();
    assert!(bench.notes.sent.is_empty());
}

#[test]
fn closing_gives_up_what_is_in_flight() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 512);
    let (mut client, token) = bench.pair();
    bench.driver.send(token, pattern(16 << 20, 0));
    client.write_all(&pattern(4000, 0)).unwrap();
    bench.driver.turn(Some(Duration::ZERO), &mut bench.notes).unwrap();
    bench.driver.close(token);
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(bench.notes.closed[0].1, Cause::Local));
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.len() < 16 << 20);
    bench.settle();
    assert!(bench.notes.sent.is_empty() && bench.notes.closed.len() == 1);
}

#[test]
fn a_receive_that_was_armed_and_cancelled_in_one_submission_still_ends() {
    let _alone = alone();
    let mut bench = Bench::new(64, 64, 512);
    for _ in 0..50 {
        // The data waits when the receive is armed, and the cancel comes along with it.
        let mut client = bench.client();
        client.write_all(&[1; 64 * 512]).unwrap();
        let accepted = bench.notes.accepted.len();
        bench.until(|notes| notes.accepted.len() > accepted);
        bench.driver.close(bench.notes.accepted[accepted]);
        bench.until(|notes| notes.closed.len() > accepted);
        drop(client);
    }
}

#[test]
fn an_answer_and_a_close_arrive_as_bytes_and_an_end_of_file() {
    let _alone = alone();
    let mut bench = Bench::new(4, 16, 4096);
    for round in 0..50 {
        let (mut client, token) = bench.pair();
        client.write_all(b"ask").unwrap();
        bench.until(|notes| notes.bytes(token) == 3);
        bench.driver.send(token, b"answer".to_vec());
        bench.until(|notes| notes.sent.len() > round);
        bench.driver.close(token);
        bench.until(|notes| notes.closed.len() > round);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
    }
}

#[test]
fn thousands_of_connections_come_and_go_and_leave_nothing() {
    let _alone = alone();
    const CLIENTS: usize = 4000;
    let before = descriptors();
    let mut bench = Bench::new(32, 16, 256);
    let address = bench.address;
    let peers: Vec<_> = (0..2)
        .map(|half| {
            thread::spawn(move || {
                for index in 0..CLIENTS / 2 {
                    let mut client = TcpStream::connect(address).unwrap();
                    client.set_read_timeout(Some(PATIENCE)).unwrap();
                    match (index + half) % 4 {
                        // Gone at once.
                        0 => {}
                        // Gone with a reset, and bytes on the way.
                        1 => {
                            let _ = client.write_all(&[1; 700]);
                            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                        // Talks on while it is being closed.
                        2 => {
                            let _ = client.write_all(&[2; 700]);
                            let _ = client.write_all(&[2; 700]);
                        }
                        // Waits to be closed.
                        _ => {
                            let _ = client.write_all(&[3; 7]);
                            let _ = client.read(&mut [0; 64]);
                        }
                    }
                }
            })
        })
        .collect();
    let deadline = Instant::now() + PATIENCE;
    let mut answered = 0;
    while !(peers.iter().all(thread::JoinHandle::is_finished) && bench.notes.open.is_empty()) {
        assert!(Instant::now() < deadline, "{:?} {}", bench.counters(), bench.notes.open.len());
        bench.turn();
        // Each is closed or answered and closed as soon as it says anything, with the send still in flight.
        let heard: Vec<_> = bench.notes.received.drain().map(|(token, _)| token).collect();
        for token in heard {
            answered += 1;
            if answered % 2 == 0 {
                bench.driver.send(token, b"answer".to_vec());
            }
            bench.driver.close(token);
        }
        let ended: Vec<_> = bench.notes.eofs.drain().collect();
        ended.into_iter().for_each(|token| bench.driver.close(token));
        bench.notes.closed.clear();
    }
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    drop(bench);
    assert_eq!(descriptors(), before);
}

#[test]
fn connects_succeed_or_are_refused() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let token = bench.driver.connect(server.local_addr().unwrap()).unwrap();
    // The kernel completes it into the listener's queue.
    bench.until(|notes| notes.connected == [token]);
    let (mut peer, _) = server.accept().unwrap();
    bench.driver.send(token, b"hello".to_vec());
    bench.until(|notes| notes.sent.len() == 1);
    let mut got = [0; 5];
    peer.read_exact(&mut got).unwrap();
    peer.write_all(b"world").unwrap();
    bench.until(|notes| notes.received.get(&token).is_some_and(|bytes| bytes == b"world"));

    let nobody = server.local_addr().unwrap();
    drop((server, peer));
    let refused = bench.driver.connect(nobody).unwrap();
    bench.until(|notes| notes.closed.iter().any(|(token, _)| *token == refused));
    let (_, cause) = bench.notes.closed.iter().find(|(token, _)| *token == refused).unwrap();
    assert!(matches!(cause, Cause::Error(error) if error.kind() == ErrorKind::ConnectionRefused), "{cause:?}");
    assert!(!bench.notes.connected.contains(&refused));
}

#[test]
fn a_connect_on_its_way_can_be_closed() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    // A full listener's queue leaves the connect unanswered.
    let server = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    server.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    server.listen(0).unwrap();
    let address = server.local_addr().unwrap().as_socket().unwrap();
    let _queued = TcpStream::connect(address).unwrap();
    let token = bench.driver.connect(address).unwrap();
    bench.settle();
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 1);
    assert!(matches!(bench.notes.closed[0], (closed, Cause::Local) if closed == token));
    // And one that the kernel has not even seen.
    let token = bench.driver.connect(address).unwrap();
    bench.driver.close(token);
    bench.until(|notes| notes.closed.len() == 2);
    assert!(matches!(bench.notes.closed[1], (closed, Cause::Local) if closed == token));
}

#[test]
fn the_doorbell_ends_a_wait_every_time() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    for _ in 0..100 {
        let doorbell = bench.doorbell.clone();
        bench.doorbell.announce_sleep();
        let ringer = thread::spawn(move || doorbell.ring());
        let before = Instant::now();
        bench.driver.turn(Some(PATIENCE), &mut bench.notes).unwrap();
        assert!(before.elapsed() < PATIENCE);
        bench.doorbell.awake();
        ringer.join().unwrap();
    }
    // Rung before the wait began, and no wait is cut short by an old ring.
    bench.doorbell.signal();
    bench.driver.turn(None, &mut bench.notes).unwrap();
    let before = bench.counters().completions;
    bench.driver.turn(Some(Duration::from_millis(5)), &mut bench.notes).unwrap();
    assert_eq!(bench.counters().completions, before);
}

#[test]
fn a_turn_waits_as_long_as_it_is_told() {
    let _alone = alone();
    let mut bench = Bench::new(8, 16, 512);
    let begin = Instant::now();
    bench.driver.turn(Some(Duration::from_millis(20)), &mut bench.notes).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(20));
    // Zero runs what the kernel has put off, too.
    let _client = bench.client();
    let deadline = Instant::now() + PATIENCE;
    while bench.notes.accepted.is_empty() {
        assert!(Instant::now() < deadline);
        bench.driver.turn(Some(Duration::ZERO), &mut bench.notes).unwrap();
    }
    // Longer than the kernel can count.
    bench.doorbell.signal();
    bench.driver.turn(Some(Duration::MAX), &mut bench.notes).unwrap();
}

#[test]
fn stopping_takes_in_who_is_queued_and_nobody_after() {
    let _alone = alone();
    let mut bench = Bench::new(64, 16, 512);
    let (_early, _) = bench.pair();
    // In the listener's queue, unseen by the driver.
    let _queued: Vec<_> = (0..10).map(|_| bench.client()).collect();
    bench.driver.stop_accept();
    bench.until(|notes| notes.accepted.len() == 11);
    bench.settle();
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Who was accepted is served.
    let mut client = &_queued[0];
    client.write_all(b"ask").unwrap();
    bench.until(|notes| notes.received.len() == 1);
    bench.driver.stop_accept();
    bench.settle();
}

#[test]
fn stopping_at_the_bound_serves_the_queue_as_slots_come_free() {
    let _alone = alone();
    let mut bench = Bench::new(2, 16, 512);
    let _clients: Vec<_> = (0..8).map(|_| bench.client()).collect();
    bench.until(|notes| notes.accepted.len() == 2);
    bench.driver.stop_accept();
    for served in 0..8 {
        bench.until(|notes| notes.accepted.len() > served);
        assert!(bench.notes.open.len() <= 2);
        bench.driver.close(bench.notes.accepted[served]);
    }
    bench.until(|notes| notes.closed.len() == 8);
    assert_eq!(TcpStream::connect(bench.address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_driver_dropped_in_full_flight_lets_go_of_everything() {
    let _alone = alone();
    let before = descriptors();
    let mut bench = Bench::new(64, 4, 64);
    let mut clients: Vec<_> = (0..32).map(|_| bench.pair()).collect();
    for (client, token) in &mut clients {
        client.write_all(&[1; 4000]).unwrap();
        bench.driver.send(*token, vec![7; 8 << 20]);
    }
    // Submitted some, queued the rest, cancels among them.
    bench.turn();
    for (_, token) in clients.iter().take(8) {
        bench.driver.close(*token);
    }
    for _ in 0..8 {
        let _ = bench.driver.connect(bench.address).unwrap();
        clients.push((bench.client(), Token::new(0, 0)));
    }
    let begin = Instant::now();
    drop(bench);
    assert!(begin.elapsed() < Duration::from_secs(1), "it gave up waiting for the kernel");
    drop(clients);
    assert_eq!(descriptors(), before);
}

#[test]
fn a_full_submission_queue_loses_nothing() {
    let _alone = alone();
    // 64 entries, the least there are; four times as many are queued between two turns.
    let mut bench = Bench::new(300, 256, 256);
    let mut clients: Vec<_> = (0..256).map(|_| bench.pair()).collect();
    for (_, token) in &clients {
        bench.driver.send(*token, b"answer".to_vec());
    }
    bench.until(|notes| notes.sent.len() == 256);
    for (client, token) in &mut clients {
        client.read_exact(&mut [0; 6]).unwrap();
        bench.driver.send(*token, b"again".to_vec());
        bench.driver.close(*token);
    }
    bench.until(|notes| notes.closed.len() == 256);
}

/// Runs in a process of its own, started by the test below, with few descriptors.
#[test]
#[ignore = "needs a low descriptor limit; `without_descriptors_accepting_waits_and_goes_on` runs it"]
fn child_with_few_descriptors() {
    let mut bench = Bench::new(256, 16, 512);
    // The other half of each connection needs one as well.
    let mut clients = Vec::new();
    while let Ok(client) = TcpStream::connect(bench.address) {
        clients.push(client);
    }
    // Two are given back: one for the driver's next accept, which is then out of them again.
    clients.pop();
    bench.until(|notes| !notes.accept_errors.is_empty());
    assert_eq!(bench.notes.accept_errors[0].raw_os_error(), Some(libc::EMFILE));
    assert!(bench.counters().accept_pauses > 0);
    let before = bench.counters();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(200) {
        bench.driver.turn(Some(Duration::from_millis(200)), &mut bench.notes).unwrap();
    }
    let tries = bench.counters().turns - before.turns;
    assert!(tries <= 12, "{tries} turns in 200 ms: it spins");
    // Every client in turn gives its descriptor back, and all are accepted in the end.
    let total = clients.len();
    let mut closed = 0;
    while let Some(client) = clients.pop() {
        drop(client);
        bench.turn();
        while closed < bench.notes.accepted.len() {
            bench.driver.close(bench.notes.accepted[closed]);
            closed += 1;
        }
    }
    bench.until(|notes| notes.accepted.len() >= total);
}

#[test]
fn without_descriptors_accepting_waits_and_goes_on() {
    let _alone = alone();
    let program = std::env::current_exe().unwrap();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact child_with_few_descriptors --ignored"])
        .arg(program)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

//! Tests that need the driver's internals: force each step of the ladder, cut a send short, let a cancel miss. All
//! others are in `tests/uring.rs`.

use super::*;
use crate::{Cause, Flow, Peer};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};
use wake::Doorbell;

/// Sends back what it receives.
#[derive(Default)]
struct Echo {
    received: Vec<(Token, Vec<u8>)>,
    accepted: Vec<Token>,
    sent: usize,
    ended: Vec<Token>,
    closed: usize,
}

impl Handler for Echo {
    fn accepted(&mut self, token: Token, _: usize, _: Peer) {
        self.accepted.push(token);
    }
    fn accept_failed(&mut self, error: &io::Error) {
        panic!("{error}");
    }
    fn connected(&mut self, _: Token) {}
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        self.received.push((token, bytes.to_vec()));
        Flow::Continue
    }
    fn eof(&mut self, token: Token) {
        self.ended.push(token);
    }
    fn sent(&mut self, _: Token, _: Vec<u8>) {
        self.sent += 1;
    }
    fn closed(&mut self, _: Token, cause: Cause) {
        assert!(matches!(cause, Cause::Local), "{cause:?}");
        self.closed += 1;
    }
}

fn setup() -> (DriverConfig, SocketAddr) {
    let listener = crate::listen::listen(([127, 0, 0, 1], 0).into(), 16, false).unwrap();
    let address = listener.local_addr().unwrap();
    let doorbell = Arc::new(Doorbell::new().unwrap());
    let listeners = vec![listener.into()];
    (DriverConfig { listeners, connections_max: 16, receive_buffer_bytes: 256, receive_buffers: 4, doorbell }, address)
}

#[test]
fn a_send_cut_short_is_resumed_where_it_stopped() {
    const BYTES: usize = 32 << 20;
    let (mut driver, mut echo, token, mut client) = one_connection();
    let response: Vec<u8> = (0..BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
    driver.send(token, response.clone());
    driver.turn(Some(Duration::ZERO), &mut echo).unwrap();
    // The kernel has filled the socket and waits for space: now it completes with what it has taken.
    cancel(&mut driver.queue, token, driver.connections.get_mut(token).unwrap(), Op::Send);
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; BYTES];
        client.read_exact(&mut got).unwrap();
        (client, got)
    });
    while echo.sent == 0 {
        driver.turn(Some(Duration::from_secs(10)), &mut echo).unwrap();
    }
    let (_client, got) = reader.join().unwrap();
    assert!(got == response);
    assert_eq!(driver.counters().short_sends, 1);
}

/// A driver with one accepted connection whose receive is armed, and its client.
fn one_connection() -> (UringDriver, Echo, Token, TcpStream) {
    let (setup, address) = setup();
    let mut driver = UringDriver::open(setup).unwrap();
    let mut echo = Echo::default();
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    while echo.accepted.is_empty() {
        driver.turn(None, &mut echo).unwrap();
    }
    driver.turn(Some(Duration::ZERO), &mut echo).unwrap();
    let token = echo.accepted[0];
    (driver, echo, token, client)
}

#[test]
fn a_close_whose_cancel_misses_the_receive_still_ends() {
    for miss in [-libc::ENOENT, -libc::EALREADY] {
        let (mut driver, mut echo, token, mut client) = one_connection();
        let connection = driver.connections.get_mut(token).unwrap();
        connection.closing = true;
        // As if a cancel had been submitted and had come back with this.
        connection.in_flight.insert(Op::CancelReceive);
        driver.on_cancelled(token, Op::Receive, miss, &mut echo);
        assert_eq!(echo.closed, 0, "the receive is still in flight");
        while echo.closed == 0 {
            driver.turn(Some(Duration::from_secs(10)), &mut echo).unwrap();
        }
        assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
        assert!(driver.connections.is_empty());
    }
}

#[test]
fn a_pause_whose_cancel_misses_the_receive_cancels_again() {
    let (mut driver, mut echo, token, _client) = one_connection();
    let connection = driver.connections.get_mut(token).unwrap();
    connection.paused = true;
    connection.keep(b"late", |_| true);
    connection.in_flight.insert(Op::CancelReceive);
    driver.on_cancelled(token, Op::Receive, -libc::ENOENT, &mut echo);
    assert!(driver.connections.get(token).unwrap().in_flight.contains(Op::CancelReceive));
    while !driver.connections.get(token).unwrap().in_flight.is_empty() {
        driver.turn(Some(Duration::from_secs(10)), &mut echo).unwrap();
    }
    driver.resume_receive(token);
    driver.turn(None, &mut echo).unwrap();
    assert_eq!(echo.received, [(token, b"late".to_vec())]);
    assert!(driver.connections.get(token).unwrap().in_flight.contains(Op::Receive), "armed again");
}

#[test]
fn every_step_of_the_ladder_serves() {
    for step in Step::LADDER {
        let (setup, address) = setup();
        let mut driver = match UringDriver::open_by(setup, &[step]) {
            Ok(driver) => driver,
            Err(error) if matches!(step, Step::DeferredNoArray | Step::Deferred) => {
                eprintln!("not on this kernel: {step}: {error}");
                continue;
            }
            Err(error) => panic!("{step}: {error}"),
        };
        let client = std::thread::spawn(move || {
            for round in 0..20_u8 {
                let mut client = TcpStream::connect(address).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let mut response = [0; 100];
                client.write_all(&[round; 100]).unwrap();
                client.read_exact(&mut response).unwrap();
                assert_eq!(response, [round; 100]);
                // Every other connection is ended by the peer, the rest while a receive is armed.
                if round % 2 == 0 {
                    client.shutdown(Shutdown::Write).unwrap();
                }
                assert_eq!(client.read(&mut response).unwrap(), 0);
            }
        });
        let mut echo = Echo::default();
        let mut served = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while echo.closed < 20 {
            assert!(Instant::now() < deadline, "{step}: {:?}", driver.counters());
            driver.turn(Some(Duration::from_millis(20)), &mut echo).unwrap();
            for (token, response) in echo.received.drain(..) {
                if response[0] % 2 == 1 {
                    served.push(token);
                }
                driver.send(token, response);
            }
            // Closed in the turn after the send: it is through by then, or the client would miss bytes.
            for token in echo.ended.drain(..) {
                driver.close(token);
            }
            served.retain(|token| {
                let sending = driver.connections.get(*token).is_some_and(|c| c.in_flight.contains(Op::Send));
                if !sending {
                    driver.close(*token);
                }
                sending
            });
        }
        client.join().unwrap();
    }
}

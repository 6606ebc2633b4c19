//! What can only be seen from inside: each step of the ladder, forced. All else is in `tests/uring.rs`.

use super::*;
use crate::{Cause, Doorbell, Flow};
use std::io::{Read, Write};

/// Sends back what it hears.
#[derive(Default)]
struct Echo {
    answers: Vec<(Token, Vec<u8>)>,
    ended: Vec<Token>,
    closed: usize,
}

impl Handler for Echo {
    fn accepted(&mut self, _: Token, _: SocketAddr) {}
    fn accept_failed(&mut self, error: &io::Error) {
        panic!("{error}");
    }
    fn connected(&mut self, _: Token) {}
    fn data(&mut self, token: Token, bytes: &[u8]) -> Flow {
        self.answers.push((token, bytes.to_vec()));
        Flow::Continue
    }
    fn eof(&mut self, token: Token) {
        self.ended.push(token);
    }
    fn sent(&mut self, _: Token, _: Vec<u8>) {}
    fn closed(&mut self, _: Token, cause: Cause) {
        assert!(matches!(cause, Cause::Local), "{cause:?}");
        self.closed += 1;
    }
}

#[test]
fn every_step_of_the_ladder_serves() {
    for step in Step::LADDER {
        let listener = crate::listen::listen(([127, 0, 0, 1], 0).into(), 16, false).unwrap();
        let address = listener.local_addr().unwrap();
        let setup = Setup {
            listener: Some(listener),
            connections_max: 16,
            receive_buffer_bytes: 256,
            receive_buffers: 4,
            doorbell: Arc::new(Doorbell::new().unwrap()),
        };
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
                let mut answer = [0; 100];
                client.write_all(&[round; 100]).unwrap();
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round; 100]);
                // Every other connection is ended by the peer, the rest while a receive is armed.
                if round % 2 == 0 {
                    client.shutdown(Shutdown::Write).unwrap();
                }
                assert_eq!(client.read(&mut answer).unwrap(), 0);
            }
        });
        let mut echo = Echo::default();
        let mut answered = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while echo.closed < 20 {
            assert!(Instant::now() < deadline, "{step}: {:?}", driver.counters());
            driver.turn(Some(Duration::from_millis(20)), &mut echo).unwrap();
            for (token, answer) in echo.answers.drain(..) {
                if answer[0] % 2 == 1 {
                    answered.push(token);
                }
                driver.send(token, answer);
            }
            // Closed in the turn after the send: it is through by then, or the client would miss bytes.
            for token in echo.ended.drain(..) {
                driver.close(token);
            }
            answered.retain(|token| {
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

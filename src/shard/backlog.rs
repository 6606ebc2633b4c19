//! The connections whose input waits for a turn: those that cost little come first.
//!
//! A turn's work is bounded, and what arrives beyond the bound waits. Were there one queue, a client that sends one
//! small request at a time would wait behind everybody's decompressions. As in fair queueing for networks (RFC 8290,
//! 4.2: new queues before old ones), a connection whose latest visit cost little goes before those whose visit did not,
//! and of the latter at least one goes on in each turn. A connection counts as one that costs much for a second after
//! another of its address did: else each new connection would go before those that wait.

use super::{connection::Phase, state::State};
use reactor::Token;
use std::collections::VecDeque;

/// Two queues of connections, each first come first served.
#[derive(Debug, Default)]
pub struct Backlog {
    light: VecDeque<Token>,
    heavy: VecDeque<Token>,
}

/// Order of the connections that are resumed in one turn: see [`Backlog::begin_turn`].
#[derive(Debug)]
pub struct Resumption {
    light: usize,
    heavy: usize,
    is_heavy_due: bool,
}

impl Backlog {
    /// Adds a connection behind those of its kind.
    pub fn push(&mut self, token: Token, is_heavy: bool) {
        if is_heavy { self.heavy.push_back(token) } else { self.light.push_back(token) }
    }

    /// Returns true if no connection waits.
    pub fn is_empty(&self) -> bool {
        self.light.is_empty() && self.heavy.is_empty()
    }

    /// Begins a turn: it resumes those that wait now, and none that come meanwhile.
    pub fn begin_turn(&self) -> Resumption {
        Resumption { light: self.light.len(), heavy: self.heavy.len(), is_heavy_due: true }
    }

    /// Takes the next connection of the turn. `is_over`: the turn's work is done; then one heavy connection is taken
    /// all the same, if none was. A light one that `is_heavy` by now goes behind the heavy ones, for the next turn.
    pub fn pop(
        &mut self,
        turn: &mut Resumption,
        is_over: bool,
        mut is_heavy: impl FnMut(Token) -> bool,
    ) -> Option<Token> {
        while turn.light > 0 && !is_over {
            turn.light -= 1;
            let token = self.light.pop_front()?;
            if !is_heavy(token) {
                return Some(token);
            }
            self.heavy.push_back(token);
        }
        if turn.heavy > 0 && (!is_over || turn.is_heavy_due) {
            turn.heavy -= 1;
            turn.is_heavy_due = false;
            return self.heavy.pop_front();
        }
        None
    }

    /// Gives memory back that a crowd has left.
    pub fn trim(&mut self) {
        self.light.shrink_to(2 * self.light.len());
        self.heavy.shrink_to(2 * self.heavy.len());
    }
}

impl State {
    /// Goes on with the connections that wait for this turn, while it has work left.
    pub(super) fn resume_ready(&mut self) {
        let mut turn = self.ready.begin_turn();
        loop {
            let (connections, holders, now_ns) = (&mut self.connections, &self.holders, self.now_ns);
            let is_heavy =
                |token| connections.get(token).is_some_and(|connection| holders.is_heavy(connection.place, now_ns));
            let Some(token) = self.ready.pop(&mut turn, self.work_left_bytes == 0, is_heavy) else { return };
            // It has its visit although the turn may be used up.
            self.work_left_bytes = self.work_left_bytes.max(1);
            if let Some(connection) = self.connections.get(token).filter(|connection| connection.phase == Phase::Ready)
            {
                connection.phase = Phase::Receiving;
                self.receive(token, &[]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog(light: u32, heavy: u32) -> Backlog {
        let mut backlog = Backlog::default();
        for number in 0..light.max(heavy) {
            if number < heavy {
                backlog.push(token(100 + number), true);
            }
            if number < light {
                backlog.push(token(number), false);
            }
        }
        backlog
    }

    fn token(number: u32) -> Token {
        Token::new(number, 0)
    }

    fn taken(backlog: &mut Backlog, visits: usize) -> Vec<Token> {
        let mut turn = backlog.begin_turn();
        let mut taken = Vec::new();
        while let Some(token) = backlog.pop(&mut turn, taken.len() >= visits, |_| false) {
            taken.push(token);
        }
        taken
    }

    #[test]
    fn light_connections_go_first_each_in_order() {
        let mut backlog = backlog(2, 2);
        assert_eq!(taken(&mut backlog, 9), [0, 1, 100, 101].map(token));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_turn_that_is_over_still_resumes_one_heavy_connection() {
        let mut backlog = backlog(3, 2);
        assert_eq!(taken(&mut backlog, 2), [0, 1, 100].map(token));
        assert_eq!(taken(&mut backlog, 0), [101].map(token));
        assert_eq!(taken(&mut backlog, 1), [2].map(token));
    }

    /// Connections 0 and 2 are of an address that has proved to be heavy since they came.
    #[test]
    fn a_light_connection_of_a_heavy_address_goes_behind() {
        let mut backlog = backlog(4, 1);
        let is_heavy = |of| [0, 2].map(token).contains(&of);
        let mut turn = backlog.begin_turn();
        let taken: Vec<_> = std::iter::from_fn(|| backlog.pop(&mut turn, false, is_heavy)).collect();
        assert_eq!(taken, [1, 3, 100].map(token));
        let mut turn = backlog.begin_turn();
        assert_eq!(backlog.pop(&mut turn, true, is_heavy), Some(token(0)));
        assert_eq!(backlog.pop(&mut turn, true, is_heavy), None);
    }

    #[test]
    fn those_that_come_during_a_turn_wait_for_the_next() {
        let mut backlog = backlog(1, 1);
        let mut turn = backlog.begin_turn();
        assert_eq!(backlog.pop(&mut turn, false, |_| false), Some(token(0)));
        backlog.push(token(1), false);
        backlog.push(token(101), true);
        assert_eq!(backlog.pop(&mut turn, false, |_| false), Some(token(100)));
        assert_eq!(backlog.pop(&mut turn, false, |_| false), None);
        assert!(!backlog.is_empty());
    }
}

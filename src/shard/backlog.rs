//! The connections whose input waits for a turn: those that cost little come first.
//!
//! A turn's work is bounded, and what arrives beyond the bound waits. Were there one queue, a client that sends one
//! small request at a time would wait behind everybody's decompressions. As in fair queueing for networks (RFC 8290,
//! 4.2: new queues before old ones), a connection whose latest visit cost little goes before those whose visit did not,
//! and of the latter at least one goes on in each turn.

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
    /// all the same, if none was.
    pub fn pop(&mut self, turn: &mut Resumption, is_over: bool) -> Option<Token> {
        if turn.light > 0 && !is_over {
            turn.light -= 1;
            return self.light.pop_front();
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
        while let Some(token) = backlog.pop(&mut turn, taken.len() >= visits) {
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

    #[test]
    fn those_that_come_during_a_turn_wait_for_the_next() {
        let mut backlog = backlog(1, 1);
        let mut turn = backlog.begin_turn();
        assert_eq!(backlog.pop(&mut turn, false), Some(token(0)));
        backlog.push(token(1), false);
        backlog.push(token(101), true);
        assert_eq!(backlog.pop(&mut turn, false), Some(token(100)));
        assert_eq!(backlog.pop(&mut turn, false), None);
        assert!(!backlog.is_empty());
    }
}

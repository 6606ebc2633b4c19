//! Limits on the queries in the server and on the share of one client, so that no client can take all places, all
//! threads or all memory.
//!
//! Reactors check here before a query goes on, so nothing here waits: counts of all, and counts by client in a table of
//! fixed size. Two clients that meet in one place of it share one share; that is one pair in [`PLACES`], and which is
//! chosen at random with each start.

use crate::limits;
use rate::ClientKey;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};

/// Places of the table.
const PLACES: usize = 4_096;

/// The limit that a query exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All clients together have as much as there may be.
    All,
    /// This client has its share.
    Client,
}

/// A number that is bounded for all clients together, and for each.
#[derive(Debug)]
struct Bounded {
    all: AtomicUsize,
    of_client: Box<[AtomicU32]>,
    all_max: usize,
    of_client_max: usize,
}

impl Bounded {
    fn new(all_max: usize) -> Self {
        let of_client = (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Self { all: AtomicUsize::new(0), of_client, all_max, of_client_max: all_max.div_ceil(2) }
    }

    /// Takes `amount`. Who has nothing yet may have more than a share, and if nobody has anything, more than all.
    fn take(&self, place: usize, amount: u32) -> Result<(), Full> {
        let amount_of_all = amount as usize;
        // Counts that order nothing else.
        let of_client = self.of_client[place].fetch_update(Relaxed, Relaxed, |taken| {
            let sum = taken.checked_add(amount)?;
            (taken == 0 || sum as usize <= self.of_client_max).then_some(sum)
        });
        of_client.map_err(|_| Full::Client)?;
        let all = self.all.fetch_update(Relaxed, Relaxed, |taken| {
            (taken == 0 || taken + amount_of_all <= self.all_max).then_some(taken + amount_of_all)
        });
        all.map(drop).map_err(|_| {
            self.of_client[place].fetch_sub(amount, Relaxed);
            Full::All
        })
    }

    fn give_back(&self, place: usize, amount: u32) {
        self.of_client[place].fetch_sub(amount, Relaxed);
        self.all.fetch_sub(amount as usize, Relaxed);
    }
}

#[derive(Debug)]
struct Counts {
    waiting: Bounded,
    /// For the log.
    paused: Bounded,
    unread: Bounded,
    /// In KiB: 32 bits are 4 TiB of them.
    unread_kib: Bounded,
}

/// The resources in use, by client.
#[derive(Debug, Clone)]
pub(super) struct Shares(Arc<Counts>);

impl Shares {
    /// `unread_bytes_max` is the memory of all responses that their clients have not taken whole.
    pub fn new(unread_bytes_max: usize) -> Self {
        Self(Arc::new(Counts {
            waiting: Bounded::new(limits::QUERIES_WAITING_MAX),
            paused: Bounded::new(limits::LOG_WAITERS_MAX),
            unread: Bounded::new(limits::RESPONSES_UNREAD_MAX),
            unread_kib: Bounded::new(unread_bytes_max / limits::KIB),
        }))
    }

    /// Takes a query in that waits for a thread.
    pub fn wait(&self, client: ClientKey) -> Result<Taken, Full> {
        let place = place(client);
        self.0.waiting.take(place, 1)?;
        Ok(Taken { counts: Arc::clone(&self.0), place, what: ShareKind::Waiting })
    }

    /// Takes a request in that waits for the log.
    pub fn pause(&self, client: ClientKey) -> Result<Taken, Full> {
        let place = place(client);
        self.0.paused.take(place, 1)?;
        Ok(Taken { counts: Arc::clone(&self.0), place, what: ShareKind::Paused })
    }

    /// Counts a response of so many bytes that is not one piece.
    pub fn keep(&self, client: ClientKey, bytes: usize) -> Result<Taken, Full> {
        let place = place(client);
        let kib = u32::try_from(bytes.div_ceil(limits::KIB)).unwrap_or(u32::MAX);
        self.0.unread.take(place, 1)?;
        self.0.unread_kib.take(place, kib).inspect_err(|_| self.0.unread.give_back(place, 1))?;
        Ok(Taken { counts: Arc::clone(&self.0), place, what: ShareKind::Unread { kib } })
    }
}

fn place(client: ClientKey) -> usize {
    client.place(PLACES)
}

#[derive(Debug, Clone, Copy)]
enum ShareKind {
    Waiting,
    Paused,
    Unread { kib: u32 },
}

/// A share in use, released on drop.
#[derive(Debug)]
pub(super) struct Taken {
    counts: Arc<Counts>,
    place: usize,
    what: ShareKind,
}

impl Drop for Taken {
    fn drop(&mut self) {
        match self.what {
            ShareKind::Paused => self.counts.paused.give_back(self.place, 1),
            ShareKind::Waiting => self.counts.waiting.give_back(self.place, 1),
            ShareKind::Unread { kib } => {
                self.counts.unread.give_back(self.place, 1);
                self.counts.unread_kib.give_back(self.place, kib);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rate::ClientKeys;

    fn clients(count: usize) -> Vec<ClientKey> {
        let keys = ClientKeys::new();
        let mut clients: Vec<ClientKey> = Vec::new();
        // No two in one place.
        for name in 0_u64.. {
            let client = keys.authorization(&name.to_le_bytes());
            if !clients.iter().any(|other| place(*other) == place(client)) {
                clients.push(client);
            }
            if clients.len() == count {
                break;
            }
        }
        clients
    }

    #[test]
    fn a_client_has_half_and_all_have_all() {
        let shares = Shares::new(limits::MIB);
        let [one, two, three] = clients(3)[..] else { unreachable!() };
        let half = limits::QUERIES_WAITING_MAX / 2;
        let mut taken: Vec<_> = (0..half).map(|_| shares.wait(one).unwrap()).collect();
        assert_eq!(shares.wait(one).unwrap_err(), Full::Client);
        taken.extend((0..half).map(|_| shares.wait(two).unwrap()));
        assert_eq!(shares.wait(three).unwrap_err(), Full::All);
        taken.pop();
        assert!(shares.wait(three).is_ok());
        drop(taken);
        assert!(shares.wait(one).is_ok());
    }

    #[test]
    fn responses_are_bounded_in_memory_but_for_one() {
        let shares = Shares::new(limits::MIB);
        let [one, two] = clients(2)[..] else { unreachable!() };
        let alone = shares.keep(one, 64 * limits::MIB).unwrap();
        assert_eq!(shares.keep(one, 1).unwrap_err(), Full::Client);
        assert_eq!(shares.keep(two, 1).unwrap_err(), Full::All);
        drop(alone);
        let half = shares.keep(one, limits::MIB / 2).unwrap();
        assert_eq!(shares.keep(one, 1).unwrap_err(), Full::Client);
        let other = shares.keep(two, limits::MIB / 2).unwrap();
        drop((half, other));
        // Nothing was forgotten to be given back.
        assert_eq!([&shares.0.unread, &shares.0.unread_kib].map(|bounded| bounded.all.load(Relaxed)), [0, 0]);
    }
}

//! Limits on the queries in the server and on the share of one client, so that no client can take all places, all
//! threads or all memory.
//!
//! A name that no key proves costs nothing to invent, so what is taken under such names counts towards their address
//! too, whose share is larger than that of one client, and smaller than all.
//!
//! Reactors check here before a query goes on, so nothing here waits: counts of all, and counts by client and by
//! address in tables of fixed size. Two clients that meet in one place of it share one share; that is one pair in
//! [`PLACES`], and which is chosen at random with each start.

use crate::limits;
use rate::ClientKey;
use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
};

/// Places of the table.
const PLACES: usize = 4_096;

/// The limit that a request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All clients together have as much as there may be.
    All,
    /// This client has its share.
    Client,
}

/// The identity that a share is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharer {
    /// The client.
    pub client: ClientKey,
    /// The address of a client whose name no key proves; of others the client itself.
    pub source: ClientKey,
}

impl Sharer {
    /// A client that is proven: by its key, or as it is an address.
    #[must_use]
    pub const fn proven(client: ClientKey) -> Self {
        Self { client, source: client }
    }

    const fn places(self) -> Places {
        Places { client: self.client.place(PLACES), source: self.source.place(PLACES) }
    }
}

/// The number that one source may have of what each client may have half of: three quarters, or one.
pub(super) fn source_max(all_max: usize) -> usize {
    (3 * all_max / 4).max(all_max.div_ceil(2))
}

/// The places of a sharer in the tables.
#[derive(Debug, Clone, Copy)]
struct Places {
    client: usize,
    source: usize,
}

/// A number that is bounded for all clients together, for each, and for each source.
#[derive(Debug)]
struct Bounded {
    all: AtomicUsize,
    of_client: Box<[AtomicU32]>,
    of_source: Box<[AtomicU32]>,
    all_max: usize,
}

impl Bounded {
    fn new(all_max: usize) -> Self {
        let table = || (0..PLACES).map(|_| AtomicU32::new(0)).collect();
        Self { all: AtomicUsize::new(0), of_client: table(), of_source: table(), all_max }
    }

    /// Takes `amount`. Who has nothing yet may have more than a share, and if nobody has anything, more than all.
    fn take(&self, places: Places, amount: u32) -> Result<(), Full> {
        let amount_of_all = amount as usize;
        // Counts that order nothing else.
        let take_share = |taken: &AtomicU32, most: usize| {
            let sum_of = |taken: u32| {
                let sum = taken.checked_add(amount)?;
                (taken == 0 || sum as usize <= most).then_some(sum)
            };
            taken.fetch_update(Relaxed, Relaxed, sum_of).map(drop).map_err(|_| Full::Client)
        };
        let [of_client, of_source] = [&self.of_client[places.client], &self.of_source[places.source]];
        take_share(of_client, self.all_max.div_ceil(2))?;
        take_share(of_source, source_max(self.all_max)).inspect_err(|_| {
            of_client.fetch_sub(amount, Relaxed);
        })?;
        let all = self.all.fetch_update(Relaxed, Relaxed, |taken| {
            (taken == 0 || taken + amount_of_all <= self.all_max).then_some(taken + amount_of_all)
        });
        all.map(drop).map_err(|_| {
            of_client.fetch_sub(amount, Relaxed);
            of_source.fetch_sub(amount, Relaxed);
            Full::All
        })
    }

    fn give_back(&self, places: Places, amount: u32) {
        self.of_client[places.client].fetch_sub(amount, Relaxed);
        self.of_source[places.source].fetch_sub(amount, Relaxed);
        self.all.fetch_sub(amount as usize, Relaxed);
    }
}

/// Places for what each takes one of.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Bounded>);

/// One of the places, free again on drop.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    places: Places,
}

impl Seats {
    /// Places for so many, of which one client takes half at most.
    #[must_use]
    pub fn new(all_max: usize) -> Self {
        Self(Arc::new(Bounded::new(all_max)))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// All are taken, or this client has its share.
    pub fn take(&self, sharer: Sharer) -> Result<Seat, Full> {
        let places = sharer.places();
        self.0.take(places, 1)?;
        Ok(Seat { seats: self.clone(), places })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.0.give_back(self.places, 1);
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
    pub fn wait(&self, sharer: Sharer) -> Result<Taken, Full> {
        let places = sharer.places();
        self.0.waiting.take(places, 1)?;
        Ok(Taken { counts: Arc::clone(&self.0), places, what: ShareKind::Waiting })
    }

    /// Takes a request in that waits for the log.
    pub fn pause(&self, sharer: Sharer) -> Result<Taken, Full> {
        let places = sharer.places();
        self.0.paused.take(places, 1)?;
        Ok(Taken { counts: Arc::clone(&self.0), places, what: ShareKind::Paused })
    }

    /// Counts a response of so many bytes that is not one piece.
    pub fn keep(&self, sharer: Sharer, bytes: usize) -> Result<Taken, Full> {
        let places = sharer.places();
        let kib = u32::try_from(bytes.div_ceil(limits::KIB)).unwrap_or(u32::MAX);
        self.0.unread.take(places, 1)?;
        self.0.unread_kib.take(places, kib).inspect_err(|_| self.0.unread.give_back(places, 1))?;
        Ok(Taken { counts: Arc::clone(&self.0), places, what: ShareKind::Unread { kib } })
    }
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
    places: Places,
    what: ShareKind,
}

impl Drop for Taken {
    fn drop(&mut self) {
        match self.what {
            ShareKind::Paused => self.counts.paused.give_back(self.places, 1),
            ShareKind::Waiting => self.counts.waiting.give_back(self.places, 1),
            ShareKind::Unread { kib } => {
                self.counts.unread.give_back(self.places, 1);
                self.counts.unread_kib.give_back(self.places, kib);
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
            let place = |client: ClientKey| client.place(PLACES);
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
        let [one, two, three] = [one, two, three].map(Sharer::proven);
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
        let [one, two] = [one, two].map(Sharer::proven);
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
    /// However many names an address invents, others find space.
    #[test]
    fn unproven_names_share_what_their_address_has() {
        let shares = Shares::new(limits::MIB);
        let all = limits::QUERIES_WAITING_MAX;
        let clients = clients(all + 2);
        let (address, other) = (clients[all], Sharer::proven(clients[all + 1]));
        let named = |name: usize| Sharer { client: clients[name], source: address };
        let mut taken: Vec<_> = (0..3 * all / 4).map(|name| shares.wait(named(name)).unwrap()).collect();
        assert_eq!(shares.wait(named(all - 1)).unwrap_err(), Full::Client);
        assert_eq!(shares.wait(Sharer::proven(address)).unwrap_err(), Full::Client);
        taken.extend((0..all / 4).map(|_| shares.wait(other).unwrap()));
        assert_eq!(shares.wait(other).unwrap_err(), Full::All);
        drop(taken);
        // Nothing was forgotten to be given back.
        let half: Vec<_> = (0..all / 2).map(|_| shares.wait(named(0)).unwrap()).collect();
        assert_eq!(shares.wait(named(0)).unwrap_err(), Full::Client);
        assert!(shares.wait(named(1)).is_ok());
        drop(half);
        assert_eq!([1, 2, 3, 4, 64].map(source_max), [1, 1, 2, 3, 48]);
    }
}

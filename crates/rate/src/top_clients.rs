//! Totals of who was allowed and who was refused, kept by one background thread from the rings of all cores.
//!
//! Owns the receiving ends of the rings and a bounded table of clients. Promises that totals over all clients are exact
//! (allowed, refused and dropped events add up to what the reactors offered) and that a client with more than its share
//! of the events is in the table, whatever the number of clients.
//! Takes no lock and never makes a reactor wait.
//!
//! The table is Space-Saving (Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements in
//! Data Streams", ICDT 2005): a client that is not in the full table takes the place of the one with the smallest count
//! and inherits that count as its possible error. Of N events a client with more than N/K is always among the K in the
//! table.

use super::{ClientKey, Event, EventKind, EventReceiver};
use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Events of all clients since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests admitted, of the events received.
    pub allowed: u64,
    /// Requests refused, of the events received.
    pub refused: u64,
    /// Metrics of the admitted requests that were stored.
    pub metrics: u64,
    /// Events that found their ring full.
    pub dropped: u64,
}

impl Totals {
    /// Number of decisions that the reactors reported.
    #[must_use]
    pub const fn decisions(&self) -> u64 {
        self.allowed + self.refused + self.dropped
    }
}

/// Events of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientTotals {
    /// The client.
    pub key: ClientKey,
    /// Requests admitted since the client came into the table.
    pub allowed: u64,
    /// Requests refused since the client came into the table.
    pub refused: u64,
    /// Metrics of these that were stored.
    pub metrics: u64,
    /// Requests, of those admitted, with timestamps far from now, since the client came into the table.
    pub far_from_now: u64,
    /// Upper bound of earlier events that are not counted here. 0: the totals are exact.
    pub missed_max: u64,
    /// The stamp of the latest event.
    pub last_ns: u64,
}

impl ClientTotals {
    const fn new(key: ClientKey) -> Self {
        Self { key, allowed: 0, refused: 0, metrics: 0, far_from_now: 0, missed_max: 0, last_ns: 0 }
    }

    /// The rank of Space-Saving: at least the client's true number of events, and over it by at most `missed_max`.
    const fn rank(&self) -> u64 {
        self.allowed + self.refused + self.missed_max
    }
}

/// Totals over all clients, and of the busiest ones. To be used by one thread.
#[derive(Debug)]
pub struct TopClients {
    receivers: Vec<EventReceiver>,
    allowed: u64,
    refused: u64,
    metrics: u64,
    clients: Clients,
}

impl TopClients {
    /// Creates the totals of the rings behind `receivers`, with totals of their own for at most `clients_max` clients.
    ///
    /// # Panics
    /// `clients_max` is 0.
    #[must_use]
    pub fn new(receivers: Vec<EventReceiver>, clients_max: usize) -> Self {
        Self { receivers, allowed: 0, refused: 0, metrics: 0, clients: Clients::new(clients_max) }
    }

    /// Enters the events that are in the rings at this moment, and returns their number: 0 if all were empty. Later
    /// events are left for the next call, so busy reactors cannot prolong it.
    pub fn drain(&mut self) -> usize {
        let Self { receivers, allowed, refused, metrics, clients } = self;
        // A client that pipelines has many events in a row, which are entered as one.
        let mut run = Run::default();
        let mut take = |event: Event| {
            match event.kind {
                EventKind::Admitted | EventKind::FarFromNow => *allowed += 1,
                EventKind::Refused => *refused += 1,
            }
            *metrics += u64::from(event.metrics);
            if event.key != run.key {
                clients.enter(&std::mem::take(&mut run));
            }
            run.add(event);
        };
        let events = receivers.iter_mut().map(|receiver| receiver.drain(&mut take)).sum();
        clients.enter(&run);
        events
    }

    /// Totals of the entered events, and of those that the rings have dropped.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let dropped = self.receivers.iter().map(EventReceiver::dropped).sum();
        Totals { allowed: self.allowed, refused: self.refused, metrics: self.metrics, dropped }
    }

    /// The `n` clients with the most events, busiest first; fewer when fewer are in the table.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<ClientTotals> {
        let mut clients = self.clients.heap.clone();
        clients.sort_unstable_by_key(|client| (Reverse(client.rank()), client.key));
        clients.truncate(n);
        clients
    }
}

impl TopClients {
    /// The `n` clients with the most refusals, of those in the table with at least one; most refused first.
    #[must_use]
    pub fn most_refused(&self, n: usize) -> Vec<ClientTotals> {
        self.most_by(n, |client| client.refused)
    }

    /// The `n` clients with the most metrics, of those in the table with at least one; most metrics first.
    #[must_use]
    pub fn most_metrics(&self, n: usize) -> Vec<ClientTotals> {
        self.most_by(n, |client| client.metrics)
    }

    fn most_by(&self, n: usize, count: impl Fn(&ClientTotals) -> u64) -> Vec<ClientTotals> {
        let mut clients: Vec<ClientTotals> =
            self.clients.heap.iter().copied().filter(|client| count(client) > 0).collect();
        clients.sort_unstable_by_key(|client| (Reverse(count(client)), client.key));
        clients.truncate(n);
        clients
    }
}

/// The table of Space-Saving: a binary heap with the smallest rank on top, and each client's index in it.
#[derive(Debug)]
struct Clients {
    heap: Vec<ClientTotals>,
    places: HashMap<ClientKey, usize, BuildHasherDefault<KeyHasher>>,
    clients_max: usize,
}

/// The events of one client in a row; none at first.
#[derive(Debug, Default)]
struct Run {
    key: ClientKey,
    allowed: u64,
    refused: u64,
    metrics: u64,
    far_from_now: u64,
    last_ns: u64,
}

impl Run {
    #[inline]
    fn add(&mut self, event: Event) {
        self.key = event.key;
        *if event.kind == EventKind::Refused { &mut self.refused } else { &mut self.allowed } += 1;
        self.far_from_now += u64::from(event.kind == EventKind::FarFromNow);
        self.metrics += u64::from(event.metrics);
        self.last_ns = self.last_ns.max(event.stamp_ns);
    }
}

/// The hash of a client's key for the table above: the key is a hash already, under hash keys that never leave the
/// process, so its words are mixed with each other only.
#[derive(Debug, Clone, Copy, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.rotate_left(32) ^ word;
    }
}

impl Clients {
    fn new(clients_max: usize) -> Self {
        assert!(clients_max > 0, "the table holds at least one client");
        let places = HashMap::with_capacity_and_hasher(clients_max, BuildHasherDefault::default());
        Self { heap: Vec::with_capacity(clients_max), places, clients_max }
    }

    fn enter(&mut self, run: &Run) {
        if run.allowed + run.refused == 0 {
            return;
        }
        let place = match self.places.get(&run.key) {
            Some(&place) => place,
            None => self.make_place(run.key),
        };
        let client = &mut self.heap[place];
        client.allowed += run.allowed;
        client.refused += run.refused;
        client.far_from_now += run.far_from_now;
        client.metrics += run.metrics;
        client.last_ns = client.last_ns.max(run.last_ns);
        self.sink(place);
    }

    /// The index of a place for a client that has none: a new one, or that of the smallest rank.
    fn make_place(&mut self, key: ClientKey) -> usize {
        let mut newcomer = ClientTotals::new(key);
        if self.heap.len() < self.clients_max {
            // Rank 0, below every other: to keep the heap in order it is swapped with those above it.
            let mut place = self.heap.len();
            self.heap.push(newcomer);
            while place > 0 {
                let above = (place - 1) / 2;
                self.heap.swap(place, above);
                self.places.insert(self.heap[place].key, place);
                place = above;
            }
            self.places.insert(key, 0);
        } else {
            let smallest = self.heap[0];
            self.places.remove(&smallest.key);
            newcomer.missed_max = smallest.rank();
            self.heap[0] = newcomer;
            self.places.insert(key, 0);
        }
        0
    }

    /// Moves the client at `place`, after its rank has grown, below those with a smaller rank.
    fn sink(&mut self, mut place: usize) {
        loop {
            let below = [2 * place + 1, 2 * place + 2];
            let smaller = below.into_iter().filter(|&at| at < self.heap.len()).min_by_key(|&at| self.heap[at].rank());
            let Some(smaller) = smaller.filter(|&at| self.heap[at].rank() < self.heap[place].rank()) else { return };
            self.heap.swap(place, smaller);
            self.places.insert(self.heap[place].key, place);
            self.places.insert(self.heap[smaller].key, smaller);
            place = smaller;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{super::event_ring, *};
    use proptest::prelude::*;

    fn key(client: u64) -> ClientKey {
        ClientKey::from_words([client, client])
    }

    proptest! {
        /// The guarantees of Space-Saving, against exact counts.
        #[test]
        fn the_busy_are_kept_and_the_errors_are_bounded(
            events in prop::collection::vec((0..24_u64, any::<bool>()), 0..600),
            clients_max in 1..12_usize,
        ) {
            let (mut sender, receiver) = event_ring(1_024);
            let mut top_clients = TopClients::new(vec![receiver], clients_max);
            let mut exact: HashMap<ClientKey, (u64, u64)> = HashMap::new();
            for &(client, allowed) in &events {
                // Low numbers are more frequent.
                let key = key(client * client / 24);
                let kind = if allowed { EventKind::Admitted } else { EventKind::Refused };
                let taken_in = sender.offer(Event { key, stamp_ns: 1, kind, metrics: 0 });
                prop_assert!(taken_in);
                let (allows, refusals) = exact.entry(key).or_default();
                *if allowed { allows } else { refusals } += 1;
            }
            prop_assert_eq!(top_clients.drain(), events.len());
            let top = top_clients.top(usize::MAX);
            prop_assert_eq!(top.len(), exact.len().min(clients_max));
            prop_assert!(top.is_sorted_by(|one, next| one.rank() >= next.rank()));
            prop_assert_eq!(top.iter().map(ClientTotals::rank).sum::<u64>(), events.len() as u64);
            for client in &top {
                let (allows, refusals) = exact[&client.key];
                prop_assert!(client.allowed <= allows && client.refused <= refusals);
                prop_assert!((allows + refusals..=allows + refusals + client.missed_max).contains(&client.rank()));
                prop_assert!(client.missed_max <= (events.len() / clients_max) as u64);
            }
            for (key, (allows, refusals)) in exact {
                if (allows + refusals) * clients_max as u64 > events.len() as u64 {
                    prop_assert!(top.iter().any(|client| client.key == key), "a client with more than its share");
                }
            }
        }
    }

    #[test]
    fn top_is_the_busiest_first_with_its_latest_stamp() {
        let (mut sender, receiver) = event_ring(16);
        let mut top_clients = TopClients::new(vec![receiver], 8);
        for (stamp_ns, client) in [2_u32, 1, 2, 3, 2, 1].into_iter().enumerate() {
            let kind = if client == 2 { EventKind::Admitted } else { EventKind::Refused };
            let kind = if stamp_ns == 4 { EventKind::FarFromNow } else { kind };
            let (key, stamp_ns) = (key(client.into()), stamp_ns as u64);
            assert!(sender.offer(Event { key, stamp_ns, kind, metrics: client }));
        }
        assert_eq!(top_clients.drain(), 6);
        let expected = [
            ClientTotals { allowed: 3, metrics: 6, far_from_now: 1, last_ns: 4, ..ClientTotals::new(key(2)) },
            ClientTotals { refused: 2, metrics: 2, last_ns: 5, ..ClientTotals::new(key(1)) },
        ];
        assert_eq!(top_clients.top(2), expected);
        assert_eq!(top_clients.most_refused(1), expected[1..]);
        assert!(top_clients.most_refused(9).iter().all(|client| client.refused > 0));
        let most_metrics: Vec<_> = top_clients.most_metrics(9).iter().map(|client| client.metrics).collect();
        assert_eq!(most_metrics, [6, 3, 2]);
        assert_eq!(top_clients.totals(), Totals { allowed: 3, refused: 3, metrics: 11, dropped: 0 });
    }
}

//! The limiter that the cores share: shards, each a table under a lock of its own.
//!
//! Owns the locks and the bounds. Promises that all decisions about one client can be put in one order - the order in
//! which they held the lock of its shard - in which a single sequential limiter with a clock that does not go back
//! would have made the same ones; and that no decision does more than a bounded amount of work. Reads no clock.

use super::{
    ClientKey,
    stamps::{BUDGET_BYTES_CAP, SLAB_BYTES, StampBudget},
    table::{Common, Names, SLOT_BYTES, Standing, Table, slots_for},
    window::{Cost, Rule},
};
use crate::limits::{RATE_FORGET_SLOTS, RATE_LIMIT_CAP};
use wake::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

/// The limiter's decision on one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Within the rate. The request now counts.
    Admitted {
        /// The time at which it counts, for [`Limiter::refund`]: that of the request, or the shard's clock if that is
        /// later.
        stamp_ns: u64,
    },
    /// Over the rate. The request does not count.
    Refused {
        /// Nanoseconds from the `now_ns` of the request until a request of this client can be admitted again; at least
        /// 1.
        retry_after_ns: u64,
    },
    /// Over the rate of bytes. The request does not count.
    OverBytes {
        /// As in [`Decision::Refused`].
        retry_after_ns: u64,
    },
    /// The name is new, and its address has too many on record, or all addresses together have. The request does not
    /// count: the caller charges it to the address.
    NamesFull,
    /// No memory is left to account for the request: the shard holds its maximum of clients, none of those checked is
    /// idle, or all stamps together have reached their bound. The request does not count.
    TableFull,
}

/// Configuration of a limiter.
#[derive(Debug, Clone, Copy)]
pub struct LimiterSetup {
    /// Admissions of one client in any window, up to [`RATE_LIMIT_CAP`]; 0: without limit.
    pub limit: u32,
    /// Bytes that one client is charged in a window; 0: without limit. The unused part is kept for one window.
    pub bytes_limit: u64,
    /// Names of one address that may be on record.
    pub names_limit: u32,
    /// Length of the window in nanoseconds; at least 1.
    pub window_ns: u64,
    /// Number of shards; a power of two. See [`crate::limits::RATE_SHARDS_PER_CORE`].
    pub shards: usize,
    /// Clients on record at one time, at least one a shard. Each shard has an equal part, so by chance the first shard
    /// is full a little before the whole table is.
    pub clients_max: usize,
    /// Bytes for the stamps of all clients; at least one slab of 16 KiB.
    pub stamp_bytes_max: usize,
}

/// The charge for a request, which can be increased or refunded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The charged client.
    pub client: ClientKey,
    /// Standing by which the client has its place.
    pub standing: Standing,
    /// Time of the charge, from [`Decision::Admitted`].
    pub stamp_ns: u64,
    /// Bytes in total.
    pub bytes: u64,
}

/// Limits the admissions and bytes of every client in any window. Shared by reference between all cores.
#[derive(Debug)]
pub struct Limiter {
    common: Common,
    shards: Box<[Shard]>,
    /// The shard that the next call of the maintenance processes.
    tended: AtomicUsize,
    table_bytes: usize,
}

/// 128 bytes apart, because the prefetcher of x86-64 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    table: Mutex<Table>,
    /// The number in the table, readable without the lock.
    clients: AtomicUsize,
}

impl Limiter {
    /// A limiter without clients on record. Allocates all memory but that of the stamps at once.
    ///
    /// # Panics
    /// `setup` breaks a bound that its fields state.
    #[must_use]
    pub fn new(setup: LimiterSetup) -> Self {
        let LimiterSetup { limit, bytes_limit, names_limit, window_ns, shards, clients_max, stamp_bytes_max } = setup;
        assert!(limit <= RATE_LIMIT_CAP, "limit {limit}: at most {RATE_LIMIT_CAP}");
        assert!(limit > 0 || bytes_limit > 0, "no limit is no limiter");
        assert!(window_ns > 0, "a window has a length");
        assert!(shards.is_power_of_two(), "{shards} shards: not a power of two");
        assert!(clients_max >= shards, "{clients_max} clients in {shards} shards: less than one a shard");
        assert!((SLAB_BYTES..=BUDGET_BYTES_CAP).contains(&stamp_bytes_max), "{stamp_bytes_max} bytes for stamps");
        let clients_per_shard = clients_max / shards;
        let shard = || Shard { table: Mutex::new(Table::new(clients_per_shard)), clients: AtomicUsize::new(0) };
        let common = Common {
            rule: Rule { limit, window_ns, bytes_limit },
            budget: StampBudget::new(stamp_bytes_max),
            names: Names::new(clients_max, names_limit),
        };
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            tended: AtomicUsize::new(0),
            table_bytes: shards * (size_of::<Shard>() + slots_for(clients_per_shard) * SLOT_BYTES)
                + common.names.bytes(),
            common,
        }
    }

    /// Decides on one request of `key` that arrived at `now_ns`, by a monotonic clock that all cores share. A `now_ns`
    /// before one that the shard has already seen counts as that one.
    #[inline]
    pub fn admit(&self, key: ClientKey, now_ns: u64) -> Decision {
        self.charge(key, || Standing::PROVEN, 0, now_ns)
    }

    /// As [`admit`](Self::admit), for a request with a known cost of `bytes`. `standing` is called if the client is not
    /// on record.
    #[inline]
    pub fn charge(&self, client: ClientKey, standing: impl FnOnce() -> Standing, bytes: u64, now_ns: u64) -> Decision {
        self.decide(client, standing, Cost { is_request: true, bytes }, now_ns, || ())
    }

    /// Charges `bytes` more to a request that was charged before, and adds them to `charge` if they are admitted.
    #[inline]
    pub fn charge_bytes(&self, charge: &mut Charge, bytes: u64, now_ns: u64) -> Decision {
        let cost = Cost { is_request: false, bytes };
        let decision = self.decide(charge.client, || charge.standing, cost, now_ns, || ());
        if matches!(decision, Decision::Admitted { .. }) {
            charge.bytes += bytes;
        }
        decision
    }

    /// Refunds a charge, as far as it still counts: for a request that was refused for a reason that is not its
    /// client's. In the one order of all decisions, those after it are made as if the request had never been admitted.
    /// To be called once for each charge.
    pub fn refund(&self, charge: Charge, now_ns: u64) {
        let cost = Cost { is_request: true, bytes: charge.bytes };
        self.shards[self.shard_of(charge.client)].lock().refund(
            charge.client,
            cost,
            charge.stamp_ns,
            now_ns,
            &self.common,
        );
    }

    /// The standing of a name of `address`.
    #[inline]
    pub fn named(&self, address: ClientKey) -> Standing {
        self.common.names.standing(address)
    }

    /// As [`charge`](Self::charge), and calls `witness` while the shard's lock is held: tests derive from it the one
    /// order in which all decisions were made.
    pub(super) fn decide(
        &self,
        key: ClientKey,
        standing: impl FnOnce() -> Standing,
        cost: Cost,
        now_ns: u64,
        witness: impl FnOnce(),
    ) -> Decision {
        let shard = &self.shards[self.shard_of(key)];
        let mut table = shard.lock();
        let clients = table.clients();
        let decision = table.charge(key, standing, cost, now_ns, &self.common);
        if table.clients() != clients {
            shard.clients.store(table.clients(), Ordering::Relaxed);
        }
        witness();
        decision
    }

    /// Checks the next [`RATE_FORGET_SLOTS`] slots of one shard, each time of another, and forgets the idle clients
    /// there, at `now_ns` as in [`admit`](Self::admit). Called by the tick of each reactor: new clients free their
    /// slots without it, but when none arrive, this returns the memory.
    pub fn forget_idle(&self, now_ns: u64) {
        let shard = &self.shards[self.tended.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1)];
        let mut table = shard.lock();
        table.forget_idle(now_ns, RATE_FORGET_SLOTS, &self.common);
        shard.clients.store(table.clients(), Ordering::Relaxed);
    }

    /// Clients on record, some of which may be idle and not yet forgotten. Takes no lock; shards are read one after
    /// another.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.shards.iter().map(|shard| shard.clients.load(Ordering::Relaxed)).sum()
    }

    /// Bytes held: the fixed tables, and the current slabs of stamps.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table_bytes + self.common.budget.taken_bytes()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash are as good as all of them")]
    fn shard_of(&self, key: ClientKey) -> usize {
        key.words()[0] as usize & (self.shards.len() - 1)
    }
}

impl Shard {
    /// Takes the standard library's lock: a compare-and-swap when it is free, a hundred spins when it is not, then a
    /// futex wait. It is held for less than a decision takes, 10 to 20 ns on one core, by pinned threads that share
    /// their core with no other, so a wait should end within the spins. If the holder is preempted after all, a
    /// spinning lock would occupy its waiters' cores until the holder is scheduled again; sleeping is right then, and
    /// costs one wake-up of some 30 us.
    ///
    /// The reason for a lock: `benchmark_limiter` on two noisy virtual cores, medians in ns/decision on one core and on
    /// each of two that do nothing else, with a lock-free ring of stamps per client in brackets: one client of its own
    /// 17/17 (12/12), 500 of its own 19/40 (9/10), one shared and admitted 15/93 to 127 (11/126 to 185), one shared and
    /// refused 11/70 (3/3). So the lock-free ring is faster except where two cores admit the same client, and there the
    /// ranges overlap. But it is timed without the table it would need, in which slots would have to be reclaimed under
    /// concurrent readers, and it holds 8 bytes x limit for each client, used or not. It would save at most 30 ns a
    /// decision, or 70 while two cores do nothing but refuse the same client: under 1 % and under 2 % of a request of 4
    /// us.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no thread panicked while it held a shard")
    }
}

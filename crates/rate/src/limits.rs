//! The bounds of the limiter: the unit and the reason of each. Configurable values are in the server's configuration.

/// One mebibyte.
const MIB: usize = 1024 * 1024;

/// Cap of `--rate-limit`, in admissions per client and window. One client at the cap holds 10,000,000 stamps x 64/7
/// bytes = 87 MiB of the budget below.
pub const RATE_LIMIT_CAP: u32 = 10_000_000;
/// Default of `--ipv6-prefix`, in bits: the size of one network at a site (RFC 6177), all of which one host can use.
pub const IPV6_PREFIX_DEFAULT: u8 = 64;
/// Chunks of seven stamps that a refund searches, from the newest: 1,792 admissions of one client. An older charge
/// stays until its window has passed.
pub const RATE_REFUND_CHUNKS_MAX: usize = 256;
/// Part of the limiter's table that is reserved for proven clients, against names that anybody can invent: one in so
/// many places.
pub const RATE_PLACES_KEPT_PART: usize = 4;
/// Length of the sliding window, in nanoseconds: limits are per second.
pub const RATE_WINDOW_NS: u64 = 1_000_000_000;
/// Shards of the limiter for each core, before rounding up to a power of two. A decision takes 15 to 19 ns on one
/// thread (`benchmark_limiter`), out of the 5 us of a request, so with 8 shards a core another core seldom finds one
/// held.
pub const RATE_SHARDS_PER_CORE: usize = 8;
/// Bytes for the stamps of all clients together. Over it: 503. Every client at its limit would be clients x limit x
/// 64/7 (8 bytes a stamp, 7 in a chunk of 64): at 65,536 clients of 10,000 a second 5.6 GiB, which no machine can be
/// required to hold and none can fill, since only admissions of the last second count: 256 MiB are 29 million of them.
pub const RATE_STAMP_BYTES_MAX: usize = 256 * MIB;
/// Slots that are checked for idle clients to forget whenever a new one arrives. A table has at most 8/3 slots a
/// client, so with four the hand completes a lap before as many clients have arrived as the table holds, and the table
/// cannot fill with idle ones.
pub const RATE_HAND_SLOTS: usize = 4;
/// Slots that are checked instead when a new client finds its shard full: 64 x 64 bytes in a row, about 100 ns.
pub const RATE_HAND_SLOTS_FULL: usize = 64;
/// Slots that one call of `Limiter::forget_idle` checks: 256 x 64 bytes = 16 KiB, under a microsecond.
pub const RATE_FORGET_SLOTS: usize = 256;
/// Allow and deny events that one core's ring holds; a power of two. Over it the event is dropped and counted. Three
/// million decisions a second (0.34 us each, pipelined) for 10 ms between two drains; 32 bytes each, 1 MiB a core.
pub const RATE_EVENTS_PER_RING: usize = 32_768;
/// Clients with totals of their own. Any client with more than 1/1,024 of all events is among them.
pub const TOP_CLIENTS_MAX: usize = 1_024;
const _: () = assert!(RATE_LIMIT_CAP as usize / 7 * 64 < RATE_STAMP_BYTES_MAX, "one client at the cap fits the budget");
const _: () = assert!(RATE_EVENTS_PER_RING.is_power_of_two());

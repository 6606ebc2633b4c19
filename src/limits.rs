//! Every bound of the server: its unit, its reason, and where several must fit together, the assertion that they do.
//! `_MAX` is fixed at compile time; what an operator may set is in `config.rs`, with the defaults and caps from here.

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

// ---- HTTP ----------------------------------------------------------------------------------------------------------

/// Bytes of a request's head: request line, headers and the empty line. Over it: 431. nginx takes 8 KiB a line and 32 in
/// all, Apache 8 KiB a line; agents send well under 1 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Header lines of one request. Over it: 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of one chunk-size line of a chunked body, extensions and line end included. Over it: 400.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of the trailer section of a chunked body. Over it: 431.
pub const TRAILER_BYTES_MAX: usize = 4 * KIB;
/// Empty lines skipped before a request line (RFC 9112, 2.2 asks for at least one). Over it: 400.
pub const LEADING_EMPTY_LINES_MAX: usize = 4;
/// Bytes read and thrown away after an early refusal, so that the peer can read the answer before the connection ends.
pub const LINGER_BYTES_MAX: usize = 4 * MIB;
/// Requests answered for one connection before the others get their turn.
pub const REQUESTS_PER_TURN_MAX: usize = 64;
/// Default bound of a body, before and after decompression.
pub const BODY_BYTES_DEFAULT: usize = 4 * MIB;
/// Cap of what `--max-body` may ask for: the ring must be able to take one whole batch (see `RING_BYTES_MIN`).
pub const BODY_BYTES_CAP: usize = 64 * MIB;
/// Bytes a zstd frame's window may ask for: log2. 8 MiB is what RFC 8878 recommends decoders to support at least.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

// ---- metrics -------------------------------------------------------------------------------------------------------

/// Default bound of metrics in one batch.
pub const BATCH_METRICS_DEFAULT: usize = 1_000;
/// Default bound of a metric's name, in bytes of UTF-8 after unescaping.
pub const NAME_BYTES_DEFAULT: usize = 255;
/// Default bound of tags on one metric. Repeated keys are found by comparing each pair, so this bounds that work.
pub const TAGS_DEFAULT: usize = 128;
/// Depth of nesting in a document: objects and arrays, ignored fields included.
pub const JSON_DEPTH_MAX: usize = 64;

// ---- rate limits ---------------------------------------------------------------------------------------------------

/// Cap of what `--rate-limit` may ask for, in admissions per client and window. One client at the cap holds
/// 10,000,000 stamps x 64/7 bytes = 87 MiB of the budget below.
pub const RATE_LIMIT_CAP: u32 = 10_000_000;
/// Length of the sliding window, in nanoseconds: limits are per second.
pub const RATE_WINDOW_NS: u64 = 1_000_000_000;
/// Shards of the limiter for each core, before rounding up to a power of two. A core that decides every 4 us holds a lock
/// for some 50 ns of it, 1.3 % of the time; with 8 shards a core, another core finds it held once in 600 decisions.
pub const RATE_SHARDS_PER_CORE: usize = 8;
/// Clients on record at one time. Over it, once no idle one is found to forget: 503. The table is fixed: 64 bytes a slot and
/// two slots a client, 65,536 x 2 x 64 = 8 MiB.
pub const RATE_CLIENTS_MAX: usize = 65_536;
/// Bytes for the stamps of all clients together. Over it: 503. Every client at its limit would be clients x limit x 64/7
/// (8 bytes a stamp, 7 in a chunk of 64): at 65,536 clients of 10,000 a second 5.6 GiB, which no machine can be asked to
/// hold and none can fill, since only admissions of the last second count: 256 MiB are 29 million of them.
pub const RATE_STAMP_BYTES_MAX: usize = 256 * MIB;
/// Slots that are looked at for idle clients to forget whenever a new one comes. A table has at most 8/3 slots a client, so
/// with four the hand is round before as many have come as there is room for, and the table cannot fill with the idle.
pub const RATE_HAND_SLOTS: usize = 4;
/// Slots that are looked at instead when a new client finds its shard full: 64 x 64 bytes in a row, about 100 ns.
pub const RATE_HAND_SLOTS_FULL: usize = 64;
/// Slots that one call of `Limiter::tend` looks at: 256 x 64 bytes = 16 KiB, under a microsecond.
pub const RATE_TEND_SLOTS: usize = 256;
/// Allow and deny events that one core's ring holds; a power of two. Over it the event is dropped and counted. Three million
/// decisions a second (0.34 us each, pipelined) for 10 ms between two drains; 24 bytes each, 768 KiB a core.
pub const RATE_EVENTS_PER_RING: usize = 32_768;
/// Clients with totals of their own in the ledger. Any client with more than 1/1,024 of all events is among them.
pub const RATE_LEDGER_CLIENTS_MAX: usize = 1_024;

const _: () = assert!(RATE_LIMIT_CAP as usize / 7 * 64 < RATE_STAMP_BYTES_MAX, "one client at the cap fits the budget");
const _: () = assert!(RATE_EVENTS_PER_RING.is_power_of_two());

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

// ---- log -----------------------------------------------------------------------------------------------------------

/// Default bytes of one reactor's ring to the writer. A writer held up for 10 ms at 1 GB/s of lines loses nothing. Twice
/// as much address space is taken (`log::ring` says why), and memory only as it is used.
pub const RING_BYTES_DEFAULT: usize = 16 * MIB;
/// Smallest ring that may be configured. Whatever the size, a ring must hold twice the body limit: a batch is reserved
/// whole, and its lines are longer than its body by a time stamp and the defaults that each metric left out.
pub const RING_BYTES_MIN: usize = 64 * KIB;
/// Largest ring that may be configured.
pub const RING_BYTES_CAP: usize = 1024 * MIB;
const _: () = assert!(RING_BYTES_DEFAULT >= 2 * BODY_BYTES_DEFAULT && RING_BYTES_CAP >= 2 * BODY_BYTES_CAP);
const _: () = assert!(RING_BYTES_MIN.is_power_of_two() && RING_BYTES_DEFAULT.is_power_of_two());

/// Rings gathered into one `writev(2)`: two pieces each, as a ring's bytes may wrap around its end.
pub const RINGS_PER_GATHER_MAX: usize = 64;
/// The kernel's bound of pieces in one `writev(2)` (`IOV_MAX`, limits.h(0p); UIO_MAXIOV on Linux).
pub const GATHER_PIECES_KERNEL_MAX: usize = 1024;
const _: () = assert!(2 * RINGS_PER_GATHER_MAX <= GATHER_PIECES_KERNEL_MAX);

/// How long the writer looks at its rings before it sleeps, by default. Waking it costs 26 to 35 us and 6.5 to 11.5 us of
/// the waker's time: looking for about as long as a wake-up takes is never worse than twice the best choice.
pub const POLL_BEFORE_SLEEP_US_DEFAULT: u64 = 50;
/// First wait before a write is tried again on a full disk; it doubles up to [`STALL_RETRY_MS_MAX`].
pub const STALL_RETRY_MS_FIRST: u64 = 100;
/// Longest wait before a write is tried again on a full disk: how long the server needs to notice that there is room.
pub const STALL_RETRY_MS_MAX: u64 = 1_000;
/// How long a draining server waits for room on a full disk before it gives up and says what was lost.
pub const STALL_MS_AT_DRAIN_MAX: u64 = 5_000;

/// Bytes read at a time when the end of the log is searched for its last whole line.
pub const TAIL_BLOCK_BYTES: usize = 64 * KIB;
/// Names tried for the file that keeps what recovery cuts off: one a second is taken, unless recovery itself is
/// interrupted again and again.
pub const SET_ASIDE_NAMES_MAX: u32 = 100;

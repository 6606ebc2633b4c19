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

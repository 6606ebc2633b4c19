//! The bounds of HTTP: the unit and the reason of each, and where several must fit together, the assertion.

/// One kibibyte.
pub(crate) const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

/// Bytes of a request's head: request line, headers and the empty line. Over it: 431. nginx takes 8 KiB a line and 32
/// in all, Apache 8 KiB a line; agents send well under 1 KiB.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Header lines of one request. Over it: 431.
pub const HEADERS_MAX: usize = 64;
/// Bytes of one chunk-size line of a chunked body, extensions and line end included. Over it: 400.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;
/// Bytes of all chunk extensions of one body. They mean nothing here, and cost as much as data. Over it: 400.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * KIB;
/// Bytes of the trailer section of a chunked body. Over it: 431.
pub const TRAILER_BYTES_MAX: usize = 4 * KIB;
/// Empty lines skipped before a request line (RFC 9112, 2.2 requires at least one). Over it: 400.
pub const LEADING_EMPTY_LINES_MAX: usize = 4;
/// Bytes read and thrown away after an early refusal, so that the peer can read the response before the connection
/// ends.
pub const LINGER_BYTES_MAX: usize = 4 * MIB;
/// Requests served for one connection before the others get their turn.
pub const REQUESTS_PER_TURN_MAX: usize = 64;
/// Bytes of content handed to the service for one connection before the others get their turn; the request that goes
/// over it is the last. 64 small bodies that each decompress to 4 MiB would hold the core for a good part of a second.
pub const CONTENT_BYTES_PER_TURN_MAX: usize = MIB;
/// Work that a request counts as besides its content: 2 us, in which 1 KiB or two are parsed. So a turn has 4,096
/// requests at most.
pub const REQUEST_WORK_BYTES: usize = KIB;
/// Bytes that may wait unread for the responses before them to be sent; at it, receiving pauses. What one delivery
/// brings on top is taken all the same.
pub const INBOX_BYTES_MAX: usize = 64 * KIB;
// A head that is not yet complete waits there, and must never be what pauses its own connection.
const _: () = assert!(INBOX_BYTES_MAX > HEAD_BYTES_MAX);
/// Bytes of a body that are read and thrown away to keep a connection whose request was refused by its head alone. With
/// more to come the connection ends instead.
pub const DISCARD_BYTES_MAX: usize = 64 * KIB;
/// Capacity of a buffer worth keeping for the next connection. A batch of 1,000 metrics is about 100 KB.
pub const BUFFER_KEPT_BYTES_MAX: usize = 256 * KIB;
/// Buffers kept for the next connection, in each core: their number, and their capacity in all.
pub const BUFFERS_KEPT_MAX: usize = 1024;
/// See [`BUFFERS_KEPT_MAX`].
pub const BUFFERS_KEPT_BYTES_MAX: usize = 4 * MIB;
/// Capacity each core keeps for decompressed bodies between requests.
pub const DECODED_KEPT_BYTES_MAX: usize = MIB;
/// gzip members or zstd frames in one body: starting one costs time even when it is empty. bgzip makes one for every
/// 64 KiB, which is 1024 of them in `BODY_BYTES_CAP`.
pub const CONTENT_MEMBERS_MAX: usize = BODY_BYTES_CAP / (64 * KIB);
/// Cap of `--max-body`: the ring must be able to take one whole batch (see `RING_BYTES_MIN`).
pub const BODY_BYTES_CAP: usize = 64 * MIB;
/// Bytes a zstd frame's window may have: log2. 8 MiB is what RFC 8878 recommends decoders to support at least.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes of memory that one reactor holds for its peers, over all its connections and by capacity: heads and bodies
/// being received, what is buffered while responses are outstanding, responses, what the driver keeps for paused
/// connections, and the decompressors. Each is reserved before it grows. Over it the address that holds the most gives
/// way (`shard::crowd`), and what still does not fit is refused with 503. Without this bound 10,000 connections could
/// hold 10,000 x 4 MiB = 40 GiB.
pub const HELD_BYTES_MAX: usize = 256 * MIB;
/// Bytes of it set aside for the decompressors of one reactor beside their output: 41 KiB for zlib, and for zstd a
/// window of 8 MiB with its margin and its tables, which take 0.3 MiB.
pub const DECODER_BYTES_MAX: usize = 9 * MIB;
const _: () = assert!(HELD_BYTES_MAX >= 4 * BODY_BYTES_CAP && DECODER_BYTES_MAX > (1 << ZSTD_WINDOW_LOG_MAX));
/// Bytes of one response without a document: a burst that has no memory for another ends with the one before.
pub const RESPONSE_BYTES: usize = 512;
/// Bytes of one piece of a response whose length is not known when it begins. With its framing as a chunk it fills 64
/// KiB; a size of five digits would not be more of a piece.
pub const PIECE_BYTES_MAX: usize = 64 * KIB - 13;
/// Seconds of `Retry-After` in a 503: what fills up here (a ring, the disk) drains, or does not, within about that
/// time.
pub const RETRY_AFTER_S: u32 = 1;
/// Fields of one name, `Forwarded` or `X-Forwarded-For`, that are kept of a request: the last ones.
pub const FORWARDED_FIELDS_MAX: usize = 4;
/// `tracestate` fields of one request that are read; each proxy on the way may have added one.
pub const TRACESTATE_FIELDS_MAX: usize = 4;
/// Heads of requests that a core remembers, to parse none of them twice: one for each client of some load, or for each
/// kind of agent. All of them take some 45 KiB.
pub const HEADS_KNOWN_MAX: usize = 32;
/// Bytes of a head that is remembered, at most; those of agents take 100 to 400.
pub const HEAD_KNOWN_BYTES_MAX: usize = 512;
/// Fields of a head that is remembered, at most.
pub const HEAD_FIELDS_KNOWN_MAX: usize = 16;

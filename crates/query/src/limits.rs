//! The bounds of scans and queries: the unit and the reason of each. What may be set is in the server's configuration.

/// One kibibyte.
const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

/// Cap of a scan's workers. Each has a block in memory, and a frame; or the longest line that it meets.
pub const SCAN_THREADS_CAP: usize = 256;
/// Tries to take a snapshot while segments are sealed, a millisecond after each but the first. Between the two renames
/// of a rotation there is no active segment; a second of that is not a rotation.
pub const SNAPSHOT_TRIES_MAX: u32 = 1_000;
/// Bytes of sidecars that a source keeps parsed between scans: those of about 50 GiB of log with 300 names in each
/// block.
pub const SCAN_SIDECARS_BYTES_MAX: usize = 64 * MIB;
/// Sealed segments whose time ranges a source keeps whether or not it keeps their sidecars: about 100 bytes each.
pub const SCAN_SEGMENTS_MAX: usize = 65_536;
/// Zone maps that a source keeps, one for each file without a sidecar: the active one, and some that were just sealed.
pub const SCAN_ZONE_MAPS_MAX: usize = 4;
/// Bytes of one zone map: those of 4 GiB of log with 1,024 names in each block. Blocks beyond are read by each scan.
pub const SCAN_ZONE_MAP_BYTES_MAX: usize = 16 * MIB;
/// Bytes of a query's parameters, those in the URL and those in a form together. In a URL the head's bound holds first;
/// a form of this size names 30,000 hosts.
pub const QUERY_PARAMETERS_BYTES_MAX: usize = MIB;
/// Parameters of one query. A tag that may be any of many comes as often.
pub const QUERY_PARAMETERS_MAX: usize = 64 * 1024;
/// Filters by tags in one query: each is looked at for each spelling of tags. What a tag may be, however much that is,
/// is one, and so is what it may not be; each expression is one.
pub const QUERY_FILTERS_MAX: usize = 64;
/// Keys in `by`: as many as a metric has tags, by default.
pub const QUERY_BY_KEYS_MAX: usize = metric::limits::TAGS_DEFAULT;
/// Regular expressions in one query, lists of literals not counted.
pub const QUERY_PATTERNS_MAX: usize = 9;
/// Bytes of their texts together. Compiling 16 KiB of classes without regard to case takes 0.8 s, this 0.4 s.
pub const QUERY_PATTERN_TEXT_BYTES_MAX: usize = 8 * KIB;
/// Bytes of an automaton's memory of states: one for each expression and thread. With more states, it forgets all and
/// begins anew.
pub const QUERY_PATTERN_CACHE_BYTES: usize = MIB;
/// Steps of a regular expression, states by bytes of text, between two looks at the deadline: 10 ns each, so a
/// millisecond.
pub const QUERY_PATTERN_STEPS_BETWEEN_LOOKS: usize = 128 * 1024;
/// Values that are compared, merged or turned into points between two looks at the deadline. Sorting as many takes
/// milliseconds.
pub const QUERY_STEPS_BETWEEN_LOOKS: usize = 16 * 1024;
/// Columns of a result in CSV: each row has all of them.
pub const QUERY_COLUMNS_MAX: usize = 1_024;
/// Bytes of one regular expression when compiled. `\w` of all of Unicode takes 12 KB; compiling up to the bound takes
/// milliseconds.
pub const QUERY_PATTERN_BYTES_MAX: usize = 256 * KIB;
/// Time range of a query without `from`: the hour before `to`.
pub const QUERY_RANGE_DEFAULT_MS: i64 = 3_600_000;
/// Series in a result, and names or values in one of discovery, by default. Over it: 422.
pub const QUERY_SERIES_DEFAULT: usize = 262_144;
/// Points in a result, by default. One is about 30 bytes of JSON. Over it: 422.
pub const QUERY_POINTS_DEFAULT: usize = 1_000_000;
/// Bytes that one query may hold while it is evaluated, over all its threads, by default: series, buckets, and the
/// samples that rates (16 bytes each) and percentiles (8 each) need one by one. Over it: 422.
pub const QUERY_HELD_BYTES_DEFAULT: usize = 512 * MIB;
/// Bytes of lines that one query may scan, by default: 1 TiB, minutes of work for one core. Over it: 422.
pub const QUERY_SCANNED_BYTES_DEFAULT: u64 = 1 << 40;
/// Spellings of tags whose series each thread of a query remembers: a hit saves reading the tags again. With more, it
/// forgets all and begins anew.
pub const QUERY_TAGS_REMEMBERED_MAX: usize = 131_072;
/// Bytes of these spellings in each thread: 256 for each, at the bound of their number.
pub const QUERY_TAGS_REMEMBERED_BYTES_MAX: usize = 32 * MIB;
/// Bytes of a response's body that are handed on at a time.
pub const QUERY_PIECE_BYTES: usize = 64 * KIB;

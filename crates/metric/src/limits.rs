//! The bounds of a batch: the unit and the reason of each. The server's configuration says how far they may be raised.

/// One mebibyte.
const MIB: usize = 1024 * 1024;

/// Default bound of metrics in one batch.
pub const BATCH_METRICS_DEFAULT: usize = 1_000;
/// Default bound of a metric's name, in bytes of UTF-8 after unescaping.
pub const NAME_BYTES_DEFAULT: usize = 255;
/// Default bound of tags on one metric.
pub const TAGS_DEFAULT: usize = 128;
/// Milliseconds from the time of arrival from which on a timestamp counts as far from now: a day, which is over every
/// time zone and any clock that is kept. It is stored and counted: a backfill is no fault.
pub const TIMESTAMP_FAR_MS: u64 = 24 * 3_600 * 1_000;
/// Default bound of a tag's key, and of its value, in bytes of UTF-8 after unescaping. Tags are texts that queries
/// compare and match; a megabyte of text in one is a mistake, or an attack on the queries.
pub const TAG_BYTES_DEFAULT: usize = MIB;
/// Depth of nesting in a document: objects and arrays, ignored fields included.
pub const JSON_DEPTH_MAX: usize = 64;
/// Members of an agent's JSON object whose bytes are kept while the next object is read, at most: collectd's have 11
/// and Datadog's 7. Of an object with more, none is.
pub const JSON_MEMBERS_KEPT_MAX: usize = 32;
/// Shapes of metrics that a core's JSON parser expects, at most: an agent has one for each set of tag keys and each
/// type. Each takes some 1.3 KiB, whatever it holds.
pub const SHAPES_MAX: usize = 64;
/// Slots of a shape, at most: name, value, timestamp and 20 tags. A metric with more is read by the grammar alone.
pub const SHAPE_SLOTS_MAX: usize = 23;
/// Parts of a shape of up to 16 bytes, at most: some 600 bytes of keys and punctuation.
pub const SHAPE_STEPS_MAX: usize = 40;
/// Metrics in one request of any protocol but JSON, at most: vmagent sends 10,000 samples, Telegraf 1,000 lines of up
/// to 20 fields, and the OTLP SDK a whole collection unsplit. An agent takes a refusal for a permanent loss.
pub const PROTOCOL_METRICS_MAX: usize = 100_000;
/// Bytes of the name and tags of one series of any protocol but JSON, as the log spells them: a table of symbols lets a
/// body of 32 MiB refer to a tag of one mebibyte 128 times in each series.
pub const SERIES_BYTES_MAX: usize = MIB;
/// Bytes that a core's series keeps between bodies: 128 tags of 500 bytes.
pub const SERIES_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Bytes that a core's decoder of line protocol keeps between bodies, besides its series: a line of 1,000 fields of
/// some 50 bytes each.
pub const INFLUX_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Entries in each list of a native histogram (its buckets on one side, their spans, its own bounds), at most: 25 times
/// the 160 buckets that instrumentation libraries keep by default. All lines of a body count against
/// [`PROTOCOL_METRICS_MAX`].
pub const HISTOGRAM_BUCKETS_MAX: usize = 4_096;
/// Symbols in the table of one remote write 2.0 request, at most: ten texts of its own for each of
/// [`PROTOCOL_METRICS_MAX`] metrics, and 10 MiB of scratch. An empty one takes two bytes of a body.
pub const SYMBOLS_MAX: usize = 1 << 20;
/// Bytes of scratch that a core's remote write decoder keeps between bodies: 24,000 symbols, and a histogram of 500
/// buckets.
pub const REMOTE_WRITE_KEPT_BYTES_MAX: usize = 256 * 1024;
/// Series whose spelling a core's decoder of remote write keeps between bodies, at most, and those of line protocol,
/// text, OTLP, collectd and Datadog: those of five node exporters, or of any number that differ in their `instance` (or
/// `host`, or OTLP resource) alone. Each takes 512 bytes, from its first body on, and of remote write 2.0
/// another 128 for each of [`SYMBOL_TABLES_MAX`]: its references into that table.
pub const SERIES_CACHED_MAX: usize = 4_096;
/// States that the meaning of such a series depends on, at most: sets of keys of the tags that a request (or, in OTLP,
/// a resource) puts before its own. A fleet's requests have one or two.
pub const GENERATIONS_MAX: usize = 16;
/// Bytes of such a state, at most: 40 keys.
pub const GENERATION_BYTES_MAX: usize = 1_024;
/// Texts of labels that a core's remote write decoder numbers, at most; once all are taken it begins anew. Those of
/// [`SERIES_CACHED_MAX`] series have two of their own each.
pub const LABEL_TEXTS_MAX: usize = 8_192;
/// Bytes of these texts, at most: 64 for each.
pub const LABEL_TEXTS_BYTES_MAX: usize = 512 * 1024;
/// Tables of symbols that a core's remote write 2.0 decoder keeps, to find the next body with an equal one, at most: an
/// agent has one for each request of a scrape, and those of a fleet of equal hosts the same. Each is compared up to the
/// first byte that differs: one that differs from all of them in its last symbol alone costs 0.46 ns a byte more, where
/// the bytes of real bodies cost 0.6 to 0.9 (`docs/benchmarks.md`).
pub const SYMBOL_TABLES_MAX: usize = 16;
/// Bytes of a table that is kept, at most: those of 2,000 series of one target are half as long.
pub const SYMBOL_TABLE_BYTES_MAX: usize = 128 * 1024;
/// Symbols of a table that may be others in the next one, at most: the targets of a request have one each.
pub const GAP_SYMBOLS_MAX: usize = 64;
/// Depth of arrays and maps within the value of an OTLP attribute, at most. Real ones have one or two levels.
pub const OTLP_VALUE_DEPTH_MAX: usize = 16;
/// Bytes of tags copied for those OTLP points of a body that are rejected afterwards; beyond, it is refused. Each of
/// 100,000 such points may have its resource's 600 bytes.
pub const OTLP_WASTED_BYTES_MAX: usize = 64 * MIB;
/// Bytes of each scratch buffer that an OTLP decoder keeps between bodies.
pub const OTLP_SCRATCH_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Families of a text exposition whose type is remembered, at most; a node exporter has some 300, and a large
/// Kubernetes exporter some 1,000. Samples that follow their own `# TYPE` line have its type beyond it too.
pub const TEXT_FAMILIES_MAX: usize = 16_384;
/// Places of a text line at which the next line may go on, at most; what is behind the last one is read again. Each has
/// 40 bytes and stands for at least four bytes of the line.
pub const TEXT_PLACES_MAX: usize = 64;
/// Bytes that a core's decoder of text keeps between bodies besides its series: some 1,500 families.
pub const TEXT_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Grouping labels in a push gateway's path, at most: each is compared with those before it.
pub const GROUP_LABELS_MAX: usize = 64;

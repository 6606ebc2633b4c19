//! The bounds of the server: the unit and the reason of each, and where several must fit together, the assertion.
//! Each crate has its own beside its code; where one must fit another, the assertion is here.
//! `_MAX` is fixed at compile time; what an operator may set is in `config.rs`, with the defaults and caps from here.

use std::time::Duration;

/// One kibibyte.
pub const KIB: usize = 1024;
/// One mebibyte.
pub const MIB: usize = 1024 * KIB;

// ---- HTTP ----------------------------------------------------------------------------------------------------------

/// Work of one turn over all connections of a core, in bytes of content: 2 MiB are parsed in some 2 ms and inflated in
/// 5. What arrives beyond it waits for the next turn.
pub const TURN_WORK_BYTES_MAX: usize = 2 * MIB;
/// Work of one visit of a connection, in bytes of content, up to which it is light: among connections that wait for a
/// turn those go first. 16 requests in a pipeline and their small bodies are about as much.
pub const LIGHT_WORK_BYTES_MAX: usize = 32 * KIB;
/// Time in which all connections of an address count as heavy after one of them had heavy work.
pub const HEAVY_NS: u64 = 1_000_000_000;
/// Default bound of a body, before and after decompression.
pub const BODY_BYTES_DEFAULT: usize = 4 * MIB;

/// Bytes of one header of the PROXY protocol. Over it: 400. Version 1 has at most 107; version 2 has 536 in practice
/// (its specification, 2.2), and more only for a client's certificate.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * KIB;
/// Networks of `--trusted-proxies`. Each is compared with at every hop of a forwarded request; the largest lists that
/// clouds publish of their proxies have about 200.
pub const TRUSTED_PROXIES_MAX: usize = 256;
/// Proxies behind each other that are followed from the last one to the client.
pub const FORWARDED_HOPS_MAX: usize = 16;

// ---- metrics -------------------------------------------------------------------------------------------------------

/// Metrics: cap of `--max-batch`. The shortest metric is 23 bytes of JSON, so a body of 64 MiB, the cap of
/// `--max-body`, holds at most some three million.
pub const BATCH_METRICS_CAP: usize = 1_000_000;
/// Bytes: cap of `--max-name`. A name is repeated in every line of its series, so a longer one multiplies the log.
pub const NAME_BYTES_CAP: usize = 64 * KIB;
/// Bytes: cap of `--max-tag-value`. No tag can be longer than the body that contains it.
pub const TAG_BYTES_CAP: usize = http1::limits::BODY_BYTES_CAP;
/// Cap of `--max-tags`. Repeated keys are found through a hash table of at most 104 bytes a tag, one on each core.
pub const TAGS_CAP: usize = 1_024;

// ---- protocols -----------------------------------------------------------------------------------------------------

/// Bytes of a body of any protocol but JSON and OTLP, as sent and decompressed: vmagent sends 10,000 samples of some
/// 200 bytes, and what gets a 413 is lost. Four such bodies fit into the memory for connections.
pub const PROTOCOL_BODY_BYTES_MAX: usize = 32 * MIB;
/// Bytes of an OTLP body: the SDK sends one whole collection unsplit.
pub const OTLP_BODY_BYTES_MAX: usize = 64 * MIB;
const _: () = assert!(OTLP_BODY_BYTES_MAX <= http1::limits::BODY_BYTES_CAP);
/// Bytes of a parameter of InfluxDB's API, decoded, such as the name of a database.
pub const INFLUX_PARAMETER_BYTES_MAX: usize = 256;
/// Seconds of `Retry-After` for InfluxDB's client of version 2 when a batch is shed: five tries then cover a disk that
/// is full for a minute, or a restart. Left alone it waits longer each time.
pub const INFLUX_2_RETRY_AFTER_S: u32 = 15;
/// Nanoseconds between two warnings of a core that timestamps are far from now: a minute. A backfill is no fault, and
/// may go on for hours.
pub const FAR_WARNING_INTERVAL_NS: u64 = 60_000_000_000;
/// Bytes of lines that are reserved for each byte of a body of any protocol but JSON, at first: samples of remote write
/// take three to four times as much as in protobuf. If they take more the body is decoded again with half of the ring
/// reserved, which is the bound.
pub const LINE_BYTES_PER_BODY_BYTE: usize = 4;
/// Bytes of lines that a client may have written for each byte that it is charged. A scrape takes three to five times
/// as many as its body, of any protocol; a body that multiplies (attributes of a resource, tags of many points, symbols
/// that many labels refer to) is charged an eighth of its lines, so that no client's log grows by more than eight times
/// `--rate-limit-bytes`.
pub const LINE_BYTES_PER_CHARGED_BYTE: usize = 8;

// ---- clients -------------------------------------------------------------------------------------------------------

/// Default of `--rate-limit`: requests a client may make in any one second.
pub const RATE_LIMIT_DEFAULT: u32 = 10_000;
/// Clients: cap of `--max-clients`. 2^24 is the number of addresses of an IPv4 /8.
pub const CLIENTS_CAP: usize = 16 * 1024 * 1024;

// ---- connections and reactors --------------------------------------------------------------------------------------

/// Cap of `--reactors`: the writer gathers every ring in one writev(2) of at most IOV_MAX = 1,024 pieces, two a ring.
pub const REACTORS_CAP: usize = 256;
const _: () = assert!(2 * REACTORS_CAP <= 1_024);
/// Seconds for which an address that is in use is tried again at the start: the sockets of a server that was killed
/// live on until the kernel has taken its io_uring apart, some milliseconds after the process is gone, or seconds on a
/// host whose cores are all busy.
pub const LISTEN_WAIT: Duration = Duration::from_secs(10);
/// Milliseconds between two tries of that.
pub const LISTEN_RETRY: Duration = Duration::from_millis(20);
/// Default of `--max-connections`, over all reactors.
pub const CONNECTIONS_DEFAULT: u32 = 10_000;
/// Connections over the bound that one reactor has at one time: each is refused with 503, unless it requests `/health`
/// or `/ready`. From half of them on the oldest that has sent no request yet is refused at once for each that comes. At
/// all of them the reactor stops accepting, and further ones wait in the kernel's backlog until half are gone.
pub const REFUSALS_IN_FLIGHT_MAX: u32 = 64;
/// Connections of `--admin-listen` that one reactor has at one time, beside `--max-connections`: some scrapers, people
/// and scripts. Over it: 503.
pub const ADMIN_CONNECTIONS_MAX: u32 = 16;
/// Time that a connection over the bound may take to request `/health` or `/ready`.
pub const REFUSAL_MS: u64 = 1_000;
/// Silence after which a connection that has sent part of a request may be evicted for others: over its time or its
/// bytes nobody loses more than a request that has to be sent again. Bytes end the silence when they come by
/// [`PROGRESS_BYTES`].
pub const SLOW_NS: u64 = 500_000_000;
/// Bytes that count as progress: a peer that sends less than these in [`SLOW_NS`], 32 KiB a second, is slow.
pub const PROGRESS_BYTES: usize = 16 * KIB;
/// Connections of one address that are looked at to find the one to evict: a miss of the cache each, so 10 us in all.
pub const EVICTION_LOOKS_MAX: usize = 64;
/// Connections evicted to free memory for one delivery.
pub const EVICTIONS_MAX: usize = 16;
/// Bytes that the stack of the main thread may grow to, if its hard limit lets it: what Linux gives by default.
pub const MAIN_STACK_BYTES: u64 = 8 * MIB as u64;
/// Bytes of it without which nothing is begun.
pub const MAIN_STACK_BYTES_MIN: u64 = 256 * KIB as u64;
/// Descriptors set aside for what is not a connection: standard streams, log, state, lock, eventfds, rings, listeners.
pub const DESCRIPTORS_RESERVED: u32 = 64;
/// Descriptors set aside for each reactor beside one for each of its listeners: ring or epoll instance, eventfd, and
/// the connections being refused.
pub const DESCRIPTORS_PER_REACTOR: u32 = 7 + REFUSALS_IN_FLIGHT_MAX;
/// Descriptors set aside for each query thread: the active segment of its snapshot, and a segment and its sidecar.
pub const DESCRIPTORS_PER_QUERY_THREAD: u32 = 4;
/// Default of `--unix-mode`: the server's own user and group may connect.
pub const UNIX_MODE_DEFAULT: u32 = 0o660;
/// Connections the kernel queues at each listener before they are accepted (listen(2); capped by net.core.somaxconn).
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Messages that wait for one reactor in its mailbox: stop, report, deferred responses.
pub const MAILBOX_MESSAGES_MAX: usize = 1_024;
/// Bytes of one shared receive buffer: a batch of 3 metrics takes 0.4 KiB, one of 100 about 14 KiB.
pub const RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
/// Shared receive buffers of one reactor: 512 x 16 KiB = 8 MiB. Each is held only until the turn that delivers it ends.
pub const RECEIVE_BUFFERS: u16 = 512;

/// Default of `--idle-timeout`, in seconds. Longer than the idle timeout of load balancers, which is 60 s for most (AWS
/// ALB, nginx upstreams, GCP): whoever closes first must be the one that sends the requests, else one now and then
/// meets a closed connection.
pub const IDLE_TIMEOUT_DEFAULT_S: u64 = 75;
const _: () = assert!(IDLE_TIMEOUT_DEFAULT_S > 60);
/// Granularity of a core's timers: a deadline fires less than this late. 2,048 ticks a lap of the wheel: 131 s.
pub const TIMER_TICK_MS: u64 = 64;
/// Time for which a connection is kept after its last response for the peer to end it: closing with bytes unread resets
/// the connection, and the peer may lose the response.
pub const LINGER_MS: u64 = 2_000;
/// Empty buffers of responses that one core keeps for the next burst: their capacity in all, and the largest. A
/// response takes 0.2 KiB.
pub const RESPONSE_BUFFERS_KEPT_BYTES_MAX: usize = 4 * MIB;
/// See `RESPONSE_BUFFERS_KEPT_BYTES_MAX`.
pub const RESPONSE_BUFFER_KEPT_BYTES_MAX: usize = 16 * KIB;
/// Capacity of a buffer of responses that an idle connection keeps to itself.
pub const RESPONSE_BUFFER_IDLE_BYTES_MAX: usize = KIB;

// ---- log -----------------------------------------------------------------------------------------------------------

/// Default bytes of one reactor's ring to the writer. A writer held up for 10 ms at 1 GB/s of lines loses nothing.
/// Twice as much address space is taken (`log::ring` says why), and memory only as it is used.
pub const RING_BYTES_DEFAULT: usize = 16 * MIB;
// A body at its cap can be one metric, which gains 65 bytes at most (`metric::encode`): what no reader accepts must not
// be stored.
const _: () = assert!(log::limits::LINE_BYTES_MAX == http1::limits::BODY_BYTES_CAP + 65);
/// Smallest ring that may be configured. Whatever the size, a ring must hold twice the body limit: a batch is reserved
/// whole, and its lines are longer than its body by a time stamp and the defaults that each metric left out.
pub const RING_BYTES_MIN: usize = 64 * KIB;
/// Largest ring that may be configured.
pub const RING_BYTES_CAP: usize = 1024 * MIB;
const _: () =
    assert!(RING_BYTES_DEFAULT >= 2 * BODY_BYTES_DEFAULT && RING_BYTES_CAP >= 2 * http1::limits::BODY_BYTES_CAP);
const _: () = assert!(RING_BYTES_MIN.is_power_of_two() && RING_BYTES_DEFAULT.is_power_of_two());

/// Cap of `--writer-poll`: longer is a core that never sleeps.
pub const WRITER_POLL_CAP: Duration = Duration::from_millis(10);
/// Time that a stop waits, when the connections have ended, for acknowledged batches to be written and synced. More
/// than `STALL_MS_AT_DRAIN_MAX`, and independent of the time that the connections were given: a disk may take a second
/// for its last sync.
pub const LOG_STOP_WAIT: Duration = Duration::from_secs(10);

/// Bytes: default of `--rotate-size`. `verify` reads a segment of 1 GiB in about a second on one core.
pub const ROTATE_BYTES_DEFAULT: u64 = 1 << 30;
/// Least that `--rotate-size` and `--retain-size` may be: sealing a segment costs a few system calls and a sync of the
/// directory.
pub const ROTATE_BYTES_MIN: u64 = 64 << 10;

/// Findings that one check of a log keeps and prints; further ones are counted by kind. About 0.4 KiB each.
pub const FINDINGS_MAX: usize = 1_000;
/// Bytes that are quoted of a damage.
pub const FINDING_EXCERPT_BYTES_MAX: usize = 64;
/// Pieces that a check's threads may be ahead of the earliest that is not finished: what was found in them waits in
/// memory.
pub const CHECK_AHEAD_PIECES_MAX: usize = 1_024;
/// Threads: cap of `verify --threads`, above the hardware threads of a large host of two sockets.
pub const CHECK_THREADS_CAP: usize = 1_024;

/// Smallest ring for batches of at most `batch_bytes_max` encoded bytes: one can be written while the next is encoded.
#[must_use]
pub const fn ring_bytes_min(batch_bytes_max: usize) -> usize {
    (2 * batch_bytes_max).next_power_of_two()
}

// ---- statistics ----------------------------------------------------------------------------------------------------

/// Least time between the beginnings of two renderings of statistics: however many requests there are, 100 a second are
/// made, and each serves all requests that came before it began. A rendering takes less than a millisecond.
pub const RENDER_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Requests for documents that one reactor has with the observer at one time: one of each lane. Connections that ask
/// meanwhile wait for the next, so their number is bounded by that of connections.
pub const DOCUMENT_REQUESTS_PER_REACTOR_MAX: usize = 4;
/// Interval at which memory is given back that nothing has needed since the last time. After twice that nothing is left
/// of a flood.
pub const TRIM_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which the limiter's events are flushed from their rings into the totals of clients.
pub const EVENT_FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time that the histograms distinguish, in nanoseconds: one minute, which is over every timeout but
/// `--body-timeout`'s largest. Longer ones count as that.
pub const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Largest size that the histograms distinguish: no body and no batch is larger.
pub const SIZE_MEASURED_MAX: u64 = http1::limits::BODY_BYTES_CAP as u64;
const _: () = assert!(BATCH_METRICS_CAP <= http1::limits::BODY_BYTES_CAP);
/// A turn of a core that takes longer is counted as a stall: all its connections waited. A turn that serves 64 batches
/// of 1,000 metrics at 0.32 ms each takes 20 ms.
pub const TURN_STALL: Duration = Duration::from_millis(50);
/// Length of the interval that `/stats` shows when no line of statistics is configured.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// Clients that `/stats/clients` lists unless `top` says otherwise; it may request as many as there are totals for.
pub const CLIENTS_SHOWN_DEFAULT: usize = 20;
/// Time that the observer waits for the reactors' reports before it goes on without those that are missing.
pub const REPORT_WAIT: Duration = Duration::from_secs(1);

// ---- live page -----------------------------------------------------------------------------------------------------

/// Points of a second that are kept for a page that opens late: the last 10 minutes.
pub const HISTORY_SECONDS: usize = 600;
/// Points of a minute that are kept for a page that opens late: the last 24 hours.
pub const HISTORY_MINUTES: usize = 1_440;
/// Points in one line of the history, which all streams share: so many go at once when there are too many.
pub const HISTORY_BLOCK_POINTS: usize = 20;
const _: () = assert!(HISTORY_SECONDS.is_multiple_of(HISTORY_BLOCK_POINTS));
const _: () = assert!(HISTORY_MINUTES.is_multiple_of(HISTORY_BLOCK_POINTS));
/// Bytes of the points of each of the two steps. A point of one reactor has 2 KB, each further reactor adds 0.15: up to
/// 40 reactors the minutes are whole.
pub const HISTORY_BYTES_MAX: usize = 12 * MIB;
/// Streams of the live page that are open at one time, over all reactors: tabs of a team; one client may have half of
/// it. Over it: 503, and 429 for a client over its half.
pub const STREAMS_MAX: usize = 64;
/// Updates that wait for a client to read, beside the history and the parts in its channel: half a minute of them. Over
/// it the stream is ended. They are shared, so each costs a reference.
pub const STREAM_LINES_WAITING_MAX: usize = 48;
/// Interval at which the open pages are sent the clients and the last refusals: 15 KB at most.
pub const WHO_INTERVAL: Duration = Duration::from_secs(2);
/// Refusals of one core between two reports, those of one client and reason as one: at most as many are shown. Over it
/// the oldest go. 4 KB, once something was refused.
pub const REFUSALS_PER_CORE_MAX: usize = 64;
/// Latest refusals of a core that one more is compared with: so many clients may take turns and still be an entry each.
pub const REFUSALS_COMPARED_MAX: usize = 8;
/// Refusals that are listed: as many as a person reads.
pub const REFUSALS_SHOWN_MAX: usize = 100;
/// Marks that are kept, 150 bytes each: over it the oldest goes.
pub const MARKS_MAX: usize = 32;
/// Bytes of the name of a mark: what a chart has space for.
pub const MARK_NAME_BYTES_MAX: usize = 64;
/// Milliseconds after which a mark without an end is ended: an hour, longer than most load tests. An end that comes
/// later still counts.
pub const MARK_OPEN_MS_MAX: i64 = 3_600_000;
/// Age up to which the doctor's report is sent again: making one times some 200 syncs of the disk.
pub const DOCTOR_REPORT_AGE: Duration = Duration::from_secs(5);
/// Requests for the doctor's report or for marks that have no whole response yet, over all reactors. Over it: 503.
pub const SMALL_JOBS_MAX: usize = 16;
/// Points that wait for the thread of the streams. It does nothing but pass them on.
pub const UPDATES_WAITING_MAX: usize = 64;
/// Time that the observer waits for the reactors' reports when it makes a point: one that is busy is shown with the
/// next.
pub const POINT_REPORT_WAIT: Duration = Duration::from_millis(200);
/// Milliseconds that a stream may be silent before its reactor closes it. There is a point each second.
pub const STREAM_SILENCE_MS: u64 = 30_000;

// ---- profile -------------------------------------------------------------------------------------------------------

/// Seconds of a profile, at most: more samples do not make its picture clearer.
pub const PROFILE_SECONDS_MAX: u64 = 60;
/// Seconds of a profile, unless its request says otherwise: 2,000 samples of a thread that is always on a CPU.
pub const PROFILE_SECONDS_DEFAULT: u64 = 10;
/// Samples a second of a thread that is on a CPU, at most. On a virtual machine each costs 20 to 50 us of it: the
/// interrupt of the clock 8, the kernel's part of the stack 8 and more, and the copy of the program's part 2.
pub const PROFILE_SAMPLES_PER_S_MAX: u64 = 1_999;
/// Samples a second, unless a request says otherwise: at 50 us each 1 % of a request's CPU time on a virtual machine,
/// and 2,000 samples in 10 s of a thread that is always on a CPU. Not 200, so as not to keep step with timers.
pub const PROFILE_SAMPLES_PER_S_DEFAULT: u64 = 199;
/// Looks at the state of each thread in a second, at most. One takes 2 us a thread.
pub const PROFILE_LOOKS_PER_S_MAX: u64 = 199;
/// Bytes of the name of a function of the kernel in which a thread waits.
pub const PROFILE_FUNCTION_BYTES_MAX: usize = 128;
/// Different functions of the kernel in which one thread waits.
pub const PROFILE_FUNCTIONS_MAX: usize = 64;
/// Bytes of the name of a thread in a request; the kernel keeps 15 of a name.
pub const PROFILE_THREAD_BYTES_MAX: usize = 32;
/// Bytes of a stack that are copied with each sample, at first: a reactor's stack is 14 KiB deep where it parses.
pub const PROFILE_STACK_BYTES: u32 = 16 * 1024;
/// Bytes by which more of the stacks is copied, once so many samples of an event ended before their outermost frame.
pub const PROFILE_STACK_BYTES_STEP: u32 = 8 * 1024;
/// Samples of an event with stacks that are deeper than what is copied, before more is.
pub const PROFILE_TRUNCATED_SAMPLES_MAX: u32 = 4;
/// Bytes of a stack that are copied with each sample, at most. The kernel's limit is 64 KiB for the whole record.
pub const PROFILE_STACK_BYTES_MAX: u32 = 48 * 1024;
/// Bytes of a sample beside its stack: 127 addresses of the kernel (kernel.perf_event_max_stack) and some numbers.
pub const PROFILE_RECORD_BYTES: usize = KIB;
/// Bytes of the rings of all threads and cores that are sampled, unless they are many.
pub const PROFILE_RINGS_BYTES: usize = 32 * MIB;
/// Bytes of the ring of one thread or core, at most: 120 samples with 16 KiB of the stack.
pub const PROFILE_RING_BYTES_MAX: usize = 2 * MIB;
/// Bytes of the ring of one thread or core, at least: one sample with the deepest stack.
pub const PROFILE_RING_BYTES_MIN: usize = 64 * KIB;
const _: () = assert!(PROFILE_STACK_BYTES_MAX as usize + PROFILE_RECORD_BYTES <= PROFILE_RING_BYTES_MIN);
/// The shortest interval at which samples are fetched from the rings.
pub const PROFILE_FETCH_INTERVAL_MIN: Duration = Duration::from_millis(1);
/// The longest interval at which samples are fetched from the rings, and a stop is noticed.
pub const PROFILE_FETCH_INTERVAL_MAX: Duration = Duration::from_millis(50);
/// Different stacks of one profile. At 60 frames each they hold 32 MiB; over it a sample is counted as lost.
pub const PROFILE_STACKS_MAX: usize = 65_536;
/// Frames of one stack. What is deeper is left out.
pub const PROFILE_FRAMES_MAX: usize = 128;
/// Threads that are sampled: reactors, query threads and some more.
pub const PROFILE_THREADS_MAX: usize = 1_024;
/// Files with code that are read: the program and its libraries.
pub const PROFILE_FILES_MAX: usize = 64;
/// Bytes of a file with code that is read, debug information included.
pub const PROFILE_FILE_BYTES_MAX: u64 = 512 * MIB as u64;
/// Profiles that are made at one time: two would see each other.
pub const PROFILES_MAX: usize = 1;
/// Profiles that are made, or whose clients have not read the whole result: some MB each.
pub const PROFILES_UNREAD_MAX: usize = 4;
/// Milliseconds that a profile may take beside the time that it samples, to find the names of functions.
pub const PROFILE_RENDER_MS: u64 = 60_000;

// ---- standard error ------------------------------------------------------------------------------------------------

/// Lines that wait to be written to standard error. Over it a line is dropped and counted. A line each second for a
/// quarter of an hour.
pub const STDERR_LINES_MAX: usize = 1_024;
/// Bytes of these lines: 256 for each.
pub const STDERR_BYTES_MAX: usize = 256 * KIB;
/// Interval at which a failing standard error is retried while lines are missing and no new one comes.
pub const STDERR_RETRY: Duration = Duration::from_secs(1);
/// Interval at which a non-blocking standard error whose reader is behind is retried.
pub const STDERR_POLL: Duration = Duration::from_millis(20);
/// Time by which lines that nobody reads may delay the end of the process.
pub const STDERR_FLUSH_MAX: Duration = Duration::from_secs(1);
/// Stack of the thread that writes lines, which only copies them: 1/16 of the others', so that it starts where these
/// cannot.
pub const STDERR_THREAD_STACK_BYTES: usize = 128 * KIB;
/// Least time between two lines about signals that are ignored.
pub const IGNORED_SIGNAL_INTERVAL: Duration = Duration::from_secs(1);

// ---- configuration -------------------------------------------------------------------------------------------------

/// Bytes of the files of `--config` and `--api-keys`: 100,000 keys of 160 bytes.
pub const CONFIGURATION_FILE_BYTES_MAX: u64 = 16 * MIB as u64;
/// Time within which `--config` is read whole. Only a pipe takes long: that of a program, or one that nobody writes to.
pub const CONFIGURATION_FILE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of an API key, which has to fit into a head beside everything else.
pub const API_KEY_BYTES_MAX: usize = 4 * KIB;
const _: () = assert!(API_KEY_BYTES_MAX < http1::limits::HEAD_BYTES_MAX / 2);

// ---- service manager -----------------------------------------------------------------------------------------------

/// Timeout for one message to the service manager, while its socket is full.
pub const NOTIFY_WAIT: Duration = Duration::from_secs(1);
/// Liveness checks within the timeout of the service manager's watchdog: a core that reports late once, by as much as
/// [`REPORT_WAIT`], must not count as stalled.
pub const WATCHDOG_PINGS: u32 = 4;
/// Minimum time between two liveness checks: each requests a report from every reactor.
pub const WATCHDOG_PING_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Time that a stop may take beside `--drain-timeout` and [`LOG_STOP_WAIT`]: the queries, and the last block of
/// maintenance.
pub const STOP_MARGIN: Duration = Duration::from_secs(10);

// ---- tracing -------------------------------------------------------------------------------------------------------

/// Default of `--trace-ratio`: which part of the requests without a caller's flag is traced.
pub const TRACE_RATIO_DEFAULT: f64 = 0.01;
/// Default of `--trace-slow`: a batch that takes longer is exported even if it is not sampled.
pub const TRACE_SLOW_DEFAULT: Duration = Duration::from_millis(250);
/// Bytes of a `tracestate` that are kept; at least so many are to be passed on (W3C Trace Context, 3.3.1.5).
pub const TRACESTATE_BYTES_MAX: usize = 512;
/// Requests of one core that are recorded and wait for their responses to leave. Over it a request is not recorded, and
/// counted. 4,096 x 256 bytes = 1 MiB.
pub const TRACES_OPEN_MAX: usize = 4_096;
/// Slow and failed requests that one core exports in a second although they were not sampled. Under attack all of them
/// fail.
pub const TRACES_LATE_PER_SECOND_MAX: u32 = 100;
/// Records that wait for the exporter, over all cores. Over it they are dropped and counted. 100,000 requests a second
/// of which 1 % are sampled fill it in eight seconds; 8,192 x 256 bytes = 2 MiB.
pub const TRACE_QUEUE_RECORDS: usize = 8_192;
/// Deliveries of forwards that wait for the exporter. Over it they are dropped and counted. 64 connections that deliver
/// ten requests a second each fill it in 1.6 seconds where all are sampled; 1,024 x 256 bytes = 256 KiB.
pub const TRACE_QUEUE_DELIVERIES: usize = 1_024;
/// Interval at which the exporter polls its queue. Nothing wakes it: a wakeup would cost a core more than several
/// requests.
pub const TRACE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Records of one export: at eight spans of 0.4 KiB each 0.8 MiB, and collectors take 4 MiB.
pub const TRACE_BATCH_RECORDS_MAX: usize = 256;
/// Attempts after the first to export a batch of spans. With waits that double from [`OTLP_RETRY_FIRST`] all of them
/// fit into the default timeout of 10 s, which bounds the whole.
pub const OTLP_RETRIES_MAX: usize = 5;
/// Delay before the second attempt of an export: a receiver that restarts needs some tenths of a second.
pub const OTLP_RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest delay before an attempt of an export, below `OTLP_TIMEOUT_DEFAULT`, so that it is made at all.
pub const OTLP_RETRY_LAST: Duration = Duration::from_secs(5);
/// Default of `OTEL_EXPORTER_OTLP_TIMEOUT`, the one of OpenTelemetry's specification.
pub const OTLP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Default of `OTEL_METRIC_EXPORT_INTERVAL`, the one of OpenTelemetry's specification.
pub const OTLP_METRICS_INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// Least time between two warnings that an export failed.
pub const OTLP_WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Time by which spans still to be exported may delay a stop; the rest is lost, and counted.
pub const OTLP_FLUSH_MAX: Duration = Duration::from_secs(2);

// ---- queries in the server ------------------------------------------------------------------------------------------

/// Queries that are in the server at one time, over all reactors: waiting for a thread, running, or with a response
/// that its client has not taken whole. Over it: 503.
pub const QUERIES_OPEN_MAX: usize = 512;
/// Queries that wait for a thread; one client may have half of it. Over it: 503, and 429 for a client over its half. A
/// query that gets no thread before its deadline is refused with 503 too.
pub const QUERIES_WAITING_MAX: usize = 64;
/// Responses of more than one piece that their clients have not taken whole; one client may have half of it. Over it:
/// 503, and 429 for a client over its half. Their memory together is what `--query-max-memory` lets one query hold,
/// with the same halves.
pub const RESPONSES_UNREAD_MAX: usize = 128;
/// Requests for lines of the log that wait for one to be written; one client may have half of it. Over it: 503, and 429
/// for a client over its half. Each is a connection, and some hundreds of bytes.
pub const LOG_WAITERS_MAX: usize = 64;
/// Longest wait for a line: `wait` of `GET /log`. Proxies end a connection that is silent for 60 s.
pub const LOG_WAIT_MAX: Duration = Duration::from_secs(60);
/// Interval at which new lines are looked for while a request waits for one: the writer does not have to wake anybody.
pub const LOG_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Bytes of lines in one response of `GET /log`, by default, and with one line more at most.
pub const LOG_BYTES_DEFAULT: usize = MIB;
/// Bytes of lines that `max_bytes` may request: they are in memory until the client has read them.
pub const LOG_BYTES_MAX: usize = 8 * MIB;
// What is open waits, has a thread, or is unread; a response of one piece is gone as soon as its reactor sees it.
const _: () =
    assert!(QUERIES_WAITING_MAX + QUERY_THREADS_CAP + RESPONSES_UNREAD_MAX + LOG_WAITERS_MAX <= QUERIES_OPEN_MAX);
/// Parts of one response that wait for its client to take those before. With so many it is put aside until half of them
/// are taken, and its thread does something else. All unread responses together: 128 x (8 waiting + 1 being sent + 1
/// made) x 64 KiB = 80 MiB.
pub const PIECES_WAITING_MAX: usize = 8;
// A reactor has one message under way at most for each query, stream and document that was requested of it, and a
// report, a drain and an abort.
const _: () = assert!(
    QUERIES_OPEN_MAX + STREAMS_MAX + PROFILES_UNREAD_MAX + SMALL_JOBS_MAX + DOCUMENT_REQUESTS_PER_REACTOR_MAX + 3
        <= MAILBOX_MESSAGES_MAX
);
/// The slowest that a client may take a response, in bytes a second, once the write timeout has passed for the first
/// time: memory must not be held for ever by sips.
pub const RESPONSE_BYTES_PER_S_MIN: u64 = 64 * KIB as u64;
/// Time for which a query goes on whose client has ended its side of the connection before anything was sent. Mostly
/// the client has left; but it may still read, and then it gets what comes within this time.
pub const LEFT_MS: u64 = 1_000;
/// Series and points: cap of `--query-max-series` and `--query-max-points`. At 200 bytes a series these are 20 GB.
pub const QUERY_COUNT_CAP: usize = 100_000_000;
/// Bytes: cap of `--query-max-memory`. A value over 1 TiB is a mistyped unit.
pub const QUERY_HELD_BYTES_CAP: usize = 1 << 40;
/// Bytes: cap of `--query-max-scan`. A value over 1 PiB is a mistyped unit.
pub const QUERY_SCANNED_BYTES_CAP: u64 = 1 << 50;
/// Threads: cap of `--query-threads`. Each has a stack, and a cache of tags of up to 32 MiB.
pub const QUERY_THREADS_CAP: usize = 256;
/// Default of `--query-threads`: one for so many cores, and no fewer than two, as a long query must not hold up a short
/// one.
pub const QUERY_CORES_PER_THREAD: usize = 4;
/// See [`QUERY_CORES_PER_THREAD`].
pub const QUERY_THREADS_MIN: usize = 2;
/// Seconds: default of `--query-timeout`, as long as Grafana's proxy waits for a data source by default.
pub const QUERY_TIMEOUT_DEFAULT_S: u64 = 30;
/// Time after its deadline at which a query is refused with 503 by its reactor, if no thread has done it: all may be
/// held up.
pub const QUERY_OVERTIME_MS: u64 = 500;
/// Nice value of query threads, by which they yield to threads that serve and run on the same core (nice(2): 19 is the
/// most).
pub const QUERY_NICE: i32 = 19;
/// Time that a stop waits for query threads once all connections have ended: they check their flag for each block.
pub const QUERY_STOP_WAIT: Duration = Duration::from_secs(2);

// ---- forwarding ----------------------------------------------------------------------------------------------------

/// Cursors that `metricstream forwards` lists: those of former configurations are never deleted, and one a day makes as
/// many in three years.
pub const FORWARDS_LISTED_MAX: usize = 1_024;
/// Receivers that `--forward` takes: each has a thread and reads the whole log.
pub const FORWARDS_MAX: usize = 16;
/// Default of `--forward-hold`: bytes of segments that retention keeps for forwards. A day of 10,000 metrics a second
/// of 120 bytes is 100 GB, and 5 GB compressed.
pub const FORWARD_HOLD_BYTES_DEFAULT: u64 = 10 * 1024 * MIB as u64;
/// Bytes of a forward's name: a file name with what is around it, and a label.
pub const FORWARD_NAME_BYTES_MAX: usize = 100;
/// Default of `batch_samples`, the samples of one request: as many as vmagent sends by default. Samples of one series
/// share its labels within a request, so that with 10,000 of 1,000 series a sample costs half of what it does with the
/// 2,000 of Prometheus' own sender.
pub const FORWARD_BATCH_SAMPLES_DEFAULT: usize = 10_000;
/// Cap of `batch_samples`: receivers bound a request at 10,000 samples and more.
pub const FORWARD_BATCH_SAMPLES_CAP: usize = 100_000;
/// Bytes of a request before compression, after which nothing more is added: receivers bound it at 4 MiB and more.
pub const FORWARD_REQUEST_BYTES: usize = MIB;
/// Cap of `shards`, the connections of one forward, each of which has a thread that mostly waits.
pub const FORWARD_SHARDS_CAP: usize = 64;
/// Batches of one forward that exist: one is being made while others are delivered.
pub const FORWARD_BATCHES_MAX: usize = 3;
/// Bytes of a batch's text: a request for each shard, and the line that made it full, once as it is in the log and
/// once as labels, which have less than twice its bytes.
pub const FORWARD_BATCH_TEXT_BYTES_MAX: usize =
    FORWARD_SHARDS_CAP * FORWARD_REQUEST_BYTES + 3 * log::limits::LINE_BYTES_MAX;
const _: () = assert!(FORWARD_BATCH_TEXT_BYTES_MAX < u32::MAX as usize);
/// Bytes that a forward takes for what it knows of series (without what vectors and tables have in reserve, as much
/// again at most): some 25,000 series of five tags. The lines of others cost several times as much CPU time, and are
/// sent just the same.
pub const FORWARD_KNOWN_BYTES: usize = 16 * MIB;
/// Lines that did not fit into what a forward knows of series, for each known series, until it forgets them all:
/// learning one costs less than reading this many lines by the grammar.
pub const FORWARD_KNOWN_UNFIT_LINES: usize = 4;
/// Texts of labels that a forward has numbers for: 8 bytes each for every connection, and as many again by version 1.0,
/// so 1 MiB.
pub const FORWARD_KNOWN_SYMBOLS: usize = 65_536;
/// Level of zstd: the fastest that compresses more than snappy does.
pub const FORWARD_ZSTD_LEVEL: i32 = 1;
/// Time after which the type of a family is sent again by version 1.0, as often as Prometheus does.
pub const FORWARD_METADATA_INTERVAL: Duration = Duration::from_secs(60);
/// Families that a connection knows to have sent the type of: 16 bytes each. Over it, it forgets all.
pub const FORWARD_METADATA_FAMILIES_MAX: usize = 65_536;
/// Bytes of a file with certificates, a password or a token: the bundle of a system has 250 KiB.
pub const FORWARD_FILE_BYTES_MAX: u64 = 4 * MIB as u64;
/// Default of `batch_age`, the time from a line to the request that carries it, while a forward keeps up: what is
/// written meanwhile goes together.
pub const FORWARD_BATCH_AGE_DEFAULT: Duration = Duration::from_secs(1);
/// Least time that can be set for a forward: more often, a log that is hardly written would be looked at for nothing.
pub const FORWARD_TIME_MIN: Duration = Duration::from_millis(10);
/// Most time that can be set for a forward: a longer one is a mistyped unit.
pub const FORWARD_TIME_CAP: Duration = Duration::from_secs(3_600);
/// Time between two attempts to open the log where it cannot be read.
pub const FORWARD_OPEN_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the log that are read at once: what is copied there stays in a core's second cache until it is looked at.
pub const FORWARD_READ_BYTES: usize = 256 * KIB;
/// Default of `timeout`, the time that one request may take, from connecting to the end of the response.
pub const FORWARD_REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Time that connecting to one address may take.
pub const FORWARD_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time after which a thread that waits for a receiver looks whether the server stops.
pub const FORWARD_WAIT_SLICE: Duration = Duration::from_millis(100);
/// The first wait before a request is repeated; the next is twice as long.
pub const FORWARD_BACK_OFF_MIN: Duration = Duration::from_millis(30);
/// The longest wait before a request is repeated.
pub const FORWARD_BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// The longest wait that a receiver can request by Retry-After.
pub const FORWARD_RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Bytes of a response that are read; the rest costs the connection.
pub const FORWARD_RESPONSE_BYTES_MAX: usize = 64 * KIB;
/// Time that the body of a response may take once its head is there. Its text is for people, and a receiver that never
/// ends it is to cost no more.
pub const FORWARD_BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Header fields of a response: twice as many as receivers behind two proxies send.
pub const FORWARD_RESPONSE_HEADERS_MAX: usize = 64;
/// Bytes of a response that are logged.
pub const FORWARD_TEXT_BYTES_MAX: usize = 512;
/// Time between two writes of a cursor while batches are delivered one after another: what a crash repeats, at most.
pub const FORWARD_CURSOR_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two counts of the backlog, each of which lists the directory.
pub const FORWARD_COUNT_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two warnings of one kind.
pub const FORWARD_WARN_INTERVAL: Duration = Duration::from_secs(60);
/// Nice value of a forward, by which it yields to threads that serve (nice(2)).
pub const FORWARD_NICE: i32 = 10;
/// Time that a stop waits for forwards: longer than connecting to one address takes.
pub const FORWARD_STOP_WAIT: Duration = Duration::from_secs(3);
/// Bytes of lines of one transaction of Kafka, at most, unless one line is longer. They are in memory until it is
/// committed, to be sent again if it is aborted. A commit costs some 10 ms on a cluster of three: with 4 MiB, 400 MB/s
/// would be its bound.
pub const KAFKA_TRANSACTION_BYTES: usize = 4 * MIB;
/// KiB of records that librdkafka holds for one forward (`queue.buffering.max.kbytes`): a transaction whose records are
/// eight times as long as its lines. A full queue makes the forward wait.
pub const KAFKA_QUEUE_KIBIBYTES: usize = 8 * KAFKA_TRANSACTION_BYTES / KIB;
/// Records that librdkafka holds for one forward (`queue.buffering.max.messages`), each with some 200 bytes of its own
/// beside those that are counted above: a transaction of lines of 90 bytes, which are short ones.
pub const KAFKA_QUEUE_RECORDS: usize = 50_000;
/// Records between two looks at what was delivered: their reports take space in the queue until then.
pub const KAFKA_RECORDS_PER_POLL: usize = 1_000;
/// Bytes of the name of a topic (Kafka: `Topic.MAX_NAME_LENGTH`).
pub const KAFKA_TOPIC_BYTES_MAX: usize = 249;
/// Entries of `[forward.kafka.properties]`: librdkafka has fewer than 200.
pub const KAFKA_PROPERTIES_MAX: usize = 64;
/// Time that one call to librdkafka waits before the end of the server is looked at again.
pub const KAFKA_WAIT_SLICE: Duration = Duration::from_millis(500);
/// Time after which the cursor in Kafka is written again although nothing was delivered: the brokers forget one after
/// seven days (`offsets.retention.minutes`), or after one day before Kafka 2.0.
pub const KAFKA_CURSOR_REFRESH: Duration = Duration::from_secs(6 * 3_600);

// ---- doctor --------------------------------------------------------------------------------------------------------

/// Bytes read of any one file of /proc or /sys; the longest, mountinfo, has some 100 bytes a mount.
pub const DOCTOR_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Entries of the data directory that are looked at.
pub const DOCTOR_ENTRIES_MAX: usize = 10_000;
/// Bytes appended before each fdatasync that is timed: one page, the least that a sync writes.
pub const DOCTOR_SYNC_BYTES: usize = 4 * KIB;
/// Syncs that are timed: p99 is then the third longest.
pub const DOCTOR_SYNCS_MAX: usize = 200;
/// Time after which no further sync is begun.
pub const DOCTOR_SYNC_TIME_MAX: Duration = Duration::from_secs(2);
/// Half of the syncs below this: no disk and no path to one is that fast, a flash drive with power-loss protection
/// takes 10 us.
pub const DOCTOR_SYNC_TOO_FAST: Duration = Duration::from_micros(5);
/// p99 of a sync from which on the level fsync is called slow. A disk that turns takes 8 to 20 ms.
pub const DOCTOR_SYNC_SLOW: Duration = Duration::from_millis(50);
/// Clients for which the acknowledgements at the level fsync are reckoned.
pub const DOCTOR_CLIENTS: u32 = 100;
/// Free bytes below which it is critical: minutes at 10,000 metrics a second of 120 bytes.
pub const DOCTOR_FREE_BYTES_CRITICAL: u64 = 256 * 1024 * 1024;
/// Free bytes below which it is a warning; less than a twentieth of the disk is one too.
pub const DOCTOR_FREE_BYTES_WARNING: u64 = 2 * 1024 * 1024 * 1024;
/// Free inodes below which it is a warning.
pub const DOCTOR_FREE_INODES: u64 = 1_000;
/// Unwritten bytes up to which the kernel may let the writer run ahead of the disk: 2 s of a disk of 500 MB/s.
pub const DOCTOR_DIRTY_BYTES: u64 = 1024 * 1024 * 1024;
/// Time between the two looks at the stolen time: 50 ticks a core.
pub const DOCTOR_STEAL_SAMPLE: Duration = Duration::from_millis(500);
/// Per cent stolen while looking from which on it is a warning: 1 tick in 20.
pub const DOCTOR_STEAL_PERCENT_WARNING: f64 = 5.0;
/// Per cent stolen since boot from which on it is noted.
pub const DOCTOR_STEAL_PERCENT_NOTE: f64 = 1.0;
/// Microseconds to wake up from which on an idle state is noted: longer than a request takes.
pub const DOCTOR_IDLE_LATENCY_US: u64 = 50;
/// Microseconds that a synchronised clock may be wrong by before it is noted.
pub const DOCTOR_CLOCK_ERROR_US: i64 = 1_000_000;
/// Seconds by which the newest file may be ahead of the clock: network file systems stamp with the server's.
pub const DOCTOR_CLOCK_BACK_S: u64 = 60;

// ---- rate limits ---------------------------------------------------------------------------------------------------

/// Origins that `--cors-origin` takes: each response to a page compares its own with them.
pub const CORS_ORIGINS_MAX: usize = 64;
/// Default of `--rate-limit-bytes`, in decoded bytes per client and second: a quarter of a core inflates that much, and
/// 10,000 batches of 26 KB a second fit.
pub const RATE_LIMIT_BYTES_DEFAULT: u64 = 256 * MIB as u64;
/// Bytes per second: cap of `--rate-limit-bytes`. 1 TiB is above any network; a larger value is a mistyped unit.
pub const RATE_LIMIT_BYTES_CAP: u64 = 1 << 40;
/// Default of `--max-names-per-address`: names on record that one address made, where no API key proves a name. More
/// clients than a fleet behind one address has; 64 addresses would have to do nothing else to fill the table.
pub const NAMES_PER_ADDRESS_DEFAULT: usize = 1_024;
/// Default of `--max-clients`: clients on record at one time. Over it, once no idle one is found to forget: 503. The
/// table is fixed: 64 bytes a slot and two slots a client, 65,536 x 2 x 64 = 8 MiB.
pub const CLIENTS_DEFAULT: usize = 65_536;

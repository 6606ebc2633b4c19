//! The table of statistics, in the order of the document of `/stats`. The doc comment of a row is the help of its
//! family.

use super::{
    Read, Reading, Statistic,
    Unit::{self, Bytes, Metrics, Times},
};
use crate::{
    limits, logging,
    stats::{
        Closed, Outcome, RefusedBy, Rejection, Report, Shed, Stage, StreamEnd, Untraced,
        collector::Measures,
        document,
        exposition::{Kind, in_units},
        histograms::Distribution,
        observer::Snapshot,
    },
};
use http1::{REASONS, Status};
use log::{LogHealth, os::dirent};
use metric::{Reject, Skip};
use serde_json::json;
use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Declares the table: the owner of each statistic, its place in the document, type and name of its family, its value.
macro_rules! statistics {
    ($($(#[doc = $help:literal])* $owner:ident($source:ident) $json:literal
       $($kind:ident $family:literal)? = $value:expr;)*) => {
        /// All statistics.
        pub static TABLE: &[Statistic] = &[$(Statistic {
            json: $json,
            family: &[$((Kind::$kind, $family))?],
            help: concat!($($help),*),
            read: Read::$owner(|$source| Reading::from($value)),
        },)*];
    };
}

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

// The help of metricstream_reactor_stalls has the figure.
const _: () = assert!(limits::TURN_STALL.as_millis() == 50);

statistics! {
    Server(_s) "version" = env!("CARGO_PKG_VERSION");
    /// Version, network driver and default acknowledgement level of this server.
    Server(s) "" Info "metricstream_build" = build(s);
    Server(s) "uptime_seconds" = s.all.length.as_secs();
    Server(s) "driver" = s.facts.driver;
    Server(s) "ack" = s.facts.ack;
    Server(s) "clock_source" = s.facts.clock_source.as_str();
    /// 1 when the server accepts batches and its log works as configured.
    Server(s) "ready" Gauge "metricstream_ready" = s.unready().is_empty();
    /// 1 while the server is shutting down.
    Server(s) "draining" Gauge "metricstream_draining" = s.draining;
    /// Number of reactors.
    Server(s) "" Gauge "metricstream_reactors" = s.reactors;
    /// Responses for all paths, by status and reason (ok: the request was not refused).
    Server(s) "" Counter "metricstream_http_requests" = responses(s);

    // Batches, metrics and bodies.
    /// Batches received: received = stored + rejected + shed + pending.
    Server(s) "batches/received" Counter "metricstream_batches_received" = s.all.counters.batches_received;
    /// Batches stored at their acknowledgement level.
    Server(s) "batches/stored" Counter "metricstream_batches_stored" = s.all.counters.batches_stored;
    Server(s) "batches/rejected" = s.all.counters.rejected();
    Server(s) "batches/shed" = s.all.counters.shed();
    /// Batches being received or waiting for the log.
    Server(s) "batches/pending" Gauge "metricstream_batches_pending" = s.all.counters.pending();
    /// Batches rejected because of a client error, by reason.
    Server(s) "batches/rejected_by" Counter "metricstream_batches_rejected" =
        Reading::by("reason", Rejection::ALL, Rejection::label, |by| s.all.counters.batches_rejected[by as usize]);
    /// Batches refused with 503 because of the state of the server, by reason.
    Server(s) "batches/shed_by" Counter "metricstream_batches_shed" =
        Reading::by("reason", Shed::ALL, Shed::label, |by| s.all.counters.batches_shed[by as usize]);
    /// Metrics parsed: received = stored + rejected + pending. Batches refused without being read are not counted.
    Server(s) "metrics_received" Counter "metricstream_metrics_received" = s.all.counters.metrics_received;
    /// Metrics stored, one line each.
    Server(s) "metrics_stored" Counter "metricstream_metrics_stored" = s.all.counters.metrics_stored;
    /// Metrics of malformed batches, up to and including the invalid one.
    Server(s) "metrics_rejected" Counter "metricstream_metrics_rejected" = s.all.counters.metrics_rejected;
    /// Metrics of batches that wait for the log.
    Server(s) "metrics_pending" Gauge "metricstream_metrics_pending" = s.all.counters.metrics_pending();
    /// Metrics whose timestamp differs by more than a day from the time of arrival; /stats/clients lists them by
    /// client.
    Server(s) "metrics_far_from_now" Counter "metricstream_metrics_far_from_now" = s.all.counters.metrics_far_from_now;
    /// Bytes of completely received bodies, decoded: received = stored + rejected + shed + pending.
    Server(s) "body_bytes/received" Counter "metricstream_body_received_bytes" = s.all.counters.body_bytes_received;
    /// Bytes of bodies whose batch was stored.
    Server(s) "body_bytes/stored" Counter "metricstream_body_stored_bytes" = s.all.counters.body_bytes_stored;
    /// Bytes of bodies whose batch was rejected.
    Server(s) "body_bytes/rejected" Counter "metricstream_body_rejected_bytes" = s.all.counters.body_bytes_rejected;
    /// Bytes of bodies whose batch was refused with 503.
    Server(s) "body_bytes/shed" Counter "metricstream_body_shed_bytes" = s.all.counters.body_bytes_shed;
    /// Bytes of bodies whose batch waits for the log.
    Server(s) "body_bytes/pending" Gauge "metricstream_body_pending_bytes" = s.all.counters.body_bytes_pending();
    /// Bytes of lines handed to the writer.
    Server(s) "line_bytes" Counter "metricstream_line_bytes" = s.all.counters.line_bytes;
    Server(s) "responses" = document::by_status(s.all.counters);
    // The name in 0.1, served beside it until 0.3.
    Server(s) "answers" = document::by_status(s.all.counters);
    Server(s) "refused_by" =
        Reading::By("reason", REASONS.iter().zip(s.all.counters.refused).map(|((by, _), n)| (*by, n.into())).collect());
    Server(s) "refused_last" = s.collected.refusals().to_json();
    /// Responses dropped because the log did not store the batch in time; the batch may still be stored.
    Server(s) "responses_abandoned" Counter "metricstream_responses_abandoned" = s.all.counters.responses_abandoned;
    /// The name of metricstream_responses_abandoned in 0.1, served beside it until 0.3.
    Server(s) "answers_abandoned" Counter "metricstream_answers_abandoned" = s.all.counters.responses_abandoned;
    Server(s) "since_start" = document::rates(&s.all);
    Server(s) "interval" = document::rates(&s.interval);

    // Durations and sizes.
    /// Time from the last byte of a request until the kernel has taken the whole response, for batches and for other
    /// requests.
    Server(s) "latency_us" Histogram r#"metricstream_request_duration_seconds{route="batch"}"# =
        both(Times, s, |m| &m.cores.batch_ns);
    Server(s) "other_latency_us" Histogram r#"metricstream_request_duration_seconds{route="other"}"# =
        both(Times, s, |m| &m.cores.other_ns);
    /// Time of a batch by stage: decide, then write or sync according to its level, then send add up to the total;
    /// receive, the time from head to body, is not part of it.
    Server(s) "stages_us" Histogram "metricstream_stage_duration_seconds" = stages(s);
    /// Number of metrics in each well-formed batch.
    Server(s) "batch_metrics" Histogram "metricstream_batch_metrics" = both(Metrics, s, |m| &m.cores.batch_metrics);
    /// Size of the decoded body of each well-formed batch.
    Server(s) "batch_body_bytes" Histogram "metricstream_batch_body_bytes" =
        both(Bytes, s, |m| &m.cores.batch_body_bytes);
    /// Time from the end of one wait of a reactor to the beginning of its next, over all reactors.
    Server(s) "turn_us" Histogram "metricstream_reactor_turn_duration_seconds" = both(Times, s, |m| &m.cores.turn_ns);
    /// Longest turn since startup, and in the last statistics interval.
    Server(s) "" Gauge r#"metricstream_reactor_turn_longest_seconds{of="start"}"# =
        in_units(s.all.measures.cores.turn_ns.max(), SECOND_NS);
    Server(s) "" Gauge r#"metricstream_reactor_turn_longest_seconds{of="interval"}"# =
        in_units(s.interval.measures.cores.turn_ns.max(), SECOND_NS);
    Server(s) "turns_stalled" = s.all.counters.turns_stalled;
    Server(s) "turns_full" = s.all.counters.turns_full;
    Server(s) "timers_fired" = s.all.counters.timers_fired;
    /// Warnings not logged because one of the same kind was logged within the last second.
    Server(s) "warnings_suppressed" Counter "metricstream_warnings_suppressed" = s.all.counters.warnings_suppressed;
    Server(s) "queued_bytes" = sum(s, |report| report.queued_bytes);

    // Connections.
    Server(s) "connections/active" = sum(s, |report| report.connections_active);
    /// Maximum number of open connections.
    Server(s) "connections/limit" Gauge "metricstream_connections_limit" = u64::from(s.facts.connections_limit);
    /// Connections accepted and served.
    Server(s) "connections/accepted" Counter "metricstream_connections_accepted" = s.all.counters.connections_accepted;
    /// Connections over the limit: their requests get a 503, except for /health and /ready.
    Server(s) "connections/refused" Counter "metricstream_connections_refused" = s.all.counters.connections_refused;
    /// Failed calls of accept(2).
    Server(s) "connections/accept_failures" Counter "metricstream_accept_failures" = s.all.counters.accept_failures;
    /// Valid PROXY protocol headers received.
    Server(s) "connections/proxy_headers" Counter "metricstream_proxy_headers" = s.all.counters.proxy_headers;
    /// Requests forwarded by trusted proxies, by outcome: named (with a usable client address) or unusable.
    Server(s) "connections/forwarded_requests" Counter r#"metricstream_forwarded_requests{outcome="named"}"# =
        s.all.counters.forwarded_requests;
    Server(s) "connections/forwarded_unusable" Counter r#"metricstream_forwarded_requests{outcome="unusable"}"# =
        s.all.counters.forwarded_unusable;
    /// Closed connections, by reason.
    Server(s) "connections/closed_by" Counter "metricstream_connections_closed" =
        Reading::by("reason", Closed::ALL, Closed::label, |by| s.all.counters.connections_closed[by as usize]);

    // The limiter, where there is one.
    /// Clients that the rate limiter tracks.
    Server(s) "limiter/clients" Gauge "metricstream_limiter_clients" = s.limiter.map(|limiter| limiter.clients);
    Server(s) "limiter/memory_bytes" = s.limiter.map(|limiter| limiter.memory_bytes);
    /// Decisions of the rate limiter: allowed, denied (429), or no_room in its table of clients (503).
    Server(s) "limiter/allowed" Counter r#"metricstream_limiter_decisions{decision="allowed"}"# =
        s.limiter.map(|_| s.all.counters.rate_admitted);
    /// Requests refunded to their client because they were refused with a 503.
    Server(s) "limiter/given_back" Counter "metricstream_limiter_given_back" =
        s.limiter.map(|_| s.all.counters.rate_refunded);
    Server(s) "limiter/refused" Counter r#"metricstream_limiter_decisions{decision="denied"}"# =
        s.limiter.map(|_| s.all.counters.batches_rejected[Rejection::RateLimited as usize]);
    Server(s) "limiter/no_room" Counter r#"metricstream_limiter_decisions{decision="no_room"}"# =
        s.limiter.map(|_| s.all.counters.batches_shed[Shed::ClientsFull as usize]);
    /// Decisions missing from /stats/clients because a core's event ring was full.
    Server(s) "limiter/events_dropped" Counter "metricstream_limiter_events_dropped" =
        s.limiter.map(|_| s.top_clients.totals().dropped);

    // The log.
    /// 1 when the log accepts data, 0 when the disk is full or failing.
    Server(s) "" Gauge "metricstream_log_available" = s.log.health().is_healthy();
    Server(s) "log/health" = s.log.health().to_string();
    /// 1 for the current state of the log, 0 for the others.
    Server(s) "" Gauge "metricstream_log_health" =
        Reading::by("state", &LogHealth::ALL, LogHealth::label, |state| state == s.log.health());
    /// Starts that found a log that was not closed cleanly.
    Server(s) "log/unclean_shutdowns" Counter "metricstream_unclean_shutdowns" = s.facts.unclean_shutdowns;
    Server(s) "log/file_system" = s.facts.file_system.as_str();
    /// Bytes written to the log.
    Server(s) "log/written_bytes" Counter "metricstream_log_written_bytes" = s.log_counts.bytes;
    Server(s) "log/writevs" = s.log_counts.writevs;
    /// Gathered writes of all rings that completed.
    Server(s) "log/gathers" Counter "metricstream_log_gathers" = s.log_counts.gathers;
    /// Calls of writev(2) that wrote only part of their data.
    Server(s) "log/short_writes" Counter "metricstream_log_short_writes" = s.log_counts.short_writes;
    /// Times the log stalled because the disk was full.
    Server(s) "log/stalls" Counter "metricstream_log_stalls" = s.log_counts.stalls;
    Server(s) "log/fsyncs" = s.log_counts.fsyncs;
    /// Segments sealed.
    Server(s) "log/rotations" Counter "metricstream_log_rotations" = s.log_counts.rotations;
    /// Rotations that were postponed because the segment could not be sealed.
    Server(s) "log/rotations_postponed" Counter "metricstream_log_rotations_postponed" =
        s.log_counts.rotations_postponed;
    /// Times another process truncated the active segment or appended to it.
    Server(s) "log/changed_outside" Counter "metricstream_log_changed_outside" = s.log_counts.changed_outside;
    /// Syncs of the directory that the file system does not support.
    Server(_s) "log/directory_syncs_unsupported" Counter "metricstream_log_directory_syncs_unsupported" =
        dirent::syncs_unsupported();
    Server(s) "log/troubles" = json!(s.log.troubles().list());
    /// Times the state file was deleted, truncated or replaced while in use, and created again.
    Server(s) "log/state_files_lost" Counter "metricstream_log_state_files_lost" = s.log_counts.notes_lost;
    /// Times the writer slept.
    Server(s) "log/writer_sleeps" Counter "metricstream_log_writer_sleeps" = s.log_counts.sleeps;
    /// Times the writer woke a reactor or the group commit thread.
    Server(s) "log/wakes" Counter "metricstream_log_wakes" = s.log_counts.wakeups;
    Server(s) "log/batches_per_writev" = quotient(s.all.counters.batches_stored, s.log_counts.writevs);
    /// Duration of writev(2).
    Server(s) "log/writev_us" Histogram "metricstream_log_write_duration_seconds" = both(Times, s, |m| &m.writev_ns);
    /// Bytes written by each writev(2).
    Server(s) "log/writev_bytes" Histogram "metricstream_log_write_size_bytes" = both(Bytes, s, |m| &m.writev_bytes);
    /// Duration of fdatasync(2).
    Server(s) "log/fsync_us" Histogram "metricstream_log_sync_duration_seconds" = both(Times, s, |m| &m.sync_ns);

    // Segments and their maintenance.
    /// Sealed segments, at the last maintenance run.
    Server(s) "segments/sealed" Gauge "metricstream_segments" = &s.maintenance.segments;
    /// Bytes of sealed segments and their sidecars.
    Server(s) "segments/bytes" Gauge "metricstream_segments_bytes" = &s.maintenance.segment_bytes;
    /// Sidecars built.
    Server(s) "segments/indexed" Counter "metricstream_segments_indexed" = &s.maintenance.indexed;
    Server(s) "segments/foreign_lines" = &s.maintenance.foreign_lines;
    /// Segments compressed.
    Server(s) "segments/compressed" Counter "metricstream_segments_compressed" = &s.maintenance.compressed;
    Server(s) "segments/compressed_from_bytes" = &s.maintenance.compressed_from_bytes;
    Server(s) "segments/compressed_to_bytes" = &s.maintenance.compressed_to_bytes;
    /// Segments deleted by retention.
    Server(s) "segments/retired" Counter "metricstream_segments_retired" = &s.maintenance.retired;
    /// Bytes of segments deleted by retention.
    Server(s) "segments/retired_bytes" Counter "metricstream_segments_retired_bytes" = &s.maintenance.retired_bytes;
    /// Segments deleted by retention before a forward had delivered them.
    Server(s) "segments/forfeited" Counter "metricstream_segments_forfeited" = &s.maintenance.forfeited;
    /// Bytes of segments that retention would have deleted and that are held for a forward.
    Server(s) "segments/held_bytes" Gauge "metricstream_segments_held_bytes" = &s.maintenance.held_bytes;
    Server(s) "segments/held_bytes_limit" = s.facts.forward_hold_bytes;
    /// Failed maintenance operations.
    Server(s) "segments/failures" Counter "metricstream_segments_failures" = &s.maintenance.failures;
    /// Segments found damaged and left unchanged.
    Server(s) "segments/damaged" Counter "metricstream_segments_damaged" = &s.maintenance.damaged;
    /// Times the wall clock was set by more than a minute.
    Server(s) "segments/clock_steps" Counter "metricstream_clock_steps" = &s.maintenance.clock_steps;
    /// 1 while retention by age deletes nothing older than this start, because the clock was set.
    Server(s) "segments/age_held_back" Gauge "metricstream_segments_age_held_back" =
        s.maintenance.age_held_back.load(Relaxed) > 0;
    Server(s) "segments/rounds" = &s.maintenance.rounds;
    /// Size of the file system of the log, at the last maintenance run.
    Server(s) "segments/disk_bytes" Gauge "metricstream_disk_size_bytes" = &s.maintenance.disk_bytes;
    /// Free space on the file system of the log, available to the server.
    Server(s) "segments/disk_free_bytes" Gauge "metricstream_disk_free_bytes" = &s.maintenance.disk_free_bytes;

    // Tracing, and the export of the server's own statistics.
    /// Requests and deliveries whose trace was handed to the exporter: recorded = exported + failed + queued.
    Server(s) "traces/recorded" Counter "metricstream_traces_recorded" = traces_recorded(s);
    /// Requests and deliveries selected for tracing and not traced, by reason.
    Server(s) "traces/dropped_by" Counter "metricstream_traces_dropped" =
        Reading::by("reason", Untraced::ALL, Untraced::label, |by| traces_dropped(s, by));
    /// Requests and deliveries whose spans an OTLP receiver accepted.
    Server(s) "traces/exported" Counter "metricstream_traces_exported" = &s.exported.traces;
    /// Requests and deliveries whose spans could not be exported.
    Server(s) "traces/failed" Counter "metricstream_traces_failed" = &s.exported.traces_failed;
    /// Requests and deliveries whose trace is waiting to be exported.
    Server(s) "" Gauge "metricstream_traces_queued" = traces_queued(s);
    /// Spans that an OTLP receiver accepted.
    Server(s) "traces/spans_exported" Counter "metricstream_spans_exported" = &s.exported.spans;
    /// Exports of the server's own metrics to an OTLP receiver, by outcome.
    Server(s) "traces/figures_exported" Counter r#"metricstream_otlp_figures{outcome="exported"}"# =
        &s.exported.figures;
    Server(s) "traces/figures_failed" Counter r#"metricstream_otlp_figures{outcome="failed"}"# =
        &s.exported.figures_failed;

    // Memory and the process.
    /// Memory by owner. For rings it is address space, whose pages are allocated on first use.
    Server(s) "memory_bytes" Gauge "metricstream_memory_bytes" =
        Reading::By("owner", s.memory().map(|(owner, bytes)| (owner, bytes.into())).into());
    /// Start time of the process since unix epoch in seconds.
    Server(s) "" Gauge "process_start_time_seconds" = in_units(s.facts.started_unix_ns, SECOND_NS);
    /// Resident memory size in bytes.
    Server(s) "process/resident_bytes" Gauge "process_resident_memory_bytes" = s.process.resident_bytes;
    /// Virtual memory size in bytes.
    Server(s) "process/virtual_bytes" Gauge "process_virtual_memory_bytes" = s.process.virtual_bytes;
    /// Total user and system CPU time spent in seconds.
    Server(s) "process/cpu_seconds" Counter "process_cpu_seconds" = s.process.cpu_seconds;
    /// Number of OS threads in the process.
    Server(s) "process/threads" Gauge "process_threads" = s.process.threads;
    /// Number of open file descriptors.
    Server(s) "process/open_descriptors" Gauge "process_open_fds" = s.process.open_descriptors;
    /// Maximum number of open file descriptors.
    Server(s) "process/descriptors_limit" Gauge "process_max_fds" = s.process.descriptors_limit;

    // Reactors.
    Reactor(r) "reactor" = r.reactor;
    /// Open connections, by reactor.
    Reactor(r) "connections_active" Gauge "metricstream_connections_active" = r.connections_active;
    /// Bytes waiting for the writer.
    Reactor(r) "queued_bytes" Gauge "metricstream_ring_queued_bytes" = r.queued_bytes;
    /// Maximum number of bytes that have waited for the writer.
    Reactor(r) "queued_bytes_max" Gauge "metricstream_ring_queued_peak_bytes" = r.queued_bytes_max;
    /// Memory held for peers: heads, bodies, responses, and data of paused connections.
    Reactor(r) "held_bytes" Gauge "metricstream_held_bytes" = r.held_bytes;
    /// Maximum memory that may be held for peers.
    Reactor(r) "held_bytes_limit" Gauge "metricstream_held_limit_bytes" = r.held_bytes_limit;
    /// Size of the ring to the writer.
    Reactor(r) "ring_bytes" Gauge "metricstream_ring_capacity_bytes" = r.ring_bytes;
    /// Bursts of responses waiting for the log.
    Reactor(r) "bursts_held" Gauge "metricstream_bursts_held" = r.bursts_held;
    /// Turns of the reactor.
    Reactor(r) "turns" Counter "metricstream_reactor_turns" = r.driver.turns;
    /// Turns longer than 50ms; all connections of the core wait meanwhile.
    Reactor(r) "turns_stalled" Counter "metricstream_reactor_stalls" = r.counters.turns_stalled;
    /// Turns that used up their share of work, so that what had arrived beyond it waited for the next.
    Reactor(r) "turns_full" Counter "metricstream_reactor_full_turns" = r.counters.turns_full;
    /// Waits in the kernel.
    Reactor(r) "enters" Counter "metricstream_reactor_enters" = r.driver.enters;
    /// Completions or readiness events processed.
    Reactor(r) "completions" Counter "metricstream_reactor_completions" = r.driver.completions;
    Reactor(r) "completions_per_enter" = quotient(r.driver.completions, r.driver.enters);
    /// Receives that found no free buffer.
    Reactor(r) "buffers_exhausted" Counter "metricstream_reactor_buffers_exhausted" = r.driver.buffers_exhausted;
    /// Multishot operations armed again.
    Reactor(r) "rearms" Counter "metricstream_reactor_rearms" = r.driver.rearms;
    /// Completions that the kernel held back because the queue was full.
    Reactor(r) "overflows" Counter "metricstream_reactor_overflows" = r.driver.overflows;
    /// Sends completed only in part, and resumed.
    Reactor(r) "short_sends" Counter "metricstream_reactor_short_sends" = r.driver.short_sends;
    /// Times accepting was paused.
    Reactor(r) "accept_pauses" Counter "metricstream_reactor_accept_pauses" = r.driver.accept_pauses;
    /// Timers that fired.
    Reactor(r) "timers_fired" Counter "metricstream_reactor_timers_fired" = r.counters.timers_fired;
    /// Reactors that did not report in time; the last report of each is used.
    Server(s) "reactors_silent" Gauge "metricstream_reactors_silent" = s.collected.silent();

    // Queries.
    /// Threads that run queries.
    Server(s) "queries/threads" Gauge "metricstream_query_threads" = s.queries.threads;
    /// Queries received: received = ended + waiting + running.
    Server(s) "queries/received" Counter "metricstream_queries_received" = s.queries.received();
    /// Queries waiting for a thread.
    Server(s) "queries/waiting" Gauge "metricstream_queries_waiting" = s.queries.waiting();
    /// Queries that have started and not ended, including those whose response is being sent.
    Server(s) "queries/running" Gauge "metricstream_queries_running" = s.queries.running();
    /// Running queries without a thread, because their clients have not read the response so far.
    Server(s) "queries/unread" Gauge "metricstream_queries_unread" = s.queries.unread();
    /// Waiting queries that wait for lines to be written (GET /log).
    Server(s) "queries/log_waiting" Gauge "metricstream_queries_log_waiting" = s.queries.log_waiting();
    /// Ended queries, by outcome.
    Server(s) "queries/ended_by" Counter "metricstream_queries_ended" =
        Reading::by("outcome", Outcome::ALL, Outcome::label, |outcome| s.queries.ended(outcome));
    /// Bytes of the log that queries scanned.
    Server(s) "queries/scanned_bytes" Counter "metricstream_query_scanned_bytes" = &s.queries.scanned_bytes;
    /// Bytes of files that queries read.
    Server(s) "queries/read_bytes" Counter "metricstream_query_read_bytes" = &s.queries.read_bytes;
    /// Damaged or foreign lines that queries skipped.
    Server(s) "queries/foreign_lines" Counter "metricstream_query_foreign_lines" = &s.queries.foreign_lines;
    /// Bytes of responses to queries, handed to the reactors.
    Server(s) "queries/response_bytes" Counter "metricstream_query_response_bytes" = &s.queries.body_bytes;
    /// The name of metricstream_query_response_bytes in 0.1, served beside it until 0.3.
    Server(s) "queries/answer_bytes" Counter "metricstream_query_answer_bytes" = &s.queries.body_bytes;
    /// Chunks of responses to queries.
    Server(s) "queries/pieces" Counter "metricstream_query_pieces" = &s.queries.pieces;
    /// Time from the arrival of a query that got a thread until its whole response was handed over, or it ended.
    Server(s) "queries/duration_us" Histogram "metricstream_query_duration_seconds" =
        Reading::Distribution(Times, Cow::Owned(s.queries.durations()), None);

    // The live page.
    /// Open streams of the live page.
    Server(s) "live_page/streams" Gauge "metricstream_ui_streams" = s.streams.active();
    /// Streams of the live page that began: opened = open + ended.
    Server(s) "live_page/streams_opened" Counter "metricstream_ui_streams_opened" = s.streams.opened();
    /// Streams of the live page that were refused because too many were open.
    Server(s) "live_page/streams_refused" Counter "metricstream_ui_streams_refused" = s.streams.refused();
    /// Streams of the live page that ended, by reason.
    Server(s) "live_page/streams_ended_by" Counter "metricstream_ui_streams_ended" =
        Reading::by("reason", StreamEnd::ALL, StreamEnd::label, |how| s.streams.ended(how));
    Server(s) "live_page/points" = &s.streams.points;
    Server(s) "live_page/bytes" = &s.streams.bytes;

    // Forwards.
    Forward(f) "name" = f.name.as_str();
    /// Samples that a receiver acknowledged.
    Forward(f) "delivered" Counter "metricstream_forward_samples" = &f.delivered;
    /// Requests that a receiver acknowledged.
    Forward(f) "requests" Counter "metricstream_forward_requests" = &f.requests;
    /// Samples that a receiver refused and that are not sent again, by reason.
    Forward(f) "refused_by" Counter "metricstream_forward_refused_samples" =
        Reading::by("reason", RefusedBy::ALL, RefusedBy::label, |by| &f.refused[by as usize]);
    /// Samples replaced in their request by a later one of the same series and millisecond.
    Forward(f) "superseded" Counter "metricstream_forward_superseded" = &f.superseded;
    /// Lines that are not lines of the log.
    Forward(f) "foreign_lines" Counter "metricstream_forward_foreign_lines" = &f.foreign_lines;
    /// Attempts to send a request that failed.
    Forward(f) "retries" Counter "metricstream_forward_retries" = &f.retries;
    /// Times that the log no longer held what was to be sent next.
    Forward(f) "gaps" Counter "metricstream_forward_gaps" = &f.gaps;
    /// Failures to write a forward's place in the log.
    Forward(f) "cursor_failures" Counter "metricstream_forward_cursor_failures" = &f.cursor_failures;
    /// Lines deleted before they were delivered.
    Forward(f) "undelivered_lines" Counter "metricstream_forward_undelivered_lines" = f.hold.lost_lines();
    /// Bytes of lines deleted before they were delivered.
    Forward(f) "undelivered_bytes" Counter "metricstream_forward_undelivered_bytes" = f.hold.lost_bytes();
    /// Bytes of the log that a receiver does not have yet, as they are on disk.
    Forward(f) "bytes_behind" Gauge "metricstream_forward_behind_bytes" = &f.bytes_behind;
    /// Seconds since a receiver had everything that was written.
    Forward(f) "seconds_behind" Gauge "metricstream_forward_behind_seconds" = f.seconds_behind();
    Forward(f) "last_error" = f.last_error();
    /// Bytes of segments that may be held for forwards beyond what retention keeps.
    Server(s) "" Gauge "metricstream_forward_hold_limit_bytes" =
        (!s.forwards.is_empty()).then_some(s.facts.forward_hold_bytes);

    // Protocols: for each of them received = stored + rejected + shed + pending.
    /// Batches received, by protocol.
    Protocol(p) "batches_received" Counter "metricstream_protocol_batches_received" =
        p.0.all.counters.protocol_batches_received[p.1 as usize];
    /// Batches stored at their acknowledgement level, by protocol.
    Protocol(p) "batches_stored" Counter "metricstream_protocol_batches_stored" =
        p.0.all.counters.protocol_batches_stored[p.1 as usize];
    /// Batches of which nothing is stored because of a client error, by protocol.
    Protocol(p) "batches_rejected" Counter "metricstream_protocol_batches_rejected" =
        p.0.all.counters.protocol_batches_rejected[p.1 as usize];
    /// Batches refused with 503 because of the state of the server, by protocol.
    Protocol(p) "batches_shed" Counter "metricstream_protocol_batches_shed" =
        p.0.all.counters.protocol_batches_shed[p.1 as usize];
    Protocol(p) "batches_pending" = p.0.all.counters.protocol_batches_pending(p.1);
    /// Metrics found in batches, by protocol.
    Protocol(p) "metrics_received" Counter "metricstream_protocol_metrics_received" =
        p.0.all.counters.protocol_metrics_received[p.1 as usize];
    /// Metrics stored, one line each, by protocol.
    Protocol(p) "metrics_stored" Counter "metricstream_protocol_metrics_stored" =
        p.0.all.counters.protocol_metrics_stored[p.1 as usize];
    /// Metrics rejected, alone or with their batch, by protocol.
    Protocol(p) "metrics_rejected" Counter "metricstream_protocol_metrics_rejected" =
        p.0.all.counters.protocol_metrics_rejected[p.1 as usize];
    Protocol(p) "metrics_pending" = p.0.all.counters.protocol_metrics_pending(p.1);
    /// Metrics rejected alone, while the valid rest of their batch was stored, by reason.
    Server(s) "metrics_rejected_alone_by" Counter "metricstream_metrics_rejected_alone" =
        Reading::by("reason", Reject::ALL, Reject::label, |by| s.all.counters.metrics_rejected_alone[by as usize]);
    /// Elements of batches that are no metrics and are not stored, by kind.
    Server(s) "elements_skipped_by" Counter "metricstream_elements_skipped" =
        Reading::by("kind", Skip::ALL, Skip::label, |kind| s.all.counters.elements_skipped[kind as usize]);

    // Lines on standard error.
    /// Log lines written to standard error.
    Server(_s) "log_lines/written" Counter "metricstream_log_lines_written" = logging::counts().written;
    /// Log lines dropped because standard error was blocked with a full queue, or failed.
    Server(_s) "log_lines/dropped" Counter "metricstream_log_lines_dropped" = logging::counts().dropped;
    Server(_s) "log_lines/queued_bytes" = logging::counts().queued_bytes;
}

fn build(snapshot: &Snapshot<'_>) -> Reading<'static> {
    let facts = snapshot.facts;
    let labels = format!("version=\"{}\",driver=\"{}\",ack=\"{}\"", env!("CARGO_PKG_VERSION"), facts.driver, facts.ack);
    Reading::Samples(vec![(labels, 1)])
}

fn responses(snapshot: &Snapshot<'_>) -> Reading<'static> {
    let counters = snapshot.all.counters;
    let fine = [
        (Status::Ok, "ok", counters.responses_ok),
        (Status::NoContent, "preflight", counters.preflights),
        (Status::Accepted, "ok", counters.responses_accepted),
        (Status::NoContent, "ok", counters.responses_no_content),
        (Status::SeeOther, "ok", counters.responses_see_other),
        (Status::NotModified, "ok", counters.responses_not_modified),
    ];
    let refused = REASONS.iter().zip(counters.refused).map(|(&(reason, status), count)| (status, reason, count));
    let sample = |(status, reason, count): (Status, &str, u64)| {
        (format!("status=\"{}\",reason=\"{reason}\"", status.code()), count)
    };
    Reading::Samples(fine.into_iter().chain(refused).map(sample).collect())
}

/// A distribution since the start, and in the last interval.
fn both<'a>(unit: Unit, snapshot: &'a Snapshot<'_>, of: fn(&Measures) -> &Distribution) -> Reading<'a> {
    Reading::Distribution(unit, Cow::Borrowed(of(snapshot.all.measures)), Some(of(snapshot.interval.measures)))
}

fn stages<'a>(snapshot: &'a Snapshot<'_>) -> Reading<'a> {
    let (all, interval) = (&snapshot.all.measures.cores.stage_ns, &snapshot.interval.measures.cores.stage_ns);
    let stage = |stage: Stage| {
        Reading::Distribution(Times, Cow::Borrowed(&all[stage as usize]), Some(&interval[stage as usize]))
    };
    Reading::by("stage", Stage::ALL, Stage::label, stage)
}

fn sum(snapshot: &Snapshot<'_>, of: fn(&Report) -> u64) -> u64 {
    snapshot.collected.reports().map(of).sum()
}

fn quotient(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { in_units(part, whole) }
}

fn traces_recorded(snapshot: &Snapshot<'_>) -> u64 {
    snapshot.all.counters.traced + snapshot.exported.deliveries.load(Relaxed)
}

fn traces_dropped(snapshot: &Snapshot<'_>, by: Untraced) -> u64 {
    snapshot.all.counters.untraced[by as usize] + snapshot.exported.deliveries_dropped[by as usize].load(Relaxed)
}

fn traces_queued(snapshot: &Snapshot<'_>) -> u64 {
    let read = |counter: &AtomicU64| counter.load(Relaxed);
    let exported = snapshot.exported;
    traces_recorded(snapshot).saturating_sub(read(&exported.traces) + read(&exported.traces_failed))
}

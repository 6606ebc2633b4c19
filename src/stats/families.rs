//! The metric families of `GET /metrics`: name, help and source of the samples of each. The number of samples is
//! bounded by the configuration and by constants; nothing that a client sends becomes a label.

use super::{
    Closed, Counters, Protocol, Rejection, Report, Shed, Stage, Untraced,
    exposition::{BYTES, Exposition, Kind, METRICS, TIMES, in_units},
    observer::Snapshot,
    process::Process,
};
use crate::{
    limits, logging,
    stats::{ForwardStatus, Outcome, RefusedBy, StreamEnd},
};
use Kind::{Counter, Gauge, Histogram, Info};
use http1::{REASONS, Status};
use log::{LogHealth, os::dirent};
use metric::{Reject, Skip};
use std::sync::atomic::{AtomicU64, Ordering};

/// Collects all families from a snapshot, independent of the output format.
pub fn collect(snapshot: &Snapshot<'_>) -> Exposition {
    let mut exposition = Exposition::default();
    server(&mut exposition, snapshot);
    requests(&mut exposition, snapshot);
    connections(&mut exposition, snapshot);
    durations(&mut exposition, snapshot);
    log(&mut exposition, snapshot);
    segments(&mut exposition, snapshot);
    queries(&mut exposition, snapshot);
    live_page(&mut exposition, snapshot);
    limiter(&mut exposition, snapshot);
    reactors(&mut exposition, snapshot);
    memory(&mut exposition, snapshot);
    forwards(&mut exposition, snapshot);
    tracing(&mut exposition, snapshot);
    process(&mut exposition, snapshot);
    exposition
}

fn server(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let facts = snapshot.facts;
    let build = format!("version=\"{}\",driver=\"{}\",ack=\"{}\"", env!("CARGO_PKG_VERSION"), facts.driver, facts.ack);
    to.family("metricstream_build", Info, "Version, network driver and default acknowledgement level of this server.")
        .sample(&build, 1_u64);
    to.single(
        "metricstream_ready",
        Gauge,
        "1 when the server accepts batches and its log works as configured.",
        snapshot.unready().is_empty(),
    );
    to.single("metricstream_draining", Gauge, "1 while the server is shutting down.", snapshot.draining);
    to.single("metricstream_reactors", Gauge, "Number of reactors.", snapshot.reactors);
    let help = "Reactors that did not report in time; the last report of each is used.";
    to.single("metricstream_reactors_silent", Gauge, help, snapshot.collected.silent());
    let help = "Starts that found a log that was not closed cleanly.";
    to.single("metricstream_unclean_shutdowns", Counter, help, facts.unclean_shutdowns);
    let help = "Warnings not logged because one of the same kind was logged within the last second.";
    to.single("metricstream_warnings_suppressed", Counter, help, snapshot.all.counters.warnings_suppressed);
    let lines = logging::counts();
    let help = "Log lines written to standard error.";
    to.single("metricstream_log_lines_written", Counter, help, lines.written);
    let help = "Log lines dropped because standard error was blocked with a full queue, or failed.";
    to.single("metricstream_log_lines_dropped", Counter, help, lines.dropped);
}

fn requests(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let family = to.family(
        "metricstream_http_requests",
        Counter,
        "Responses for all paths, by status and reason (ok: the request was not refused).",
    );
    family.sample(&format!("status=\"{}\",reason=\"ok\"", Status::Ok.code()), counters.answered_ok);
    family.sample(&format!("status=\"{}\",reason=\"preflight\"", Status::NoContent.code()), counters.preflights);
    for (status, count) in [
        (Status::Accepted, counters.answered_accepted),
        (Status::NoContent, counters.answered_no_content),
        (Status::SeeOther, counters.answered_see_other),
        (Status::NotModified, counters.answered_not_modified),
    ] {
        family.sample(&format!("status=\"{}\",reason=\"ok\"", status.code()), count);
    }
    for ((reason, status), count) in REASONS.iter().zip(counters.refused) {
        family.sample(&format!("status=\"{}\",reason=\"{reason}\"", status.code()), count);
    }
    let help = "Responses dropped because the log did not store the batch in time; the batch may still be stored.";
    to.single("metricstream_answers_abandoned", Counter, help, counters.answers_abandoned);

    let help = "Batches received: received = stored + rejected + shed + pending.";
    to.single("metricstream_batches_received", Counter, help, counters.batches_received);
    let help = "Batches stored at their acknowledgement level.";
    to.single("metricstream_batches_stored", Counter, help, counters.batches_stored);
    let help = "Batches rejected because of a client error, by reason.";
    let family = to.family("metricstream_batches_rejected", Counter, help);
    for (reason, count) in Rejection::ALL.iter().zip(counters.batches_rejected) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Batches refused with 503 because of the state of the server, by reason.";
    let family = to.family("metricstream_batches_shed", Counter, help);
    for (reason, count) in Shed::ALL.iter().zip(counters.batches_shed) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Batches being received or waiting for the log.";
    to.single("metricstream_batches_pending", Gauge, help, counters.pending());

    let help =
        "Metrics parsed: received = stored + rejected + pending. Batches refused without being read are not counted.";
    to.single("metricstream_metrics_received", Counter, help, counters.metrics_received);
    to.single("metricstream_metrics_stored", Counter, "Metrics stored, one line each.", counters.metrics_stored);
    let help = "Metrics of malformed batches, up to and including the invalid one.";
    to.single("metricstream_metrics_rejected", Counter, help, counters.metrics_rejected);
    let help = "Metrics whose timestamp differs by more than a day from the time of arrival; /stats/clients lists them by client.";
    to.single("metricstream_metrics_far_from_now", Counter, help, counters.metrics_far_from_now);
    let help = "Metrics of batches that wait for the log.";
    to.single("metricstream_metrics_pending", Gauge, help, counters.metrics_pending());

    protocols(to, counters);

    let help = "Bytes of completely received bodies, decoded: received = stored + rejected + shed + pending.";
    to.single("metricstream_body_received_bytes", Counter, help, counters.body_bytes_received);
    let help = "Bytes of bodies whose batch was stored.";
    to.single("metricstream_body_stored_bytes", Counter, help, counters.body_bytes_stored);
    let help = "Bytes of bodies whose batch was rejected.";
    to.single("metricstream_body_rejected_bytes", Counter, help, counters.body_bytes_rejected);
    to.single(
        "metricstream_body_shed_bytes",
        Counter,
        "Bytes of bodies whose batch was refused with 503.",
        counters.body_bytes_shed,
    );
    let help = "Bytes of bodies whose batch waits for the log.";
    to.single("metricstream_body_pending_bytes", Gauge, help, counters.body_bytes_pending());
    to.single("metricstream_line_bytes", Counter, "Bytes of lines handed to the writer.", counters.line_bytes);
}

/// Batches and metrics by protocol: for each of them received = stored + rejected + shed + pending.
fn protocols(to: &mut Exposition, counters: &Counters) {
    let mut by_protocol = |name: &'static str, help: &'static str, counts: &[u64]| {
        let family = to.family(name, Counter, help);
        for (protocol, &count) in Protocol::ALL.iter().zip(counts) {
            family.labelled("protocol", protocol.label(), count);
        }
    };
    let help = "Batches received, by protocol.";
    by_protocol("metricstream_protocol_batches_received", help, &counters.protocol_batches_received);
    let help = "Batches stored at their acknowledgement level, by protocol.";
    by_protocol("metricstream_protocol_batches_stored", help, &counters.protocol_batches_stored);
    let help = "Batches of which nothing is stored because of a client error, by protocol.";
    by_protocol("metricstream_protocol_batches_rejected", help, &counters.protocol_batches_rejected);
    let help = "Batches refused with 503 because of the state of the server, by protocol.";
    by_protocol("metricstream_protocol_batches_shed", help, &counters.protocol_batches_shed);
    let help = "Metrics found in batches, by protocol.";
    by_protocol("metricstream_protocol_metrics_received", help, &counters.protocol_metrics_received);
    let help = "Metrics stored, one line each, by protocol.";
    by_protocol("metricstream_protocol_metrics_stored", help, &counters.protocol_metrics_stored);
    let help = "Metrics rejected, alone or with their batch, by protocol.";
    by_protocol("metricstream_protocol_metrics_rejected", help, &counters.protocol_metrics_rejected);
    let help = "Metrics rejected alone, while the valid rest of their batch was stored, by reason.";
    let family = to.family("metricstream_metrics_rejected_alone", Counter, help);
    for (reason, count) in Reject::ALL.iter().zip(counters.metrics_rejected_alone) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Elements of batches that are no metrics and are not stored, by kind.";
    let family = to.family("metricstream_elements_skipped", Counter, help);
    for (kind, count) in Skip::ALL.iter().zip(counters.elements_skipped) {
        family.labelled("kind", kind.label(), count);
    }
}

fn connections(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let family = to.family("metricstream_connections_active", Gauge, "Open connections, by reactor.");
    for report in snapshot.collected.reports() {
        family.labelled("reactor", report.reactor, report.connections_active);
    }
    let help = "Maximum number of open connections.";
    to.single("metricstream_connections_limit", Gauge, help, u64::from(snapshot.facts.connections_limit));
    let help = "Connections accepted and served.";
    to.single("metricstream_connections_accepted", Counter, help, counters.connections_accepted);
    let help = "Connections over the limit: their requests get a 503, except for /health and /ready.";
    to.single("metricstream_connections_refused", Counter, help, counters.connections_refused);
    to.single("metricstream_accept_failures", Counter, "Failed calls of accept(2).", counters.accept_failures);
    let help = "Valid PROXY protocol headers received.";
    to.single("metricstream_proxy_headers", Counter, help, counters.proxy_headers);
    let family = to.family(
        "metricstream_forwarded_requests",
        Counter,
        "Requests forwarded by trusted proxies, by outcome: named (with a usable client address) or unusable.",
    );
    family.labelled("outcome", "named", counters.forwarded_requests);
    family.labelled("outcome", "unusable", counters.forwarded_unusable);
    let family = to.family("metricstream_connections_closed", Counter, "Closed connections, by reason.");
    for (reason, count) in Closed::ALL.iter().zip(counters.connections_closed) {
        family.labelled("reason", reason.label(), count);
    }
}

fn durations(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let cores = &snapshot.all.measures.cores;
    let family = to.family(
        "metricstream_request_duration_seconds",
        Histogram,
        "Time from the last byte of a request until the kernel has taken the whole response, for batches and for other requests.",
    );
    family.histogram("route=\"batch\"", &cores.batch_ns, TIMES);
    family.histogram("route=\"other\"", &cores.other_ns, TIMES);
    let family = to.family(
        "metricstream_stage_duration_seconds",
        Histogram,
        "Time of a batch by stage: decide, then write or sync according to its level, then send add up to the total; receive, \
         the time from head to body, is not part of it.",
    );
    for (stage, distribution) in Stage::ALL.iter().zip(&cores.stage_ns) {
        family.histogram(&format!("stage=\"{}\"", stage.label()), distribution, TIMES);
    }
    to.family("metricstream_batch_metrics", Histogram, "Number of metrics in each well-formed batch.").histogram(
        "",
        &cores.batch_metrics,
        METRICS,
    );
    to.family("metricstream_batch_body_bytes", Histogram, "Size of the decoded body of each well-formed batch.")
        .histogram("", &cores.batch_body_bytes, BYTES);
}

fn log(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let log = snapshot.log.counts();
    let measures = snapshot.all.measures;
    let help = "1 when the log accepts data, 0 when the disk is full or failing.";
    to.single("metricstream_log_available", Gauge, help, snapshot.log.health().is_healthy());
    let family = to.family("metricstream_log_health", Gauge, "1 for the current state of the log, 0 for the others.");
    for state in LogHealth::ALL {
        family.labelled("state", state.label(), state == snapshot.log.health());
    }
    to.single("metricstream_log_written_bytes", Counter, "Bytes written to the log.", log.bytes);
    let help = "Gathered writes of all rings that completed.";
    to.single("metricstream_log_gathers", Counter, help, log.gathers);
    let help = "Calls of writev(2) that wrote only part of their data.";
    to.single("metricstream_log_short_writes", Counter, help, log.short_writes);
    to.single("metricstream_log_stalls", Counter, "Times the log stalled because the disk was full.", log.stalls);
    to.single("metricstream_log_rotations", Counter, "Segments sealed.", log.rotations);
    let help = "Rotations that were postponed because the segment could not be sealed.";
    to.single("metricstream_log_rotations_postponed", Counter, help, log.rotations_postponed);
    let help = "Times another process truncated the active segment or appended to it.";
    to.single("metricstream_log_changed_outside", Counter, help, log.changed_outside);
    let help = "Syncs of the directory that the file system does not support.";
    to.single("metricstream_log_directory_syncs_unsupported", Counter, help, dirent::syncs_unsupported());
    let help = "Times the state file was deleted, truncated or replaced while in use, and created again.";
    to.single("metricstream_log_state_files_lost", Counter, help, log.notes_lost);
    to.single("metricstream_log_writer_sleeps", Counter, "Times the writer slept.", log.sleeps);
    let help = "Times the writer woke a reactor or the group commit thread.";
    to.single("metricstream_log_wakes", Counter, help, log.wakeups);
    to.family("metricstream_log_write_duration_seconds", Histogram, "Duration of writev(2).").histogram(
        "",
        &measures.writev_ns,
        TIMES,
    );
    to.family("metricstream_log_write_size_bytes", Histogram, "Bytes written by each writev(2).").histogram(
        "",
        &measures.writev_bytes,
        BYTES,
    );
    to.family("metricstream_log_sync_duration_seconds", Histogram, "Duration of fdatasync(2).").histogram(
        "",
        &measures.sync_ns,
        TIMES,
    );
}

fn segments(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let maintenance = snapshot.maintenance;
    for (name, kind, help, value) in [
        ("metricstream_segments", Gauge, "Sealed segments, at the last maintenance run.", &maintenance.segments),
        (
            "metricstream_segments_bytes",
            Gauge,
            "Bytes of sealed segments and their sidecars.",
            &maintenance.segment_bytes,
        ),
        ("metricstream_segments_indexed", Counter, "Sidecars built.", &maintenance.indexed),
        ("metricstream_segments_compressed", Counter, "Segments compressed.", &maintenance.compressed),
        ("metricstream_segments_retired", Counter, "Segments deleted by retention.", &maintenance.retired),
        (
            "metricstream_segments_retired_bytes",
            Counter,
            "Bytes of segments deleted by retention.",
            &maintenance.retired_bytes,
        ),
        (
            "metricstream_segments_forfeited",
            Counter,
            "Segments deleted by retention before a forward had delivered them.",
            &maintenance.forfeited,
        ),
        (
            "metricstream_segments_held_bytes",
            Gauge,
            "Bytes of segments that retention would have deleted and that are held for a forward.",
            &maintenance.held_bytes,
        ),
        ("metricstream_segments_damaged", Counter, "Segments found damaged and left unchanged.", &maintenance.damaged),
        ("metricstream_segments_failures", Counter, "Failed maintenance operations.", &maintenance.failures),
        (
            "metricstream_clock_steps",
            Counter,
            "Times the wall clock was set by more than a minute.",
            &maintenance.clock_steps,
        ),
        (
            "metricstream_segments_age_held_back",
            Gauge,
            "1 while retention by age deletes nothing older than this start, because the clock was set.",
            &maintenance.age_held_back,
        ),
        (
            "metricstream_disk_size_bytes",
            Gauge,
            "Size of the file system of the log, at the last maintenance run.",
            &maintenance.disk_bytes,
        ),
        (
            "metricstream_disk_free_bytes",
            Gauge,
            "Free space on the file system of the log, available to the server.",
            &maintenance.disk_free_bytes,
        ),
    ] {
        to.single(name, kind, help, value.load(Ordering::Relaxed));
    }
}

fn live_page(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let streams = snapshot.streams;
    to.single("metricstream_ui_streams", Gauge, "Open streams of the live page.", streams.active());
    let help = "Streams of the live page that began: opened = open + ended.";
    to.single("metricstream_ui_streams_opened", Counter, help, streams.opened());
    let help = "Streams of the live page that were refused because too many were open.";
    to.single("metricstream_ui_streams_refused", Counter, help, streams.refused());
    let help = "Streams of the live page that ended, by reason.";
    let family = to.family("metricstream_ui_streams_ended", Counter, help);
    for &how in StreamEnd::ALL {
        family.labelled("reason", how.label(), streams.ended(how));
    }
}

fn queries(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let queries = snapshot.queries;
    to.single("metricstream_query_threads", Gauge, "Threads that run queries.", queries.threads);
    let help = "Queries received: received = ended + waiting + running.";
    to.single("metricstream_queries_received", Counter, help, queries.received());
    let family = to.family("metricstream_queries_ended", Counter, "Ended queries, by outcome.");
    for &outcome in Outcome::ALL {
        family.labelled("outcome", outcome.label(), queries.ended(outcome));
    }
    to.single("metricstream_queries_waiting", Gauge, "Queries waiting for a thread.", queries.waiting());
    let help = "Queries that have started and not ended, including those whose response is being sent.";
    to.single("metricstream_queries_running", Gauge, help, queries.running());
    let help = "Running queries without a thread, because their clients have not read the response so far.";
    to.single("metricstream_queries_unread", Gauge, help, queries.unread());
    let help = "Waiting queries that wait for lines to be written (GET /log).";
    to.single("metricstream_queries_log_waiting", Gauge, help, queries.log_waiting());
    for (name, help, value) in [
        ("metricstream_query_scanned_bytes", "Bytes of the log that queries scanned.", &queries.scanned_bytes),
        ("metricstream_query_read_bytes", "Bytes of files that queries read.", &queries.read_bytes),
        ("metricstream_query_foreign_lines", "Damaged or foreign lines that queries skipped.", &queries.foreign_lines),
        (
            "metricstream_query_answer_bytes",
            "Bytes of responses to queries, handed to the reactors.",
            &queries.body_bytes,
        ),
        ("metricstream_query_pieces", "Chunks of responses to queries.", &queries.pieces),
    ] {
        to.single(name, Counter, help, value.load(Ordering::Relaxed));
    }
    let help =
        "Time from the arrival of a query that got a thread until its whole response was handed over, or it ended.";
    to.family("metricstream_query_duration_seconds", Histogram, help).histogram("", &queries.durations(), TIMES);
}

fn limiter(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let Some(limiter) = snapshot.limiter else { return };
    to.single("metricstream_limiter_clients", Gauge, "Clients that the rate limiter tracks.", limiter.clients);
    let help = "Decisions of the rate limiter: allowed, denied (429), or no_room in its table of clients (503).";
    let family = to.family("metricstream_limiter_decisions", Counter, help);
    family.labelled("decision", "allowed", counters.rate_admitted);
    family.labelled("decision", "denied", counters.batches_rejected[Rejection::RateLimited as usize]);
    family.labelled("decision", "no_room", counters.batches_shed[Shed::ClientsFull as usize]);
    let help = "Requests refunded to their client because they were refused with a 503.";
    to.single("metricstream_limiter_given_back", Counter, help, counters.rate_refunded);
    let help = "Decisions missing from /stats/clients because a core's event ring was full.";
    to.single("metricstream_limiter_events_dropped", Counter, help, snapshot.top_clients.totals().dropped);
}

fn reactors(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let mut each = |name, kind, help: &str, of: fn(&Report) -> u64| {
        let family = to.family(name, kind, help);
        for report in snapshot.collected.reports() {
            family.labelled("reactor", report.reactor, of(report));
        }
    };
    each("metricstream_ring_queued_bytes", Gauge, "Bytes waiting for the writer.", |r| r.queued_bytes);
    each(
        "metricstream_ring_queued_peak_bytes",
        Gauge,
        "Maximum number of bytes that have waited for the writer.",
        |r| r.queued_bytes_max,
    );
    each("metricstream_ring_capacity_bytes", Gauge, "Size of the ring to the writer.", |r| r.ring_bytes);
    let help = "Memory held for peers: heads, bodies, responses, and data of paused connections.";
    each("metricstream_held_bytes", Gauge, help, |r| r.held_bytes);
    each("metricstream_held_limit_bytes", Gauge, "Maximum memory that may be held for peers.", |r| r.held_bytes_limit);
    each("metricstream_bursts_held", Gauge, "Bursts of responses waiting for the log.", |r| r.bursts_held);
    each("metricstream_reactor_turns", Counter, "Turns of the reactor.", |r| r.driver.turns);
    each("metricstream_reactor_enters", Counter, "Waits in the kernel.", |r| r.driver.enters);
    each("metricstream_reactor_completions", Counter, "Completions or readiness events processed.", |r| {
        r.driver.completions
    });
    let help = "Receives that found no free buffer.";
    each("metricstream_reactor_buffers_exhausted", Counter, help, |r| r.driver.buffers_exhausted);
    each("metricstream_reactor_rearms", Counter, "Multishot operations armed again.", |r| r.driver.rearms);
    let help = "Completions that the kernel held back because the queue was full.";
    each("metricstream_reactor_overflows", Counter, help, |r| r.driver.overflows);
    each("metricstream_reactor_short_sends", Counter, "Sends completed only in part, and resumed.", |r| {
        r.driver.short_sends
    });
    each("metricstream_reactor_accept_pauses", Counter, "Times accepting was paused.", |r| r.driver.accept_pauses);
    each("metricstream_reactor_timers_fired", Counter, "Timers that fired.", |r| r.counters.timers_fired);
    let help = format!("Turns longer than {:?}; all connections of the core wait meanwhile.", limits::TURN_STALL);
    each("metricstream_reactor_stalls", Counter, &help, |r| r.counters.turns_stalled);
    let help = "Turns that used up their share of work, so that what had arrived beyond it waited for the next.";
    each("metricstream_reactor_full_turns", Counter, help, |r| r.counters.turns_full);
    let seconds = |ns| in_units(ns, 1_000_000_000);
    let (all, interval) = (&snapshot.all.measures.cores.turn_ns, &snapshot.interval.measures.cores.turn_ns);
    let help = "Time from the end of one wait of a reactor to the beginning of its next, over all reactors.";
    to.family("metricstream_reactor_turn_duration_seconds", Histogram, help).histogram("", all, TIMES);
    let help = "Longest turn since startup, and in the last statistics interval.";
    let family = to.family("metricstream_reactor_turn_longest_seconds", Gauge, help);
    family.labelled("of", "start", seconds(all.max()));
    family.labelled("of", "interval", seconds(interval.max()));
}

fn memory(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let help = "Memory by owner. For rings it is address space, whose pages are allocated on first use.";
    let family = to.family("metricstream_memory_bytes", Gauge, help);
    for (owner, bytes) in snapshot.memory() {
        family.labelled("owner", owner, bytes);
    }
}

fn process(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let Process { resident_bytes, virtual_bytes, cpu_seconds, threads, open_descriptors, descriptors_limit } =
        snapshot.process;
    let help = "Start time of the process since unix epoch in seconds.";
    to.single("process_start_time_seconds", Gauge, help, in_units(snapshot.facts.started_unix_ns, 1_000_000_000));
    if let Some(seconds) = cpu_seconds {
        to.single("process_cpu_seconds", Counter, "Total user and system CPU time spent in seconds.", seconds);
    }
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Resident memory size in bytes.", resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory size in bytes.", virtual_bytes),
        ("process_threads", "Number of OS threads in the process.", threads),
        ("process_open_fds", "Number of open file descriptors.", open_descriptors),
        ("process_max_fds", "Maximum number of open file descriptors.", descriptors_limit),
    ] {
        if let Some(value) = value {
            to.single(name, Gauge, help, value);
        }
    }
}

fn forwards(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    if snapshot.forwards.is_empty() {
        return;
    }
    type Count = fn(&ForwardStatus) -> &AtomicU64;
    let counts: [(&'static str, Kind, &str, Count); 8] = [
        ("metricstream_forward_samples", Counter, "Samples that a receiver acknowledged.", |of| &of.delivered),
        ("metricstream_forward_requests", Counter, "Requests that a receiver acknowledged.", |of| &of.requests),
        (
            "metricstream_forward_superseded",
            Counter,
            "Samples replaced in their request by a later one of the same series and millisecond.",
            |of| &of.superseded,
        ),
        ("metricstream_forward_foreign_lines", Counter, "Lines that are not lines of the log.", |of| &of.foreign_lines),
        ("metricstream_forward_retries", Counter, "Attempts to send a request that failed.", |of| &of.retries),
        ("metricstream_forward_gaps", Counter, "Times that the log no longer held what was to be sent next.", |of| {
            &of.gaps
        }),
        ("metricstream_forward_cursor_failures", Counter, "Failures to write a forward's place in the log.", |of| {
            &of.cursor_failures
        }),
        (
            "metricstream_forward_behind_bytes",
            Gauge,
            "Bytes of the log that a receiver does not have yet, as they are on disk.",
            |of| &of.bytes_behind,
        ),
    ];
    for (name, kind, help, count) in counts {
        let family = to.family(name, kind, help);
        snapshot.forwards.iter().for_each(|status| family.labelled("forward", &status.name, read(count(status))));
    }
    let help = "Bytes of segments that may be held for forwards beyond what retention keeps.";
    to.single("metricstream_forward_hold_limit_bytes", Gauge, help, snapshot.facts.forward_hold_bytes);
    type Lost = fn(&ForwardStatus) -> u64;
    let lost: [(&'static str, &str, Lost); 2] = [
        ("metricstream_forward_undelivered_lines", "Lines deleted before they were delivered.", |of| {
            of.hold.lost_lines()
        }),
        ("metricstream_forward_undelivered_bytes", "Bytes of lines deleted before they were delivered.", |of| {
            of.hold.lost_bytes()
        }),
    ];
    for (name, help, count) in lost {
        let family = to.family(name, Counter, help);
        snapshot.forwards.iter().for_each(|status| family.labelled("forward", &status.name, count(status)));
    }
    let help = "Seconds since a receiver had everything that was written.";
    let family = to.family("metricstream_forward_behind_seconds", Gauge, help);
    snapshot.forwards.iter().for_each(|status| family.labelled("forward", &status.name, status.seconds_behind()));
    let help = "Samples that a receiver refused and that are not sent again, by reason.";
    let family = to.family("metricstream_forward_refused_samples", Counter, help);
    for status in snapshot.forwards {
        for (reason, count) in RefusedBy::ALL.iter().zip(&status.refused) {
            let labels = format!("forward=\"{}\",reason=\"{}\"", status.name, reason.label());
            family.sample(&labels, read(count));
        }
    }
}

fn tracing(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let (counters, exported) = (snapshot.all.counters, snapshot.exported);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let help = "Requests whose trace was handed to the exporter: recorded = exported + failed + queued.";
    to.single("metricstream_traces_recorded", Counter, help, counters.traced);
    let help = "Requests selected for tracing and not traced, by reason.";
    let family = to.family("metricstream_traces_dropped", Counter, help);
    for (reason, count) in Untraced::ALL.iter().zip(counters.untraced) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Requests whose spans an OTLP receiver accepted.";
    to.single("metricstream_traces_exported", Counter, help, read(&exported.traces));
    let help = "Requests whose spans could not be exported.";
    to.single("metricstream_traces_failed", Counter, help, read(&exported.traces_failed));
    let help = "Requests whose trace is waiting to be exported.";
    let queued = counters.traced.saturating_sub(read(&exported.traces) + read(&exported.traces_failed));
    to.single("metricstream_traces_queued", Gauge, help, queued);
    let help = "Spans that an OTLP receiver accepted.";
    to.single("metricstream_spans_exported", Counter, help, read(&exported.spans));
    let help = "Exports of the server's own metrics to an OTLP receiver, by outcome.";
    let family = to.family("metricstream_otlp_figures", Counter, help);
    family.labelled("outcome", "exported", read(&exported.figures));
    family.labelled("outcome", "failed", read(&exported.figures_failed));
}

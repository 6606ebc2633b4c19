//! What `GET /metrics` shows: every family with its name, its help and where its samples come from. The number of samples is bounded
//! by what is configured and compiled in; nothing that a client sends becomes a label.

use super::{
    Closed, Rejection, Report, Shed, Stage, Untraced,
    exposition::{BYTES, Exposition, Kind, METRICS, TIMES, in_units},
    observer::Snapshot,
    process::Process,
};
use crate::{
    dirent,
    http::{REASONS, Status},
    limits,
    log::LogHealth,
    logging,
    stats::Outcome,
};
use Kind::{Counter, Gauge, Histogram, Info};
use std::sync::atomic::{AtomicU64, Ordering};

/// The state, to be shown in whatever form.
pub fn collect(snapshot: &Snapshot<'_>) -> Exposition {
    let mut exposition = Exposition::default();
    server(&mut exposition, snapshot);
    requests(&mut exposition, snapshot);
    connections(&mut exposition, snapshot);
    durations(&mut exposition, snapshot);
    log(&mut exposition, snapshot);
    segments(&mut exposition, snapshot);
    queries(&mut exposition, snapshot);
    limiter(&mut exposition, snapshot);
    reactors(&mut exposition, snapshot);
    memory(&mut exposition, snapshot);
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
        "1 when the server takes batches and its log goes on as asked.",
        snapshot.unready().is_empty(),
    );
    to.single("metricstream_draining", Gauge, "1 when the server is stopping.", snapshot.draining);
    to.single("metricstream_reactors", Gauge, "Cores that run a reactor.", snapshot.reactors);
    let help = "Reactors that did not report in time; their figures are those of their last report.";
    to.single("metricstream_reactors_silent", Gauge, help, snapshot.collected.silent());
    let help = "Starts that found the log of a server which had not stopped cleanly.";
    to.single("metricstream_unclean_shutdowns", Counter, help, facts.unclean_shutdowns);
    let help = "Warnings that were not logged, as one of their kind had been within a second.";
    to.single("metricstream_warnings_suppressed", Counter, help, snapshot.all.counters.warnings_suppressed);
    let lines = logging::counts();
    let help = "Lines written to standard error.";
    to.single("metricstream_log_lines_written", Counter, help, lines.written);
    let help = "Lines not written to standard error: it was behind by a whole queue, or it failed.";
    to.single("metricstream_log_lines_dropped", Counter, help, lines.dropped);
}

fn requests(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let family = to.family(
        "metricstream_http_requests",
        Counter,
        "Requests answered, of all paths, by status and by why they were refused (ok: they were not).",
    );
    family.sample(&format!("status=\"{}\",reason=\"ok\"", Status::Ok.code()), counters.answered_ok);
    family.sample(&format!("status=\"{}\",reason=\"preflight\"", Status::NoContent.code()), counters.preflights);
    for ((reason, status), count) in REASONS.iter().zip(counters.refused) {
        family.sample(&format!("status=\"{}\",reason=\"{reason}\"", status.code()), count);
    }
    let help = "Answers given up because the log did not take the batch in time; the batch may be stored later.";
    to.single("metricstream_answers_abandoned", Counter, help, counters.answers_abandoned);

    let help = "Batches that came in: received = stored + rejected + shed + pending.";
    to.single("metricstream_batches_received", Counter, help, counters.batches_received);
    let help = "Batches stored at the level asked for.";
    to.single("metricstream_batches_stored", Counter, help, counters.batches_stored);
    let help = "Batches rejected, which is the client's doing, by reason.";
    let family = to.family("metricstream_batches_rejected", Counter, help);
    for (reason, count) in Rejection::ALL.iter().zip(counters.batches_rejected) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Batches shed, which is the server's doing and answered 503, by reason.";
    let family = to.family("metricstream_batches_shed", Counter, help);
    for (reason, count) in Shed::ALL.iter().zip(counters.batches_shed) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Batches being received or waiting for the log.";
    to.single("metricstream_batches_pending", Gauge, help, counters.pending());

    let help =
        "Metrics read: received = stored + rejected + pending. Those of batches refused or shed unread are not known.";
    to.single("metricstream_metrics_received", Counter, help, counters.metrics_received);
    to.single("metricstream_metrics_stored", Counter, "Metrics stored: lines.", counters.metrics_stored);
    let help = "Metrics of malformed batches, up to and with the faulty one.";
    to.single("metricstream_metrics_rejected", Counter, help, counters.metrics_rejected);
    let help = "Metrics whose timestamp is over a day from the time of arrival; /stats/clients says whose.";
    to.single("metricstream_metrics_far_from_now", Counter, help, counters.metrics_far_from_now);
    let help = "Metrics of batches that wait for the log.";
    to.single("metricstream_metrics_pending", Gauge, help, counters.metrics_pending());

    let help = "Bytes of decoded bodies that came in whole: received = stored + rejected + shed + pending.";
    to.single("metricstream_body_received_bytes", Counter, help, counters.body_bytes_received);
    let help = "Bytes of bodies whose batch was stored.";
    to.single("metricstream_body_stored_bytes", Counter, help, counters.body_bytes_stored);
    let help = "Bytes of bodies whose batch was rejected.";
    to.single("metricstream_body_rejected_bytes", Counter, help, counters.body_bytes_rejected);
    to.single(
        "metricstream_body_shed_bytes",
        Counter,
        "Bytes of bodies whose batch was shed.",
        counters.body_bytes_shed,
    );
    let help = "Bytes of bodies whose batch waits for the log.";
    to.single("metricstream_body_pending_bytes", Gauge, help, counters.body_bytes_pending());
    to.single("metricstream_line_bytes", Counter, "Bytes of lines handed to the writer.", counters.line_bytes);
}

fn connections(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let family = to.family("metricstream_connections_active", Gauge, "Connections open, by reactor.");
    for report in snapshot.collected.reports() {
        family.labelled("reactor", report.reactor, report.connections_active);
    }
    let help = "Most connections served at one time.";
    to.single("metricstream_connections_limit", Gauge, help, u64::from(snapshot.facts.connections_limit));
    let help = "Connections taken in and served.";
    to.single("metricstream_connections_accepted", Counter, help, counters.connections_accepted);
    let help = "Connections over the bound: answered 503, but for /health and /ready.";
    to.single("metricstream_connections_refused", Counter, help, counters.connections_refused);
    to.single("metricstream_accept_failures", Counter, "Calls of accept(2) that failed.", counters.accept_failures);
    let help = "PROXY protocol headers that were taken.";
    to.single("metricstream_proxy_headers", Counter, help, counters.proxy_headers);
    let family = to.family(
        "metricstream_forwarded_requests",
        Counter,
        "Requests that a trusted proxy forwards, by whether it names a client that can be used.",
    );
    family.labelled("outcome", "named", counters.forwarded_requests);
    family.labelled("outcome", "unusable", counters.forwarded_unusable);
    let family = to.family("metricstream_connections_closed", Counter, "Connections ended, by reason.");
    for (reason, count) in Closed::ALL.iter().zip(counters.connections_closed) {
        family.labelled("reason", reason.label(), count);
    }
}

fn durations(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let cores = &snapshot.all.measures.cores;
    let family = to.family(
        "metricstream_request_duration_seconds",
        Histogram,
        "From the arrival of a request's last byte until the kernel had taken the whole answer, of batches and of all else.",
    );
    family.histogram("route=\"batch\"", &cores.batch_ns, TIMES);
    family.histogram("route=\"other\"", &cores.other_ns, TIMES);
    let family = to.family(
        "metricstream_stage_duration_seconds",
        Histogram,
        "Parts of the time of a batch: decide, then write or sync by its level, then send make up the whole; receive is the time \
         from head to body and not in it.",
    );
    for (stage, distribution) in Stage::ALL.iter().zip(&cores.stage_ns) {
        family.histogram(&format!("stage=\"{}\"", stage.label()), distribution, TIMES);
    }
    to.family("metricstream_batch_metrics", Histogram, "Metrics of each well-formed batch.").histogram(
        "",
        &cores.batch_metrics,
        METRICS,
    );
    to.family("metricstream_batch_body_bytes", Histogram, "Bytes of the decoded body of each well-formed batch.")
        .histogram("", &cores.batch_body_bytes, BYTES);
}

fn log(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let log = snapshot.log.counts();
    let measures = snapshot.all.measures;
    let help = "1 when the log takes data, 0 when the disk is full or failing.";
    to.single("metricstream_log_available", Gauge, help, snapshot.log.health().is_healthy());
    let family = to.family("metricstream_log_health", Gauge, "1 for the state that the log is in, 0 for the others.");
    for state in LogHealth::ALL {
        family.labelled("state", state.label(), state == snapshot.log.health());
    }
    to.single("metricstream_log_written_bytes", Counter, "Bytes written to the log.", log.bytes);
    let help = "Gatherings of all rings' bytes that were written whole.";
    to.single("metricstream_log_gathers", Counter, help, log.gathers);
    let help = "Calls of writev(2) that took less than they were given.";
    to.single("metricstream_log_short_writes", Counter, help, log.short_writes);
    to.single("metricstream_log_stalls", Counter, "Times the disk began to refuse for want of room.", log.stalls);
    to.single("metricstream_log_rotations", Counter, "Segments sealed.", log.rotations);
    let help = "Times a segment that was to be sealed had to go on.";
    to.single("metricstream_log_rotations_postponed", Counter, help, log.rotations_postponed);
    let help = "Times another process was found to have cut the active segment, or added to it.";
    to.single("metricstream_log_changed_outside", Counter, help, log.changed_outside);
    let help = "Syncs of the directory that its file system cannot do.";
    to.single("metricstream_log_directory_syncs_unsupported", Counter, help, dirent::syncs_unsupported());
    let help = "Times the state file was deleted, cut off or replaced under the server, and made again.";
    to.single("metricstream_log_state_files_lost", Counter, help, log.notes_lost);
    to.single("metricstream_log_writer_sleeps", Counter, "Times the writer slept.", log.sleeps);
    let help = "Times the writer rang a reactor or the group commit.";
    to.single("metricstream_log_wakes", Counter, help, log.rings);
    to.family("metricstream_log_write_duration_seconds", Histogram, "Times of writev(2).").histogram(
        "",
        &measures.writev_ns,
        TIMES,
    );
    to.family("metricstream_log_write_size_bytes", Histogram, "Bytes taken by each writev(2).").histogram(
        "",
        &measures.writev_bytes,
        BYTES,
    );
    to.family("metricstream_log_sync_duration_seconds", Histogram, "Times of fdatasync(2).").histogram(
        "",
        &measures.sync_ns,
        TIMES,
    );
}

fn segments(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let keeper = snapshot.keeper;
    for (name, kind, help, value) in [
        ("metricstream_segments", Gauge, "Sealed segments, at the keeper's last round.", &keeper.segments),
        ("metricstream_segments_bytes", Gauge, "Bytes of sealed segments and their sidecars.", &keeper.segment_bytes),
        ("metricstream_segments_indexed", Counter, "Sidecars made.", &keeper.indexed),
        ("metricstream_segments_compressed", Counter, "Segments compressed.", &keeper.compressed),
        ("metricstream_segments_retired", Counter, "Segments deleted by retention.", &keeper.retired),
        (
            "metricstream_segments_retired_bytes",
            Counter,
            "Bytes of segments deleted by retention.",
            &keeper.retired_bytes,
        ),
        ("metricstream_segments_damaged", Counter, "Segments found damaged, and left as they are.", &keeper.damaged),
        ("metricstream_segments_failures", Counter, "Attempts of the keeper that failed.", &keeper.failures),
        (
            "metricstream_clock_steps",
            Counter,
            "Times the wall clock was set by more than a minute.",
            &keeper.clock_steps,
        ),
        (
            "metricstream_segments_age_held_back",
            Gauge,
            "1 while retention by age deletes nothing from before this start, as the clock was set.",
            &keeper.age_held_back,
        ),
        (
            "metricstream_disk_size_bytes",
            Gauge,
            "Bytes of the file system that holds the log, at the keeper's last round.",
            &keeper.disk_bytes,
        ),
        ("metricstream_disk_free_bytes", Gauge, "Bytes of it that the server may still fill.", &keeper.disk_free_bytes),
    ] {
        to.single(name, kind, help, value.load(Ordering::Relaxed));
    }
}

fn queries(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let queries = snapshot.queries;
    to.single("metricstream_query_threads", Gauge, "Threads that answer queries.", queries.threads);
    let help = "Queries that came in: received = ended + waiting + running.";
    to.single("metricstream_queries_received", Counter, help, queries.received());
    let family = to.family("metricstream_queries_ended", Counter, "Queries that ended, by how.");
    for &outcome in Outcome::ALL {
        family.labelled("outcome", outcome.label(), queries.ended(outcome));
    }
    to.single("metricstream_queries_waiting", Gauge, "Queries that wait for a thread.", queries.waiting());
    let help = "Queries that were begun and have not ended, those whose answer is being taken included.";
    to.single("metricstream_queries_running", Gauge, help, queries.running());
    let help = "Of these, those without a thread: their clients have not taken what there is of their answers.";
    to.single("metricstream_queries_unread", Gauge, help, queries.unread());
    for (name, help, value) in [
        ("metricstream_query_scanned_bytes", "Bytes of the log that queries looked at.", &queries.scanned_bytes),
        ("metricstream_query_read_bytes", "Bytes of files that they read for it.", &queries.read_bytes),
        ("metricstream_query_foreign_lines", "Damaged or foreign lines that they skipped.", &queries.foreign_lines),
        ("metricstream_query_answer_bytes", "Bytes of answers to queries, handed over.", &queries.body_bytes),
        ("metricstream_query_pieces", "Pieces that these answers came in.", &queries.pieces),
    ] {
        to.single(name, Counter, help, value.load(Ordering::Relaxed));
    }
    let help = "From the arrival of a query that got a thread until all of its answer was handed over, or its end.";
    to.family("metricstream_query_duration_seconds", Histogram, help).histogram("", &queries.durations(), TIMES);
}

fn limiter(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let counters = snapshot.all.counters;
    let Some(limiter) = snapshot.limiter else { return };
    to.single("metricstream_limiter_clients", Gauge, "Clients the limiter remembers.", limiter.clients);
    let help = "Decisions of the limiter: allowed, denied (429), or no_room to remember the client (503).";
    let family = to.family("metricstream_limiter_decisions", Counter, help);
    family.labelled("decision", "allowed", counters.rate_admitted);
    family.labelled("decision", "denied", counters.batches_rejected[Rejection::RateLimited as usize]);
    family.labelled("decision", "no_room", counters.batches_shed[Shed::ClientsFull as usize]);
    let help = "Requests allowed and then given back to their client, as they were refused with a 503.";
    to.single("metricstream_limiter_given_back", Counter, help, counters.rate_refunded);
    let help = "Decisions missing from /stats/clients, as a core's ring of events was full.";
    to.single("metricstream_limiter_events_dropped", Counter, help, snapshot.ledger.totals().dropped);
}

fn reactors(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let mut each = |name, kind, help: &str, of: fn(&Report) -> u64| {
        let family = to.family(name, kind, help);
        for report in snapshot.collected.reports() {
            family.labelled("reactor", report.reactor, of(report));
        }
    };
    each("metricstream_ring_queued_bytes", Gauge, "Bytes that wait for the writer.", |r| r.queued_bytes);
    each("metricstream_ring_queued_peak_bytes", Gauge, "The most that ever waited for the writer.", |r| {
        r.queued_bytes_max
    });
    each("metricstream_ring_capacity_bytes", Gauge, "Size of the ring to the writer.", |r| r.ring_bytes);
    let help = "Memory held for peers: heads, bodies, answers, and what is kept for paused connections.";
    each("metricstream_held_bytes", Gauge, help, |r| r.held_bytes);
    each("metricstream_held_limit_bytes", Gauge, "The most memory that may be held for peers.", |r| r.held_bytes_limit);
    each("metricstream_bursts_held", Gauge, "Bursts of answers that wait for the log.", |r| r.bursts_held);
    each("metricstream_reactor_turns", Counter, "Turns of the reactor.", |r| r.driver.turns);
    each("metricstream_reactor_enters", Counter, "Waits in the kernel.", |r| r.driver.enters);
    each("metricstream_reactor_completions", Counter, "Completions or readiness events taken.", |r| {
        r.driver.completions
    });
    let help = "Receives that found no free buffer.";
    each("metricstream_reactor_buffers_exhausted", Counter, help, |r| r.driver.buffers_exhausted);
    each("metricstream_reactor_rearms", Counter, "Multishot operations armed again.", |r| r.driver.rearms);
    let help = "Completions the kernel held back, as the queue was full.";
    each("metricstream_reactor_overflows", Counter, help, |r| r.driver.overflows);
    each("metricstream_reactor_short_sends", Counter, "Sends taken only in part, and resumed.", |r| {
        r.driver.short_sends
    });
    each("metricstream_reactor_accept_pauses", Counter, "Times accepting stopped.", |r| r.driver.accept_pauses);
    each("metricstream_reactor_timers_fired", Counter, "Timers that fired.", |r| r.counters.timers_fired);
    let help = format!("Turns over {:?}, in which all connections of the core waited.", limits::TURN_STALL);
    each("metricstream_reactor_stalls", Counter, &help, |r| r.counters.turns_stalled);
    let help = "Turns that used up their share of work, so that what had arrived beyond it waited for the next.";
    each("metricstream_reactor_full_turns", Counter, help, |r| r.counters.turns_full);
    let seconds = |ns| in_units(ns, 1_000_000_000);
    let (all, interval) = (&snapshot.all.measures.cores.turn_ns, &snapshot.interval.measures.cores.turn_ns);
    let help = "From the end of one wait of a reactor to the beginning of its next, over all reactors.";
    to.family("metricstream_reactor_turn_duration_seconds", Histogram, help).histogram("", all, TIMES);
    let help = "The longest turn since the start, and of the last statistics interval.";
    let family = to.family("metricstream_reactor_turn_longest_seconds", Gauge, help);
    family.labelled("of", "start", seconds(all.max()));
    family.labelled("of", "interval", seconds(interval.max()));
}

fn memory(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let help = "Memory by owner. The rings' is address space, of which pages are taken as they are used.";
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

fn tracing(to: &mut Exposition, snapshot: &Snapshot<'_>) {
    let (counters, exported) = (snapshot.all.counters, snapshot.exported);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let help = "Requests whose trace went to the exporter: recorded = exported + failed + queued.";
    to.single("metricstream_traces_recorded", Counter, help, counters.traced);
    let help = "Requests that were to be traced and are not, by reason.";
    let family = to.family("metricstream_traces_dropped", Counter, help);
    for (reason, count) in Untraced::ALL.iter().zip(counters.untraced) {
        family.labelled("reason", reason.label(), count);
    }
    let help = "Requests whose spans an OTLP receiver has taken.";
    to.single("metricstream_traces_exported", Counter, help, read(&exported.traces));
    let help = "Requests whose spans no OTLP receiver took.";
    to.single("metricstream_traces_failed", Counter, help, read(&exported.traces_failed));
    let help = "Requests whose trace waits to be exported.";
    let queued = counters.traced.saturating_sub(read(&exported.traces) + read(&exported.traces_failed));
    to.single("metricstream_traces_queued", Gauge, help, queued);
    let help = "Spans that an OTLP receiver has taken.";
    to.single("metricstream_spans_exported", Counter, help, read(&exported.spans));
    let help = "Times the server's own figures were to go to an OTLP receiver, by what came of it.";
    let family = to.family("metricstream_otlp_figures", Counter, help);
    family.labelled("outcome", "exported", read(&exported.figures));
    family.labelled("outcome", "failed", read(&exported.figures_failed));
}

//! The exporter thread: one task for spans and one for the server's own metrics, each with its own destination, so that
//! neither waits for the other.
//!
//! It polls its queues every [`limits::TRACE_POLL_INTERVAL`]. While a receiver does not respond, data waits in the
//! queue; when the queue is full, the sender drops data. At shutdown each task gets [`limits::OTLP_FLUSH_MAX`] to send
//! the rest.

use super::{
    Delivery, Destination, Identity, Record,
    figures::request,
    otlp::{FigureWire, SpanWire},
    record::SPANS_PER_RECORD_MAX,
    spans::SpanMaker,
};
use crate::{
    limits,
    stats::{ExportStatus, Figures},
};
use crossbeam_channel::Receiver;
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    thread::{self, JoinHandle},
    time::Instant,
};
use tokio::{runtime::Builder, sync::watch, task::LocalSet, time::timeout};
use wake::clock::Clock;

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// The destination of spans, and the queues of what they are made of.
#[derive(Debug)]
pub struct TraceSource {
    /// The destination.
    pub destination: Destination,
    /// Requests.
    pub records: Receiver<Record>,
    /// Deliveries of forwards.
    pub deliveries: Receiver<Delivery>,
}

/// The configuration of the exporter.
#[derive(Debug)]
pub struct ExporterSetup {
    /// Source and destination of spans.
    pub traces: Option<TraceSource>,
    /// The destination of the server's own metrics, and their queue.
    pub figures: Option<(Destination, Receiver<Figures>)>,
    /// The identity of this server.
    pub identity: Identity,
    /// The clock of the records.
    pub clock: Clock,
    /// The counters of the exporter.
    pub status: Arc<ExportStatus>,
}

/// The running thread.
#[derive(Debug)]
pub struct Exporter {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Starts the thread. It connects when there is something to send.
    ///
    /// # Errors
    /// A destination is invalid, or the thread cannot be started.
    pub fn start(setup: ExporterSetup) -> Result<Self, String> {
        let ExporterSetup { traces, figures, identity, clock, status } = setup;
        // Names are looked up on a thread of its own.
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (stop, stopped) = watch::channel(false);
        let spans = traces.map(|TraceSource { destination, records, deliveries }| {
            let _inside = runtime.enter();
            let wire = SpanWire::new(&destination, &identity)?;
            let maker = SpanMaker::new(&identity);
            let outage = Outage::of("traces", &destination);
            let status = Arc::clone(&status);
            Ok::<_, String>(Spans { wire, maker, records, deliveries, outage, clock, status, in_hand: 0 })
        });
        let figures = figures.map(|(destination, queue)| {
            let _inside = runtime.enter();
            let outage = Outage::of("figures", &destination);
            let wire = FigureWire::new(destination)?;
            Ok::<_, String>(FiguresOut { wire, queue, outage, identity: identity.clone(), status: Arc::clone(&status) })
        });
        let (spans, figures) = (spans.transpose()?, figures.transpose()?);
        let run = move || {
            let tasks = LocalSet::new();
            let spans = spans.map(|work| tasks.spawn_local(serve(work, stopped.clone())));
            let figures = figures.map(|work| tasks.spawn_local(serve(work, stopped)));
            runtime.block_on(tasks.run_until(async {
                for task in [spans, figures].into_iter().flatten() {
                    task.await.expect("a task of the exporter does not panic");
                }
            }));
            // A name that is still being looked up is nobody's concern any more.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("exporter".into()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Self { stop, thread })
    }

    /// Sends the rest of the data, for a bounded time, and joins the thread.
    pub fn stop(self) {
        // Its tasks are there to be notified, or have panicked, which join returns.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the exporter failed");
        }
    }
}

/// The work of one task.
trait Work {
    /// Sends queued data until the queue is empty.
    async fn send_waiting(&mut self);
    /// Counts unsent data as lost.
    fn abandon(&mut self);
}

async fn serve(mut work: impl Work, mut stopped: watch::Receiver<bool>) {
    let mut is_over = false;
    while !is_over {
        is_over = timeout(limits::TRACE_POLL_INTERVAL, stopped.wait_for(|stopped| *stopped)).await.is_ok();
        let mut sending = pin!(work.send_waiting());
        if !is_over {
            let mut stop = pin!(stopped.wait_for(|stopped| *stopped));
            is_over = poll_fn(|context| match sending.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(false),
                Poll::Pending => stop.as_mut().poll(context).map(|_| true),
            })
            .await;
        }
        if is_over {
            // What did not make it is counted below.
            let _ = timeout(limits::OTLP_FLUSH_MAX, sending).await;
        }
    }
    work.abandon();
}

/// Logs failures of a receiver, at a limited rate, and its recovery.
#[derive(Debug)]
struct Outage {
    what: &'static str,
    url: String,
    protocol: &'static str,
    warned: Option<Instant>,
    suppressed: u64,
    failing: bool,
}

impl Outage {
    fn of(what: &'static str, destination: &Destination) -> Self {
        let (url, protocol) = (destination.url.clone(), destination.protocol.name());
        Self { what, url, protocol, warned: None, suppressed: 0, failing: false }
    }

    fn note(&mut self, sent: &Result<(), String>) {
        let Self { what, url, protocol, .. } = self;
        match sent {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(url, protocol, "{what} are exported again");
            }
            Ok(()) => {}
            Err(_) if self.warned.is_some_and(|warned| warned.elapsed() < limits::OTLP_WARNING_INTERVAL) => {
                self.failing = true;
                self.suppressed += 1;
            }
            Err(error) => {
                self.failing = true;
                self.warned = Some(Instant::now());
                let suppressed = std::mem::take(&mut self.suppressed);
                tracing::warn!(url, protocol, error, suppressed, "{what} could not be exported");
            }
        }
    }
}

struct Spans {
    wire: SpanWire,
    maker: SpanMaker,
    records: Receiver<Record>,
    deliveries: Receiver<Delivery>,
    outage: Outage,
    clock: Clock,
    status: Arc<ExportStatus>,
    /// Records that were taken from the queue and are not counted yet.
    in_hand: usize,
}

impl Work for Spans {
    async fn send_waiting(&mut self) {
        loop {
            let most = limits::TRACE_BATCH_RECORDS_MAX;
            let records: Vec<Record> = self.records.try_iter().take(most).collect();
            let deliveries: Vec<Delivery> = self.deliveries.try_iter().take(most - records.len()).collect();
            let taken = records.len() + deliveries.len();
            if taken == 0 {
                return;
            }
            self.in_hand = taken;
            // Queried anew each time, as the wall clock may have been set meanwhile.
            let epoch_ns = self.clock.epoch_ns();
            let mut spans = Vec::with_capacity(taken * SPANS_PER_RECORD_MAX);
            records.iter().for_each(|record| self.maker.spans(record, epoch_ns, &mut spans));
            deliveries.iter().for_each(|delivery| self.maker.delivery(delivery, epoch_ns, &mut spans));
            let made = spans.len();
            let sent = self.wire.send(spans).await;
            self.in_hand = 0;
            self.outage.note(&sent);
            if sent.is_ok() {
                count(&self.status.traces, taken);
                count(&self.status.spans, made);
            } else {
                count(&self.status.traces_failed, taken);
            }
        }
    }

    fn abandon(&mut self) {
        let lost = self.in_hand + self.records.try_iter().count() + self.deliveries.try_iter().count();
        count(&self.status.traces_failed, lost);
        if lost > 0 {
            tracing::warn!(lost, "traces were not exported before shutdown");
        }
    }
}

struct FiguresOut {
    wire: FigureWire,
    queue: Receiver<Figures>,
    outage: Outage,
    identity: Identity,
    status: Arc<ExportStatus>,
}

impl Work for FiguresOut {
    async fn send_waiting(&mut self) {
        while let Ok(figures) = self.queue.try_recv() {
            let sent = self.wire.send(request(figures, &self.identity)).await;
            self.outage.note(&sent);
            count(if sent.is_ok() { &self.status.figures } else { &self.status.figures_failed }, 1);
        }
    }

    fn abandon(&mut self) {
        count(&self.status.figures_failed, self.queue.try_iter().count());
    }
}

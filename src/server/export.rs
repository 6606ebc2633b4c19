//! The exporter's start: what other threads hold of tracing and of the export of metrics.

use super::ServerError;
use crate::{
    config::Telemetry,
    limits,
    listening::Endpoint,
    stats::{ExportStatus, FiguresOut, process},
    trace::{Delivery, DeliverySetup, Exporter, ExporterSetup, Identity, Record, TraceSource, TracerSetup},
};
use crossbeam_channel::bounded;
use std::sync::Arc;
use wake::clock::Clock;

/// The parts of tracing and of the export of metrics that other threads hold.
pub struct Export {
    pub exporter: Option<Exporter>,
    pub exported: Arc<ExportStatus>,
    pub figures: Option<FiguresOut>,
    pub tracing: Option<TracerSetup>,
    pub deliveries: Option<DeliverySetup>,
}

/// Starts the exporter, if anything is to be exported.
///
/// # Errors
/// The exporter's thread could not be started.
pub fn export(telemetry: &Telemetry, listen: &Endpoint, clock: Clock) -> Result<Export, ServerError> {
    let Telemetry { traces, figures, resource } = telemetry;
    let slots = |slots| if traces.is_some() { slots } else { 0 };
    let (queue, records) = bounded(slots(limits::TRACE_QUEUE_RECORDS));
    let (delivery_queue, deliveries) = bounded(slots(limits::TRACE_QUEUE_DELIVERIES));
    // The observer and the exporter have one each in hand, and one waits.
    let (figures_queue, figures_made) = bounded(1);
    let queue_bytes = queue.capacity().unwrap_or(0) * size_of::<Record>()
        + delivery_queue.capacity().unwrap_or(0) * size_of::<Delivery>();
    let status = Arc::new(ExportStatus { queue_bytes: queue_bytes as u64, ..ExportStatus::default() });
    let mut export =
        Export { exporter: None, exported: Arc::clone(&status), figures: None, tracing: None, deliveries: None };
    if traces.is_none() && figures.is_none() {
        return Ok(export);
    }
    let setup = ExporterSetup {
        traces: traces.as_ref().map(|traces| {
            let destination = traces.destination.clone();
            TraceSource { destination, records, deliveries }
        }),
        figures: figures.as_ref().map(|figures| (figures.destination.clone(), figures_made)),
        identity: Identity::new(resource, listen, &process::host_name()),
        clock,
        status: Arc::clone(&status),
    };
    export.exporter = Some(Exporter::start(setup).map_err(|error| error!("cannot start the exporter: {error}"))?);
    if let Some(traces) = traces {
        let slow_ns = traces.slow.map_or(0, |slow| u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX));
        let sampler = traces.sampler;
        export.tracing = Some(TracerSetup { sampler, slow_ns, queue });
        export.deliveries = Some(DeliverySetup { sampler, slow_ns, clock, queue: delivery_queue, status });
        tracing::info!(
            url = traces.destination.url,
            protocol = traces.destination.protocol.name(),
            ratio = traces.sampler.ratio,
            parent_based = traces.sampler.parent_based,
            slow = ?traces.slow.unwrap_or_default(),
            "tracing enabled",
        );
    }
    if let Some(figures) = figures {
        export.figures = Some(FiguresOut { interval: figures.interval, queue: figures_queue });
        let protocol = figures.destination.protocol.name();
        tracing::info!(url = figures.destination.url, protocol, interval = ?figures.interval, "metrics export enabled");
    }
    Ok(export)
}

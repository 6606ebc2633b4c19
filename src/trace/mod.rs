//! Tracing of batches with OpenTelemetry, and export of traces and of the server's own metrics by OTLP.
//!
//! Owns: who is traced (`context`, `sampler`), what a core notes (`tracer`, `record`) and a thread of a forward
//! (`delivery`), what that becomes (`spans`, `figures`) and how it leaves (`otlp`, `exporter`). Promises: with tracing
//! off nothing of it runs; on, a request that is not sampled costs no clock reading and no allocation, and a core never
//! waits for the exporter. May not touch: sockets of clients, the log, the limiter.
//!
//! The cores hand records to a queue of fixed size; a thread of its own makes spans of them and sends them. It also
//! sends what the observer made of the server's figures. Its runtime and its connections exist only where an endpoint
//! is configured.

mod context;
mod delivery;
mod exporter;
mod figures;
mod otlp;
mod record;
mod sampler;
mod spans;
mod tracer;

pub use context::{Parent, join_tracestate};
pub use delivery::{
    Delivery, DeliveryOutcome, DeliveryReceiver, DeliverySetup, DeliveryStage, DeliveryTarget, DeliveryTracer,
};
pub use exporter::{Exporter, ExporterSetup, TraceSource};
pub use otlp::{Destination, Protocol};
pub use record::{Child, Context, Record, Request, RequestStages};
pub use sampler::{Ids, Reason, Sampler};
pub use spans::Identity;
pub use tracer::{Tracer, TracerSetup, Traces};

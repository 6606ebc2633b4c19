//! Decoders of the protocols that agents speak, other than JSON batches: a body, decompressed and whole, becomes
//! samples in a [`LineSink`](crate::LineSink).
//!
//! Each is one pass over the body without system calls, clocks or HTTP, and allocates nothing per metric in the steady
//! state. Whatever the bytes, none panics and none recurses without a bound.

pub mod bucket;
pub mod collectd;
pub mod datadog;
mod generations;
pub mod influx;
mod json;
pub mod metric_family;
pub mod otlp;
pub mod protobuf;
pub mod remote_write;
mod series_cache;
mod span;
mod template;
pub mod text;

pub(crate) use series_cache::{CachedSeries, ShortSeries};

//! OTLP/HTTP metrics, protobuf and JSON.

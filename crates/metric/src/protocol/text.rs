//! Prometheus text exposition format and OpenMetrics.

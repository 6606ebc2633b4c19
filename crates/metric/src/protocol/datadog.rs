//! Datadog series, versions 1 and 2.

//! The JSON of collectd's write_http.

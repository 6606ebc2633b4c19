//! Tests of the real server over real sockets. Every test starts the binary on a port of its own with a directory of
//! its own, and checks it against the contract: the responses, the log, the sums.
//!
//! Tests of serving run on both drivers, forced: a test named `..::epoll` has run on epoll or it has failed. Waits are
//! for the thing itself, bounded by [`server::DEADLINE`]; nothing here asserts how fast anything is.
//!
//! The map: `otlp` (a receiver of traces), `receiver` (one of remote write), and one module for each concern. The
//! process under test, the HTTP client, the readers of the log and the random numbers are those of `testkit`.
#![expect(
    clippy::unwrap_used,
    reason = "in the server unwrap() lets an untrusted client stop it; here it is an assertion"
)]

mod log_stream;
mod otlp;
mod receiver;

mod accounting;
mod admin;
mod concurrency;
mod contract;
mod cors;
mod crash;
mod crowd;
mod damaged;
mod documents;
mod failing_disk;
mod forward;
mod forward_hold;
mod forward_kills;
mod full_disk;
mod http_rules;
#[cfg(feature = "kafka")]
mod kafka;
mod lifecycle;
mod limiter;
mod listeners;
mod odd_files;
mod positions;
mod pressure;
mod profile;
mod protocols;
mod proxies;
mod query;
mod refuses_to_start;
mod rotation;
mod service_manager;
mod signals;
mod split;
mod standard_error;
mod state_file;
mod stats;
mod store;
mod traces;
mod ui;
mod untrusted_input;
mod who;

use testkit::{
    http, log, metric, process,
    server::{self, Driver, Setup},
};

/// The server under test.
const BINARY: &str = env!("CARGO_BIN_EXE_metricstream");

/// A server on `driver`, with a free port, one reactor and no rate limit, to be configured further.
fn with_driver(driver: Driver) -> Setup {
    Setup::new(BINARY, driver)
}

/// A test for each driver, out of a function that takes one.
macro_rules! on_both_drivers {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn io_uring() {
                super::$name($crate::server::Driver::IoUring);
            }
            #[test]
            fn epoll() {
                super::$name($crate::server::Driver::Epoll);
            }
        }
    )*};
}
pub(crate) use on_both_drivers;

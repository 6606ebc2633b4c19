//! The reactor's contract, point by point, over every driver, each of them forced: a driver that is unavailable
//! fails.
//!
//! The cases are in `contract/`, generic over the driver. `sim/tests/contract.rs` runs those over TCP on the simulated
//! machine, whose driver is the third. Every one of them runs under the trace checker of
//! `harness.rs`, which holds all callbacks to the order that the contract promises.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "`allow-unwrap-in-tests` does not reach the functions that the cases share")]

#[macro_use]
#[path = "contract/list.rs"]
mod list;

#[path = "contract/accepting.rs"]
mod accepting;
#[path = "contract/connecting.rs"]
mod connecting;
#[path = "contract/descriptors.rs"]
mod descriptors;
#[path = "contract/ending.rs"]
mod ending;
#[path = "contract/harness.rs"]
mod harness;
#[path = "contract/listeners.rs"]
mod listeners;
#[path = "contract/pattern.rs"]
mod pattern;
#[path = "contract/receiving.rs"]
mod receiving;
#[path = "contract/sending.rs"]
mod sending;
#[path = "contract/waiting.rs"]
mod waiting;

/// Threads, time and the other ends of connections: those of the system.
mod world {
    pub use std::{
        net::{TcpListener, TcpStream},
        thread,
        time::Instant,
    };

    use crate::harness::LIMIT;
    use socket2::SockRef;
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };
    use wake::Doorbell;

    /// The other ends of what it accepts take over `SO_SNDBUF` from it.
    pub fn set_send_buffer_size(listener: &TcpListener, bytes: usize) {
        SockRef::from(listener).set_send_buffer_size(bytes).unwrap();
    }

    /// Sets `SO_LINGER` of zero (socket(7)).
    pub fn reset_at_close(peer: &TcpStream) {
        SockRef::from(peer).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Rings if `turn` has not returned after `LIMIT`. Returns true if it had to.
    pub fn watch(bell: Arc<Doorbell>, turn: impl FnOnce()) -> bool {
        let (returned, watch) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || {
            let late = watch.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                bell.signal();
            }
            late
        });
        turn();
        drop(returned);
        watchdog.join().unwrap()
    }
}

/// One `#[test]` for each case. `$guard` is how it shares the process: see `descriptors.rs`.
macro_rules! cases {
    ($driver:ty, $guard:ident: $($cases:ident::$case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let _guard = crate::descriptors::$guard();
                crate::$cases::$case::<$driver>();
            }
        )*
    };
}

macro_rules! contract {
    ($name:ident, $driver:ty) => {
        mod $name {
            cases_over_tcp! { cases! { $driver, among_others: } }
            cases! { $driver, among_others:
                listeners::a_connection_names_its_listener
                listeners::a_unix_connection_carries_bytes_both_ways
                listeners::each_listener_is_paused_apart
                listeners::stopping_empties_and_closes_every_listener
                listeners::drivers_share_a_unix_listener
                listeners::a_socket_file_serves_every_driver
                connecting::a_unix_socket_is_connected_to
                connecting::a_full_queue_of_a_unix_socket_loses_nobody
            }

            cases! { $driver, alone:
                descriptors::churn_leaves_no_descriptor_behind
            }

            #[test]
            fn running_out_of_descriptors_is_survived() {
                let name = concat!(stringify!($name), "::running_out_of_descriptors_is_survived");
                let _guard = crate::descriptors::among_others();
                crate::descriptors::running_out_of_descriptors_is_survived::<$driver>(name);
            }
        }
    };
}

contract!(epoll, reactor::epoll::EpollDriver);
contract!(io_uring, reactor::uring::UringDriver);

// Where the contract leaves a choice, the choice of this driver.

/// io_uring has the kernel itself wait until all is sent.
#[test]
fn epoll_counts_a_short_send_once() {
    let _guard = descriptors::among_others();
    sending::a_short_send_is_counted_once::<reactor::epoll::EpollDriver>();
}

/// io_uring meets an error when it next reads or sends.
#[test]
fn epoll_notices_a_reset_without_reading() {
    let _guard = descriptors::among_others();
    ending::a_reset_is_noticed_without_reading::<reactor::epoll::EpollDriver>();
}

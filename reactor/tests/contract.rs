//! The reactor's contract, point by point, over every driver, each of them forced: a driver that is not to be had
//! fails.
//!
//! The cases are in `contract/`, generic over the driver. Every one of them runs under the trace checker of
//! `harness.rs`, which holds all callbacks to the order that the contract promises.
#![cfg(not(loom))]
#![expect(clippy::unwrap_used, reason = "`allow-unwrap-in-tests` does not reach the functions that the cases share")]

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

/// One `#[test]` for each case. `$guard` is how it shares the process: see `descriptors.rs`.
macro_rules! cases {
    ($driver:ty, $guard:ident: $($room:ident::$case:ident)*) => {
        $(
            #[test]
            fn $case() {
                let _guard = crate::descriptors::$guard();
                crate::$room::$case::<$driver>();
            }
        )*
    };
}

macro_rules! contract {
    ($name:ident, $driver:ty) => {
        mod $name {
            cases! { $driver, among_others:
                accepting::the_peer_is_named
                accepting::bytes_sent_before_the_accept_arrive
                accepting::a_full_backlog_is_taken_over_several_turns
                accepting::a_pause_leaves_newcomers_in_the_backlog
                accepting::accepting_pauses_at_the_bound_and_goes_on
                accepting::a_stopped_listener_hands_over_its_backlog_and_refuses
                accepting::stopping_at_the_bound_leaves_nobody_waiting
                listeners::a_connection_names_its_listener
                listeners::a_unix_connection_carries_bytes_both_ways
                listeners::each_listener_is_paused_apart
                listeners::a_listener_leaves_the_slots_that_it_spares
                listeners::stopping_empties_and_closes_every_listener
                listeners::drivers_share_a_unix_listener
                listeners::a_socket_file_serves_every_driver
                connecting::two_ends_of_one_driver
                connecting::a_refused_connect_goes_straight_to_closed
                connecting::a_connect_needs_a_slot
                connecting::a_connect_can_be_closed_at_once
                connecting::a_unix_socket_is_connected_to
                connecting::a_full_queue_of_a_unix_socket_loses_nobody
                receiving::echo
                receiving::many_connections_interleaved
                receiving::bulk_in_both_directions
                receiving::bulk_with_pauses
                receiving::a_pause_keeps_bytes_back
                receiving::bytes_kept_by_a_pause_are_reserved
                receiving::a_refused_reservation_loses_no_byte_unnoticed
                receiving::a_pause_keeps_the_end_of_file_back
                receiving::an_answer_follows_the_end_of_file
                receiving::a_flood_does_not_starve_the_others
                sending::a_slow_reader_gets_every_byte
                sending::a_second_send_in_flight_asserts
                sending::an_empty_send_asserts
                sending::a_shutdown_waits_for_the_send_in_flight
                sending::sending_to_a_peer_that_is_gone_ends_the_connection
                ending::a_close_after_the_last_byte_is_an_end_of_file
                ending::a_close_gives_up_the_send_in_flight
                ending::a_reset_while_idle_is_noticed
                ending::a_reset_while_paused_is_noticed
                ending::a_reset_while_sending_is_noticed
                ending::closed_tokens_are_ignored
                ending::what_follows_a_close_is_ignored
                ending::a_dropped_driver_ends_its_connections
                waiting::a_timeout_of_zero_does_not_wait
                waiting::a_timeout_ends_the_wait
                waiting::a_ring_from_another_thread_ends_the_wait
                waiting::a_ring_before_the_wait_is_not_lost
                waiting::a_posted_message_is_not_lost
                waiting::an_untold_completion_ends_the_wait
                waiting::a_rest_of_the_backlog_ends_the_wait
                waiting::every_turn_is_counted
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

// Where the contract leaves room, what this driver makes of it.

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

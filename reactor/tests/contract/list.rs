//! The cases of the contract that need TCP alone, which every driver has to hold.

/// Calls the macro `$cases` with what it needs and with every case.
macro_rules! cases_over_tcp {
    ($cases:ident! { $($first:tt)* }) => {
        $cases! { $($first)*
            accepting::the_peer_is_named
            accepting::bytes_sent_before_the_accept_arrive
            accepting::a_full_backlog_is_taken_over_several_turns
            accepting::a_pause_leaves_newcomers_in_the_backlog
            accepting::accepting_pauses_at_the_bound_and_goes_on
            accepting::a_stopped_listener_hands_over_its_backlog_and_refuses
            accepting::stopping_at_the_bound_leaves_nobody_waiting
            listeners::a_listener_leaves_the_slots_that_it_spares
            connecting::two_ends_of_one_driver
            connecting::a_refused_connect_goes_straight_to_closed
            connecting::a_connect_needs_a_slot
            connecting::a_connect_can_be_closed_at_once
            receiving::echo
            receiving::many_connections_interleaved
            receiving::bulk_in_both_directions
            receiving::bulk_with_pauses
            receiving::a_pause_keeps_bytes_back
            receiving::bytes_kept_by_a_pause_are_reserved
            receiving::a_refused_reservation_loses_no_byte_unnoticed
            receiving::a_pause_keeps_the_end_of_file_back
            receiving::a_reply_follows_the_end_of_file
            receiving::a_flood_does_not_starve_the_others
            sending::a_slow_reader_gets_every_byte
            sending::a_send_is_reported_once_with_or_without_a_turn
            sending::a_second_send_in_flight_asserts
            sending::an_empty_send_asserts
            sending::a_shutdown_waits_for_the_send_in_flight
            sending::sending_to_a_peer_that_is_gone_ends_the_connection
            ending::a_close_after_the_last_byte_is_an_end_of_file
            ending::a_close_aborts_the_send_in_flight
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
            waiting::an_unreported_completion_ends_the_wait
            waiting::a_rest_of_the_backlog_ends_the_wait
            waiting::every_turn_is_counted
        }
    };
}

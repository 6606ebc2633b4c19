//! Timers of connections: one for each, on the wheel of its core, and what its expiry does.

use super::{
    connection::{Phase, Timer},
    state::State,
};
use crate::{limits, stats::Closed};
use reactor::Token;

impl State {
    /// Sets the one timer of a connection.
    pub(super) fn set_timer(&mut self, token: Token, timer: Timer) {
        let timeouts = self.setup.shared.config.timeouts;
        let span_ms = match timer {
            Timer::Idle => timeouts.idle_ms,
            Timer::Head => timeouts.head_ms,
            Timer::Body => timeouts.body_ms,
            Timer::Response => timeouts.write_ms,
            // First the thread that runs it has its say.
            Timer::Query | Timer::More => self.setup.shared.config.query.timeout_ms + limits::QUERY_OVERTIME_MS,
            Timer::Live => limits::STREAM_SILENCE_MS,
            Timer::Job => limits::PROFILE_SECONDS_MAX * 1_000 + limits::PROFILE_RENDER_MS,
            // It is evaluated before the wait, and after it.
            Timer::Wait => {
                let wait_ms = u64::try_from(limits::LOG_WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
                2 * self.setup.shared.config.query.timeout_ms + wait_ms + limits::QUERY_OVERTIME_MS
            }
            Timer::Left => limits::LEFT_MS,
            Timer::Linger => limits::LINGER_MS,
            Timer::Refusal => limits::REFUSAL_MS,
        };
        let deadline_ms = self.now_ms() + span_ms;
        if let Some(connection) = self.connections.get(token) {
            if connection.timer == Timer::Refusal && matches!(timer, Timer::Idle | Timer::Head | Timer::Body) {
                // It has one deadline for all that it may request.
                return;
            }
            connection.timer = timer;
            self.wheel.set(token.slot(), deadline_ms);
        }
    }

    /// Acts on the timers that have expired.
    pub(super) fn fire_timers(&mut self) {
        if !self.wheel.is_due(self.now_ms()) {
            return;
        }
        let mut expired = std::mem::take(&mut self.expired);
        self.wheel.advance(self.now_ms(), |slot| expired.push(slot));
        if expired.is_empty() {
            self.expired = expired;
            return;
        }
        self.setup.service.counters.timers_fired += expired.len() as u64;
        for slot in expired.drain(..) {
            if let Some(token) = self.connections.token_at(slot) {
                self.expire(token);
            }
        }
        self.expired = expired;
    }

    fn expire(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        match connection.timer {
            // What it waits for has come, and is served in a moment.
            Timer::Idle if connection.phase == Phase::Ready => {}
            Timer::Idle => self.close(token, Closed::Idle),
            Timer::Linger => self.close(token, Closed::AfterResponse),
            Timer::Left => self.close(token, Closed::ByPeer),
            Timer::Query | Timer::Wait => self.end_query(token),
            Timer::More | Timer::Live | Timer::Job => self.close(token, Closed::CutOff),
            Timer::Response => {
                // The log may store the batch later: the peer gets no response rather than one that may turn out wrong.
                if connection.phase == Phase::Held {
                    self.setup.service.counters.responses_abandoned +=
                        u64::from(connection.batch_responses + connection.other_responses);
                }
                self.close(token, Closed::SendTimeout);
            }
            // Nothing of a request has come: there is nobody to respond to.
            Timer::Head if connection.preface.is_due() => self.close(token, Closed::ReceiveTimeout),
            Timer::Refusal => self.refuse(token),
            Timer::Head | Timer::Body => {
                connection.stamps.received_ns = self.now_ns;
                let progress = connection.http.timed_out(
                    connection.caller,
                    &mut self.setup.service,
                    &mut self.http,
                    &mut connection.out,
                );
                self.broken_off(token, progress, Closed::ReceiveTimeout);
            }
        }
    }
}

//! The report of a core for statistics, and the release of unused memory.

use super::state::State;
use crate::stats::{Histograms, Memory, Report};
use reactor::Driver;

impl State {
    /// Report of this core, which goes on with `empty` histograms and gives its own away: that is a swap of
    /// pointers.
    pub(super) fn report<D: Driver>(&mut self, driver: &D, empty: Box<Histograms>) -> Report {
        let service = &mut self.setup.service;
        let histograms = std::mem::replace(&mut service.histograms, empty);
        let refusals = service.refusals.take();
        let ring_bytes = service.log().capacity_bytes() as u64;
        Report {
            reactor: self.setup.index,
            counters: service.counters.clone(),
            histograms,
            refusals,
            driver: driver.counters(),
            connections_active: self.connections.len() as u64,
            queued_bytes: service.log().queued_bytes(),
            queued_bytes_max: self.queued_bytes_max,
            ring_bytes,
            bursts_held: (self.held_for_write.len() + self.held_for_sync.len()) as u64,
            memory: Memory {
                ring: ring_bytes,
                receive_buffers: self.setup.receive_buffers_bytes,
                connections: (self.connections.memory_bytes() + self.holders.memory_bytes()) as u64,
                bodies: (self.http.held_bytes() + self.http.kept_bytes() - self.response_bytes - self.driver_bytes)
                    as u64,
                responses: self.response_bytes as u64,
                kept: self.driver_bytes as u64,
                decoders: service.decoders_bytes() as u64,
            },
            held_bytes: self.http.held_bytes() as u64,
            held_bytes_limit: self.http.held_bytes_limit() as u64,
        }
    }

    /// Gives back the memory that nothing has needed since the last call: a crowd leaves none behind.
    pub(super) fn trim(&mut self) {
        self.http.trim();
        self.connections.trim();
        self.setup.service.log_mut().trim();
        self.ready.trim();
        self.held_for_write.shrink_to(2 * self.held_for_write.len());
        self.held_for_sync.shrink_to(2 * self.held_for_sync.len());
    }
}

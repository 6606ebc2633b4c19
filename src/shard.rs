//! One core: its driver, its connections, its service. The only file that names both the reactor and the service.
//!
//! A connection is half-duplex. It takes in a burst of requests; the burst's answers are held until the log has reached the
//! position they speak of; they are sent; then the next burst is taken in. What arrives meanwhile waits in the
//! connection's inbox, and over the inbox's bound in the kernel. So each connection has one buffer of answers, one
//! send in flight, and a client that does not read its answers stops itself and nobody else.
//!
//! An answer that another thread makes ends the burst: `late` sees to it, and `documents` for statistics.
//!
//! Positions grow along the one ring of this core, so the bursts that wait form a queue per level, oldest first.

mod arrival;
mod client;
mod crowd;
mod documents;
mod holders;
mod late;
mod message;
mod report;
mod state;
mod warnings;

pub use message::ShardMessage;

use crate::{
    listening::Role,
    query_pool::QuerySubmitter,
    service::{Service, Shared},
    stats::Question,
};
use crossbeam_channel::Sender;
use reactor::{Driver, Setup};
use state::{Act, State};
use std::{
    io,
    sync::{Arc, atomic::AtomicU32},
};
use wake::{Doorbell, mailbox::Receiver};

/// What a shard is made of, beside its driver.
pub struct ShardSetup {
    /// Index of this reactor.
    pub index: usize,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// This core's service.
    pub service: Service,
    /// What each listener of its driver is for.
    pub roles: Arc<[Role]>,
    /// Connections served at this moment, over all cores.
    pub connections: Arc<AtomicU32>,
    /// Most connections served at one time, over all cores.
    pub connections_limit: u32,
    /// Bytes of the driver's receive buffers.
    pub receive_buffers_bytes: u64,
    /// Rung when this core has something to do; the driver's too.
    pub doorbell: Arc<Doorbell>,
    /// What other threads tell this core.
    pub mail: Receiver<ShardMessage>,
    /// Where requests for statistics go.
    pub questions: Sender<Question>,
    /// Where queries go.
    pub queries: QuerySubmitter,
}

/// Runs one core until it has drained: opens the driver on the calling thread, says so through `opened`, and turns.
///
/// # Errors
/// The driver could not be opened, or became unusable.
pub fn run<D: Driver>(setup: ShardSetup, driver: Setup, opened: impl FnOnce()) -> io::Result<()> {
    let doorbell = Arc::clone(&setup.doorbell);
    let slots = driver.connections_max;
    let mut driver = D::open(driver)?;
    opened();
    let mut state = State::new(setup, slots);
    loop {
        state.prepare_turn(&driver);
        for act in state.acts() {
            match act {
                Act::Send(token, buffer) => driver.send(token, buffer),
                Act::Resume(token) => driver.resume_receive(token),
                Act::ShutdownWrite(token) => driver.shutdown_write(token),
                Act::Close(token) => driver.close(token),
                Act::PauseAccept(listener) => driver.pause_accept(listener),
                Act::ResumeAccept(listener) => driver.resume_accept(listener),
                Act::StopAccept => driver.stop_accept(),
            }
        }
        if state.is_done() {
            return Ok(());
        }
        doorbell.announce_sleep();
        let timeout = state.sleep_limit();
        driver.turn(timeout, &mut state)?;
    }
}

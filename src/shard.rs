//! The shard of one core: its driver, its connections, its service. The only module that uses both the reactor and the
//! service.
//!
//! A connection is half-duplex. It receives a burst of requests; the responses are held until the log has reached
//! their position; they are sent; then the next burst is received. Data that arrives meanwhile waits in the
//! connection's inbox, and beyond the inbox's bound in the kernel. So each connection has one buffer of responses and
//! one send in flight, and a client that does not read its responses blocks only itself.
//!
//! A response made by another thread ends the burst: `deferred` handles queries, and `documents` statistics.
//!
//! Positions grow along the one ring of this core, so the bursts that wait form a queue per level, oldest first.

mod arrival;
mod backlog;
mod connection;
mod crowd;
mod deferred;
mod documents;
mod holders;
mod message;
mod positions;
mod report;
mod state;
mod timers;

pub use message::ShardMessage;

use crate::{
    listening::Role,
    query_pool::QuerySubmitter,
    service::{Service, Shared},
    stats::DocumentRequest,
    ui::StreamOpener,
};
use crossbeam_channel::Sender;
use reactor::{Driver, DriverConfig, Token};
use state::State;
use std::{
    io,
    sync::{Arc, atomic::AtomicU32},
};
use wake::{Doorbell, mailbox::Receiver};

/// The configuration of a shard, except for its driver.
pub struct ShardSetup {
    /// Index of this reactor.
    pub index: usize,
    /// State shared by all cores.
    pub shared: Arc<Shared>,
    /// This core's service.
    pub service: Service,
    /// The role of each listener of the driver.
    pub roles: Arc<[Role]>,
    /// Number of open connections, over all cores.
    pub connections: Arc<AtomicU32>,
    /// Maximum number of open connections, over all cores.
    pub connections_limit: u32,
    /// Bytes of the driver's receive buffers.
    pub receive_buffers_bytes: u64,
    /// Wakes this core when it has work; shared with the driver.
    pub doorbell: Arc<Doorbell>,
    /// Messages of other threads to this core.
    pub messages: Receiver<ShardMessage>,
    /// The queue of requests for statistics.
    pub document_requests: Sender<DocumentRequest>,
    /// The query pool.
    pub queries: QuerySubmitter,
    /// The streams of the live page, unless it is off.
    pub streams: Option<StreamOpener>,
}

/// An operation for the driver after its turn.
#[derive(Debug)]
enum DriverOp {
    Send(Token, Vec<u8>),
    Resume(Token),
    ShutdownWrite(Token),
    Close(Token),
    PauseAccept(usize),
    ResumeAccept(usize),
    StopAccept,
}

/// Runs one core until it has drained: opens the driver on the calling thread, reports that through `opened`, and runs
/// turns.
///
/// # Errors
/// The driver could not be opened, or became unusable.
pub fn run<D: Driver>(setup: ShardSetup, driver: DriverConfig, opened: impl FnOnce()) -> io::Result<()> {
    let doorbell = Arc::clone(&setup.doorbell);
    let slots = driver.connections_max;
    let mut driver = D::open(driver)?;
    opened();
    let mut state = State::new(setup, slots);
    loop {
        state.prepare_turn(&driver);
        if state.has_driver_ops() {
            operate(&mut state, &mut driver);
            driver.report_sent(&mut state);
            // What follows a response that was sent. Of what is sent here, the next turn learns.
            operate(&mut state, &mut driver);
        }
        if state.is_done() {
            return Ok(());
        }
        doorbell.announce_sleep();
        let timeout = state.sleep_limit();
        driver.turn(timeout, &mut state)?;
    }
}

/// Does what the state has noted for the driver, in order.
fn operate<D: Driver>(state: &mut State, driver: &mut D) {
    for operation in state.driver_ops() {
        match operation {
            DriverOp::Send(token, buffer) => driver.send(token, buffer),
            DriverOp::Resume(token) => driver.resume_receive(token),
            DriverOp::ShutdownWrite(token) => driver.shutdown_write(token),
            DriverOp::Close(token) => driver.close(token),
            DriverOp::PauseAccept(listener) => driver.pause_accept(listener),
            DriverOp::ResumeAccept(listener) => driver.resume_accept(listener),
            DriverOp::StopAccept => driver.stop_accept(),
        }
    }
}

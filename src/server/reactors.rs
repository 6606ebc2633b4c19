//! The reactors' start: the channels that connect them to the other threads, and their threads.

use super::{
    ServerError,
    network::{Chosen, Network},
    threads::{Ended, spawn},
};
use crate::{
    limits,
    query_pool::Pool,
    service::{Service, Shared},
    shard::{self, ShardMessage, ShardSetup},
    stats::DocumentRequest,
    trace::{Tracer, TracerSetup},
    ui::Live,
};
use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::Appender;
use rate::{EventReceiver, EventSender, event_ring};
use reactor::{DriverConfig, Listener, epoll::EpollDriver, uring::UringDriver};
use std::{
    io,
    sync::{Arc, atomic::AtomicU32},
};
use wake::{Doorbell, mailbox};

/// The reactors' ends of their channels; those that each has of its own are in the order of the reactors.
pub struct ReactorEnds {
    pub doorbells: Vec<Arc<Doorbell>>,
    messages: Vec<mailbox::Receiver<ShardMessage>>,
    events: Vec<EventSender>,
    document_requests: Sender<DocumentRequest>,
}

/// The other threads' ends of the same channels.
pub struct OtherEnds {
    pub mailboxes: Vec<mailbox::Sender<ShardMessage>>,
    pub events: Vec<EventReceiver>,
    pub document_requests: Receiver<DocumentRequest>,
}

/// Connects `reactors` to the other threads.
///
/// # Errors
/// There is no file descriptor for a doorbell.
pub fn connect(reactors: usize) -> io::Result<(ReactorEnds, OtherEnds)> {
    let doorbells: Vec<Arc<Doorbell>> =
        (0..reactors).map(|_| Doorbell::new().map(Arc::new)).collect::<io::Result<_>>()?;
    let (event_senders, event_receivers) =
        (0..reactors).map(|_| event_ring(rate::limits::RATE_EVENTS_PER_RING)).unzip();
    let (mailboxes, messages) =
        doorbells.iter().map(|doorbell| mailbox::mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::clone(doorbell))).unzip();
    let (document_requests, request_receiver) = bounded(reactors * limits::DOCUMENT_REQUESTS_PER_REACTOR_MAX);
    let ends = ReactorEnds { doorbells, messages, events: event_senders, document_requests };
    Ok((ends, OtherEnds { mailboxes, events: event_receivers, document_requests: request_receiver }))
}

/// Parts that the reactors are built from.
pub struct Reactors<'a> {
    pub network: &'a Network,
    /// The listeners of each reactor.
    pub listeners: Vec<Vec<Listener>>,
    pub ends: ReactorEnds,
    pub mailboxes: &'a [mailbox::Sender<ShardMessage>],
    /// The appender of each reactor.
    pub appenders: Vec<Appender>,
    pub tracing: Option<TracerSetup>,
    pub shared: &'a Arc<Shared>,
    pub queries: &'a Pool,
    /// The thread of the live page, unless it is off.
    pub live: Option<&'a Live>,
}

impl Reactors<'_> {
    /// Starts the reactors, and returns once each has its driver.
    ///
    /// # Errors
    /// A thread could not be started, or exited.
    pub fn start(self, ended_sender: &Sender<Ended>, ended: &Receiver<Ended>) -> Result<(), ServerError> {
        let Self { network, listeners, ends, mailboxes, appenders, tracing, shared, queries, live } = self;
        let ReactorEnds { doorbells, messages, events, document_requests } = ends;
        let reactors = doorbells.len();
        let chosen = network.chosen;
        let placement = &shared.config.placement;
        let connections = Arc::new(AtomicU32::new(0));
        let (opened_sender, opened_drivers) = bounded(reactors);
        let each = listeners.into_iter().zip(appenders).zip(events).zip(doorbells).zip(messages);
        for (index, ((((listeners, appender), events), doorbell), messages)) in each.enumerate() {
            let core = placement.reactor_cores[index];
            let appender = appender.sharing_core(core == placement.writer_core);
            let setup = ShardSetup {
                index,
                service: Service::new(Arc::clone(shared), appender, events)
                    .traced_by(tracing.clone().map(|setup| Tracer::new(setup, index))),
                shared: Arc::clone(shared),
                roles: Arc::clone(&network.roles),
                connections: Arc::clone(&connections),
                connections_limit: network.connections_limit,
                receive_buffers_bytes: chosen.receive_buffers_bytes(),
                doorbell: Arc::clone(&doorbell),
                messages,
                document_requests: document_requests.clone(),
                queries: queries.submitter(Arc::new(mailboxes[index].clone())),
                streams: live.map(|live| live.opener(Arc::new(mailboxes[index].clone()))),
            };
            let driver = DriverConfig {
                listeners,
                connections_max: network.connections_max,
                receive_buffer_bytes: limits::RECEIVE_BUFFER_BYTES,
                receive_buffers: limits::RECEIVE_BUFFERS,
                doorbell,
            };
            let opened = opened_sender.clone();
            // The receiver is gone once startup has failed.
            let notify_opened = move || opened.send(()).unwrap_or(());
            spawn(&format!("reactor-{index}"), Some(core), ended_sender, move || {
                let result = match chosen {
                    Chosen::IoUring => shard::run::<UringDriver>(setup, driver, notify_opened),
                    Chosen::Epoll => shard::run::<EpollDriver>(setup, driver, notify_opened),
                };
                Ended::Reactor(index, result)
            })?;
        }
        drop((document_requests, opened_sender));
        for _ in 0..reactors {
            select! {
                recv(opened_drivers) -> _ => {}
                recv(ended) -> last_word => return Err(error!("a thread exited during startup: {last_word:?}")),
            }
        }
        Ok(())
    }
}

//! The addresses, the driver and the number of connections: what of the network is decided, and opened, before any
//! thread is started.

use super::ServerError;
use crate::{
    config::{Config, DriverChoice},
    limits,
    listening::{self, Endpoint, Listening, ResolvedAddress, Role, SocketFiles},
};
use reactor::{Listener, nofile, uring};
use std::sync::Arc;

/// The chosen driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    IoUring,
    Epoll,
}

impl Chosen {
    /// Name of the driver, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        }
    }

    /// Bytes of one reactor's receive buffers; epoll has one for all its connections.
    pub fn receive_buffers_bytes(self) -> u64 {
        let buffers = match self {
            Self::IoUring => limits::RECEIVE_BUFFERS,
            Self::Epoll => 1,
        };
        u64::from(buffers) * u64::from(limits::RECEIVE_BUFFER_BYTES)
    }
}

/// The listeners of every reactor, and how the reactors serve them.
pub struct Network {
    pub chosen: Chosen,
    /// The reason for the choice of the driver.
    pub chosen_because: String,
    /// Maximum number of connections that are served at one time, over all reactors.
    pub connections_limit: u32,
    /// Slots of each driver: those connections, those that are refused, and those of statistics.
    pub connections_max: u32,
    /// The role of each listener of a reactor.
    pub roles: Arc<[Role]>,
    /// The listeners of each reactor.
    pub listeners: Vec<Vec<Listener>>,
    pub socket_files: SocketFiles,
    /// The first address, which names this server in what it exports.
    pub first: Endpoint,
    /// The addresses for clients, in one line.
    pub listens_at: String,
    /// The addresses for statistics only, in one line.
    pub statistics_at: String,
}

impl Network {
    /// Resolves and binds the addresses, and chooses the driver.
    ///
    /// # Errors
    /// An address that cannot be listened on, a driver that is unavailable, or too few file descriptors.
    pub fn open(config: &Config) -> Result<Self, ServerError> {
        let places = listening::resolve(&listening::addresses(config), listening::look_up).map_err(ServerError)?;
        let connections_limit = connections_limit(config, &places)?;
        let reactors = config.placement.reactor_cores.len();
        // Twice: public listeners go on while as many slots are free as statistics may take, also when they have taken
        // theirs.
        let admin_slots = 2 * admin_connections_max(&places);
        let connections_max = connections_limit + limits::REFUSALS_IN_FLIGHT_MAX + admin_slots;
        let (chosen, chosen_because) = choose_driver(config.driver, reactors, connections_max)?;
        let listening = Listening::open(places, reactors, config.unix_mode).map_err(ServerError)?;
        let [listens_at, statistics_at] = [false, true].map(|is_admin| listening::list(&listening.places, is_admin));
        let roles = listening.places.iter().map(|place| place.role).collect();
        let first = listening.places[0].endpoint.clone();
        let (listeners, socket_files) = listening.share().map_err(|error| super::no_descriptor(&error))?;
        Ok(Self {
            chosen,
            chosen_because,
            connections_limit,
            connections_max,
            roles,
            listeners,
            socket_files,
            first,
            listens_at,
            statistics_at,
        })
    }
}

/// Chooses the driver, and returns the reason. A driver that is named explicitly is never replaced.
fn choose_driver(choice: DriverChoice, reactors: usize, connections_max: u32) -> Result<(Chosen, String), ServerError> {
    if choice == DriverChoice::Epoll {
        return Ok((Chosen::Epoll, "epoll, as configured".into()));
    }
    // All rings at once: a small ring may fit the locked-memory limit when those of all reactors together do not.
    let probed = uring::probe()
        .and_then(|report| uring::probe_rings(reactors, connections_max, limits::RECEIVE_BUFFERS).map(|()| report));
    match (probed, choice) {
        (Ok(report), _) => Ok((Chosen::IoUring, report.to_string())),
        (Err(reason), DriverChoice::IoUring) => Err(error!("--driver io_uring: {reason}")),
        (Err(reason), _) => Ok((Chosen::Epoll, format!("epoll, because io_uring is unavailable: {reason}"))),
    }
}

/// Connections that one reactor reserves for statistics, if they have their own addresses.
fn admin_connections_max(places: &[ResolvedAddress]) -> u32 {
    if places.iter().any(|place| place.role == Role::Admin) { limits::ADMIN_CONNECTIONS_MAX } else { 0 }
}

/// Maximum number of connections, from the configuration and the descriptor limit.
fn connections_limit(config: &Config, places: &[ResolvedAddress]) -> Result<u32, ServerError> {
    let descriptors = nofile::raise().map_err(|error| error!("cannot raise the limit of open files: {error}"))?;
    let reactors = u32::try_from(config.placement.reactor_cores.len()).unwrap_or(u32::MAX);
    let query_threads = u32::try_from(config.query.threads).unwrap_or(u32::MAX);
    let listeners = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let reserved = limits::DESCRIPTORS_RESERVED
        + reactors * (limits::DESCRIPTORS_PER_REACTOR + listeners + admin_connections_max(places))
        + query_threads * limits::DESCRIPTORS_PER_QUERY_THREAD;
    let possible = u32::try_from(descriptors).unwrap_or(u32::MAX).saturating_sub(reserved);
    match config.connections_limit {
        Some(wanted) if wanted > possible => Err(error!(
            "--max-connections {wanted} needs {} open files and the limit is {descriptors}: raise the limit (ulimit -Hn, \
             LimitNOFILE= in systemd) or set at most {possible}",
            u64::from(wanted) + u64::from(reserved),
        )),
        Some(wanted) => Ok(wanted),
        None if possible == 0 => Err(error!("the limit of open files, {descriptors}, leaves none for connections")),
        None => Ok(possible.min(limits::CONNECTIONS_DEFAULT)),
    }
}

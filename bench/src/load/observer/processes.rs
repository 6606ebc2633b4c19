//! Processes in /proc: which of them listen at an address, and what CPU time they have had.

use super::TICKS_PER_SECOND;
use reactor::{Endpoint, listen::UnixAddress};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

/// The state of a listening socket in /proc/net/tcp (include/net/tcp_states.h).
const LISTENS: &str = "0A";

/// The flags of a listening socket in /proc/net/unix: `__SO_ACCEPTCON` (include/uapi/linux/net.h).
const UNIX_LISTENS: &str = "00010000";

/// The processes of this host that listen at `server`, as far as they can be looked at.
pub(super) fn listening_at(server: &Endpoint) -> Vec<u32> {
    let table = |path: &str| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let inodes = match server {
        // Another host's address cannot be bound here.
        Endpoint::Inet(address) if UdpSocket::bind((address.ip(), 0)).is_err() => BTreeSet::new(),
        Endpoint::Inet(address) => {
            let mut inodes = listeners(&table("/proc/net/tcp"), *address);
            inodes.extend(listeners(&table("/proc/net/tcp6"), *address));
            inodes
        }
        Endpoint::Unix(socket) => unix_listeners(&table("/proc/net/unix"), socket),
    };
    if inodes.is_empty() {
        return Vec::new();
    }
    let names: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            descriptors
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|target| target.to_str().is_some_and(|target| names.contains(target)))
        })
        .collect();
    pids.sort_unstable();
    pids
}

/// The inodes of the sockets in `table`, /proc/net/tcp or tcp6, that listen at `server` (proc_pid_net(5)).
fn listeners(table: &str, server: SocketAddr) -> BTreeSet<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (&local, &state, &inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (address, port) = local.split_once(':')?;
        let is_it = state == LISTENS && u16::from_str_radix(port, 16).ok()? == server.port();
        let address = address_of(address)?;
        (is_it && (address.is_unspecified() || address.to_canonical() == server.ip().to_canonical()))
            .then(|| inode.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The inodes of the sockets in `table`, /proc/net/unix, that listen at `socket`, as its server has named it
/// (proc_pid_net(5)).
fn unix_listeners(table: &str, socket: &UnixAddress) -> BTreeSet<u64> {
    let name = match socket {
        UnixAddress::Path(path) => path.display().to_string(),
        UnixAddress::Abstract(name) => format!("@{name}"),
    };
    let inode = |line: &str| {
        let fields: Vec<&str> = line.strip_suffix(&name)?.strip_suffix(' ')?.split_whitespace().collect();
        (*fields.get(3)? == UNIX_LISTENS).then(|| fields.get(6)?.parse().ok())?
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// An address as the table has it: words of 32 bits in the byte order of this host.
fn address_of(text: &str) -> Option<IpAddr> {
    let words: Option<Vec<[u8; 4]>> = (0..text.len() / 8)
        .map(|word| Some(u32::from_str_radix(text.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    match *words?.as_slice() {
        [word] => Some(Ipv4Addr::from(word).into()),
        [a, b, c, d] => Some(Ipv6Addr::from(<[u8; 16]>::try_from([a, b, c, d].concat()).ok()?).into()),
        _ => None,
    }
}

/// The CPU time of some processes.
#[derive(Debug)]
pub(super) struct ProcessClock {
    pids: Vec<u32>,
    /// The last that was seen of each thread: time on a core, and time waited for one, nanoseconds. Threads that have
    /// ended keep theirs.
    threads: BTreeMap<(u32, u32), (u64, u64)>,
    /// The same when they were first seen, to tell what was waited since.
    first_waits: BTreeMap<(u32, u32), u64>,
}

impl ProcessClock {
    pub fn new(pids: &[u32]) -> Self {
        Self { pids: pids.to_vec(), threads: BTreeMap::new(), first_waits: BTreeMap::new() }
    }

    /// Nanoseconds on cores so far. By thread where threads stay, to the tick; threads that come and go between two
    /// looks are in the process' own count only, which has steps of 10 ms.
    pub fn cpu_ns(&mut self) -> u64 {
        self.pids.clone().into_iter().map(|pid| self.read(pid).max(process_ns(pid))).sum()
    }

    fn read(&mut self, pid: u32) -> u64 {
        for entry in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let thread = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let times = fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default();
            let mut times = times.split_whitespace().map(str::parse);
            if let (Some(thread), Some(Ok(running)), Some(Ok(waiting))) = (thread, times.next(), times.next()) {
                self.first_waits.entry((pid, thread)).or_insert(waiting);
                self.threads.insert((pid, thread), (running, waiting));
            }
        }
        self.threads.iter().filter(|((owner, _), _)| *owner == pid).map(|(_, (running, _))| running).sum()
    }

    /// The share of `span` that the worst thread waited for a core.
    #[expect(clippy::cast_precision_loss, reason = "a day is far below 2^53 ns")]
    pub fn starved(&self, span: Duration) -> f64 {
        let waited =
            |(key, (_, waiting)): (&(u32, u32), &(u64, u64))| waiting - self.first_waits.get(key).unwrap_or(waiting);
        let most = self.threads.iter().map(waited).max().unwrap_or(0);
        if span.is_zero() { 0.0 } else { (most as f64 / span.as_nanos() as f64).min(1.0) }
    }
}

/// A process' own count of its CPU time, the threads that have ended included: fields 14 and 15 of its stat
/// (proc_pid_stat(5)).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "far below 2^53 ns"
)]
fn process_ns(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    (ticks as f64 * (1e9 / TICKS_PER_SECOND)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_process_that_listens_is_found() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let mut server = listener.local_addr().unwrap();
            if server.ip().is_unspecified() {
                server.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            assert!(listening_at(&server.into()).contains(&std::process::id()), "{address}");
            drop(listener);
            assert!(!listening_at(&server.into()).contains(&std::process::id()), "{address}");
        }
        let elsewhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
        assert_eq!(listening_at(&elsewhere.into()), [0; 0], "another host's address");
    }

    #[test]
    fn the_process_of_a_unix_socket_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a socket");
        let server = Endpoint::Unix(UnixAddress::Path(path.clone()));
        assert_eq!(listening_at(&server), [0; 0]);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(listening_at(&server), [std::process::id()]);
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!(listening_at(&server), [0; 0], "a connection is no listener");
    }

    #[test]
    fn a_listener_is_known_by_its_line() {
        let line = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let row = |address: &str, state: &str| {
            format!(
                "{line}   0: {address}:1F90 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 4242 1\n"
            )
        };
        let local: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let loopback = word([127, 0, 0, 1]);
        for (table, server, found) in [
            (row(&loopback, "0A"), local, true),
            (row(&loopback, "01"), local, false),
            (row("00000000", "0A"), local, true),
            (row(&word([10, 0, 0, 1]), "0A"), local, false),
            (row(&"0".repeat(32), "0A"), local, true),
            (row(&loopback, "0A"), "127.0.0.1:8081".parse().unwrap(), false),
            ("".to_owned(), local, false),
            ("header\ngarbage 1 2 3\n".to_owned(), local, false),
        ] {
            assert_eq!(listeners(&table, server).contains(&4242), found, "{table}");
        }
    }

    #[test]
    fn a_process_has_cpu_time() {
        let mut clock = ProcessClock::new(&[std::process::id()]);
        let before = clock.cpu_ns();
        while clock.cpu_ns() == before {
            std::hint::spin_loop();
        }
        assert!((0.0..=1.0).contains(&clock.starved(Duration::from_secs(1))));
        assert_eq!(ProcessClock::new(&[u32::MAX]).cpu_ns(), 0, "one that is gone");
    }
}

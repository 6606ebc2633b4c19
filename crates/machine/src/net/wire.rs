//! The network of the machine: the ends of its connections, what is on its way between them, and the listeners.
//!
//! Bytes are on their way for a while, in segments that may be cut anywhere, and arrive in order. An end takes in so
//! many that are not read yet, and no more for a while if its window is closed. What has been closed is reset by what
//! still comes for it.

use crate::{disk::errno, random::Random, state::State};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Bytes that an end takes in before they are read, unless the machine is set up otherwise.
const WINDOW_BYTES: usize = 64 * 1024;
/// The first port of those that are given out, as Linux has it.
const FIRST_PORT: u16 = 32_768;

#[derive(Debug)]
enum Segment {
    Data(Vec<u8>),
    Fin,
    Reset,
}

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    peer: u64,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// When its connect is over.
    connected_ns: u64,
    /// On the way to it: the moment of arrival, and what comes.
    coming: VecDeque<(u64, Segment)>,
    coming_bytes: usize,
    received: VecDeque<u8>,
    /// It takes nothing in until then.
    closed_until_ns: u64,
    has_fin: bool,
    error: Option<i32>,
    is_reset: bool,
    is_shut: bool,
    /// It is closed with a reset.
    pub resets: bool,
    /// Rings when something changes.
    pub event: u64,
}

/// Operations that an end can do at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readiness {
    /// Bytes that can be read.
    pub bytes: usize,
    /// A read returns at once: with bytes, an end of file or an error.
    pub is_readable: bool,
    /// A write returns at once.
    pub is_writable: bool,
    /// An error waits.
    pub has_failed: bool,
    /// The connect is over.
    pub is_connected: bool,
    /// The next moment at which any of that may change by itself.
    pub next_ns: Option<u64>,
}

#[derive(Debug)]
pub struct Listening {
    address: SocketAddr,
    backlog: VecDeque<(u64, u64)>,
    /// Handles of it.
    pub handles: u32,
    pub event: u64,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    pub window_bytes: usize,
    ends: BTreeMap<u64, End>,
    listeners: BTreeMap<u64, Listening>,
    /// Events that have rung since somebody looked.
    rung: BTreeSet<u64>,
    ports: u16,
}

impl Default for Net {
    fn default() -> Self {
        Self {
            window_bytes: WINDOW_BYTES,
            ends: BTreeMap::new(),
            listeners: BTreeMap::new(),
            rung: BTreeSet::new(),
            ports: 0,
        }
    }
}

impl Net {
    /// Closes everything: the process that had it has ended.
    pub fn end_process(&mut self) {
        *self = Self { window_bytes: self.window_bytes, ..Self::default() };
    }

    pub fn end(&mut self, id: u64) -> io::Result<&mut End> {
        self.ends.get_mut(&id).ok_or_else(|| errno(libc::EBADF))
    }

    pub fn listener(&mut self, id: u64) -> io::Result<&mut Listening> {
        self.listeners.get_mut(&id).ok_or_else(|| errno(libc::EBADF))
    }

    /// Takes note that `event` has rung.
    pub fn take_rung(&mut self, event: u64) -> bool {
        self.rung.remove(&event)
    }

    fn free_port(&mut self) -> u16 {
        self.ports = self.ports.wrapping_add(1) % (u16::MAX - FIRST_PORT);
        FIRST_PORT + self.ports
    }
}

/// Nanoseconds that a segment is on its way.
fn delay(random: &mut Random, chance: u32) -> u64 {
    if !random.chance(chance) {
        return 0;
    }
    match random.below(16) {
        0..10 => random.below(200_000),
        10..15 => random.below(5_000_000),
        _ => random.below(400_000_000),
    }
}

impl State {
    fn notify(&mut self, event: u64) {
        self.net.rung.insert(event);
        self.ring(event);
    }

    fn notify_end(&mut self, id: u64) {
        if let Some(event) = self.net.ends.get(&id).map(|end| end.event) {
            self.notify(event);
        }
    }

    /// Listens. `is_shared`: others may listen at the same address, and connections are spread among them.
    pub fn listen(&mut self, mut address: SocketAddr, is_shared: bool) -> io::Result<u64> {
        if address.port() == 0 {
            address.set_port(self.net.free_port());
        }
        if !is_shared && self.net.listeners.values().any(|other| other.address == address) {
            return Err(errno(libc::EADDRINUSE));
        }
        let (id, event) = (self.id(), self.id());
        self.net.listeners.insert(id, Listening { address, backlog: VecDeque::new(), handles: 1, event });
        Ok(id)
    }

    pub fn address_of(&mut self, listener: u64) -> io::Result<SocketAddr> {
        self.net.listener(listener).map(|listener| listener.address)
    }

    /// Drops a handle of a listener; with the last one, who waits in its queue is reset.
    pub fn unlisten(&mut self, id: u64) {
        let Ok(listener) = self.net.listener(id) else { return };
        listener.handles -= 1;
        if listener.handles > 0 {
            return;
        }
        if let Some(listener) = self.net.listeners.remove(&id) {
            for (_, end) in listener.backlog {
                if let Ok(end) = self.net.end(end) {
                    end.resets = true;
                }
                self.close(end);
            }
        }
    }

    /// Begins a connection from `from`, or from an address of this machine. The end that began it.
    pub fn connect(&mut self, from: Option<IpAddr>, to: SocketAddr) -> io::Result<u64> {
        if self.random.chance(self.faults.no_descriptor) {
            self.injected.no_descriptor += 1;
            return Err(errno(libc::EMFILE));
        }
        let listeners: Vec<u64> =
            self.net.listeners.iter().filter(|(_, at)| at.address == to).map(|(&id, _)| id).collect();
        if listeners.is_empty() {
            return Err(errno(libc::ECONNREFUSED));
        }
        let listener = self.random.pick(&listeners);
        let local = SocketAddr::new(from.unwrap_or(Ipv4Addr::LOCALHOST.into()), self.net.free_port());
        let (client, server) = (self.id(), self.id());
        let arrival_ns = self.now_ns + delay(&mut self.random, self.faults.net_delay);
        for (id, peer, local, remote) in [(client, server, local, to), (server, client, to, local)] {
            let end = End {
                peer,
                local,
                remote,
                connected_ns: arrival_ns,
                coming: VecDeque::new(),
                coming_bytes: 0,
                received: VecDeque::new(),
                closed_until_ns: 0,
                has_fin: false,
                error: None,
                is_reset: false,
                is_shut: false,
                resets: false,
                event: self.id(),
            };
            self.net.ends.insert(id, end);
        }
        let event = {
            let listener = self.net.listener(listener)?;
            listener.backlog.push_back((arrival_ns, server));
            listener.event
        };
        self.notify(event);
        Ok(client)
    }

    /// The moment at which the next connection is in the queue of a listener.
    pub fn next_accept_ns(&mut self, listener: u64) -> Option<u64> {
        self.net.listeners.get(&listener)?.backlog.iter().map(|&(at_ns, _)| at_ns).min()
    }

    pub fn accept(&mut self, listener: u64) -> io::Result<(u64, SocketAddr)> {
        let now_ns = self.now_ns;
        let backlog = &mut self.net.listener(listener)?.backlog;
        let Some(place) = backlog.iter().position(|&(at_ns, _)| at_ns <= now_ns) else {
            return Err(errno(libc::EAGAIN));
        };
        if self.random.chance(self.faults.accept_error) {
            self.injected.accept_errors += 1;
            return Err(errno(self.random.pick(&[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM])));
        }
        let Some((_, end)) = self.net.listener(listener)?.backlog.remove(place) else {
            return Err(errno(libc::EAGAIN));
        };
        if self.random.chance(self.faults.net_reset) {
            self.injected.resets += 1;
            self.net.end(end)?.resets = true;
            self.close(end);
            return Err(errno(libc::ECONNABORTED));
        }
        let remote = self.net.end(end)?.remote;
        Ok((end, remote))
    }

    /// Takes in what has arrived.
    fn arrive(&mut self, id: u64) -> io::Result<&mut End> {
        let now_ns = self.now_ns;
        let end = self.net.end(id)?;
        while let Some((_, segment)) = end.coming.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            match segment {
                Segment::Data(bytes) => {
                    end.coming_bytes -= bytes.len();
                    end.received.extend(bytes);
                }
                Segment::Fin => end.has_fin = true,
                Segment::Reset => {
                    // After an end of file the kernel reports a broken pipe.
                    let error = if end.has_fin { libc::EPIPE } else { libc::ECONNRESET };
                    (end.error, end.is_reset) = (Some(error), true);
                }
            }
        }
        Ok(end)
    }

    pub fn readiness(&mut self, id: u64) -> io::Result<Readiness> {
        let now_ns = self.now_ns;
        let end = self.arrive(id)?;
        let coming_ns = end.coming.front().map(|&(at_ns, _)| at_ns);
        let mut readiness = Readiness {
            bytes: end.received.len(),
            is_readable: !end.received.is_empty() || end.has_fin || end.is_reset,
            has_failed: end.error.is_some(),
            is_connected: end.connected_ns <= now_ns,
            ..Readiness::default()
        };
        let (is_over, connected_ns, peer) = (end.is_shut || end.is_reset, end.connected_ns, end.peer);
        let (is_writable, opened_ns) = match self.net.ends.get(&peer) {
            _ if is_over => (true, None),
            None => (true, None),
            Some(peer) if peer.closed_until_ns > now_ns => (false, Some(peer.closed_until_ns)),
            Some(peer) => (peer.received.len() + peer.coming_bytes < self.net.window_bytes, None),
        };
        readiness.is_writable = is_writable;
        let connected_ns = (connected_ns > now_ns).then_some(connected_ns);
        readiness.next_ns = [coming_ns, opened_ns, connected_ns].into_iter().flatten().min();
        Ok(readiness)
    }

    /// Takes the error that waits.
    pub fn take_error(&mut self, id: u64) -> Option<io::Error> {
        self.arrive(id).ok()?.error.take().map(errno)
    }

    pub fn receive(&mut self, id: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let window_bytes = self.net.window_bytes;
        let end = self.arrive(id)?;
        if end.received.is_empty() {
            return match end.error.take() {
                Some(error) => Err(errno(error)),
                None if end.has_fin || end.is_reset => Ok(0),
                None => Err(errno(libc::EAGAIN)),
            };
        }
        let bytes = buffer.len().min(end.received.len());
        let was_full = end.received.len() + end.coming_bytes >= window_bytes;
        // A read of a `VecDeque` takes what lies in one piece.
        let mut filled = 0;
        while filled < bytes {
            filled += end.received.read(&mut buffer[filled..bytes])?;
        }
        let peer = end.peer;
        // As in the kernel, nobody is woken by space who did not wait for it: a wake that is lost is not made up for.
        if was_full {
            self.notify_end(peer);
        }
        Ok(bytes)
    }

    /// Puts `segment` on the way to `to`, behind all that is.
    fn put_on_the_way(&mut self, to: u64, segment: Segment) {
        let at_ns = self.now_ns + delay(&mut self.random, self.faults.net_delay);
        let Ok(end) = self.net.end(to) else { return };
        let at_ns = end.coming.back().map_or(at_ns, |&(last_ns, _)| last_ns.max(at_ns));
        if let Segment::Data(bytes) = &segment {
            end.coming_bytes += bytes.len();
        }
        end.coming.push_back((at_ns, segment));
        self.notify_end(to);
    }

    pub fn transmit(&mut self, id: u64, bytes: &[u8]) -> io::Result<usize> {
        let (now_ns, faults, window_bytes) = (self.now_ns, self.faults, self.net.window_bytes);
        let end = self.arrive(id)?;
        if let Some(error) = end.error.take() {
            return Err(errno(error));
        }
        if end.is_shut || end.is_reset {
            return Err(errno(libc::EPIPE));
        }
        let peer_id = end.peer;
        let Some(peer) = self.net.ends.get_mut(&peer_id) else {
            // It is gone: the first bytes that reach it are responded to with a reset.
            self.put_on_the_way(id, Segment::Reset);
            return Ok(bytes.len());
        };
        let space = window_bytes.saturating_sub(peer.received.len() + peer.coming_bytes);
        if self.random.chance(faults.zero_window) {
            self.injected.zero_windows += 1;
            peer.closed_until_ns = now_ns + self.random.below(2_000_000_000);
        }
        if space == 0 || peer.closed_until_ns > now_ns {
            return Err(errno(libc::EAGAIN));
        }
        let mut taken = bytes.len().min(space);
        if taken > 1 && self.random.chance(faults.short_send) {
            self.injected.short_sends += 1;
            taken = self.random.between(1, taken as u64 - 1) as usize;
        }
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            let mut length = rest.len();
            if length > 1 && self.random.chance(faults.net_cut) {
                self.injected.cuts += 1;
                length = self.random.between(1, length as u64 - 1) as usize;
            }
            let (piece, after) = rest.split_at(length);
            self.put_on_the_way(peer_id, Segment::Data(piece.to_vec()));
            rest = after;
        }
        if self.random.chance(faults.net_reset) {
            self.injected.resets += 1;
            self.put_on_the_way(peer_id, Segment::Reset);
            self.put_on_the_way(id, Segment::Reset);
        }
        Ok(taken)
    }

    /// Ends the direction from here.
    pub fn shut(&mut self, id: u64) -> io::Result<()> {
        let end = self.arrive(id)?;
        if end.is_reset {
            return Err(errno(libc::ENOTCONN));
        }
        let peer = end.peer;
        if !std::mem::replace(&mut end.is_shut, true) {
            self.put_on_the_way(peer, Segment::Fin);
        }
        Ok(())
    }

    /// Closes an end. What was not read resets the connection.
    pub fn close(&mut self, id: u64) {
        let Some(end) = self.net.ends.remove(&id) else { return };
        self.net.rung.remove(&end.event);
        let peer = end.peer;
        if end.resets || !end.received.is_empty() || end.coming_bytes > 0 {
            self.put_on_the_way(peer, Segment::Reset);
        } else if !end.is_shut && !end.is_reset {
            self.put_on_the_way(peer, Segment::Fin);
        } else {
            self.notify_end(peer);
        }
    }
}

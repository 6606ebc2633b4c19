//! Connections over TCP, by the names of the standard library, with the faults that the machine draws; and what a
//! reactor that does not block needs of them.

mod wire;

pub use std::net::Shutdown;
pub(crate) use wire::Net;
pub use wire::Readiness;

use crate::{
    Event,
    disk::errno,
    state::{State, seam, with},
    tasks,
};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

fn call<T>(what: &'static str, number: u64, operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
    seam(what, "", number)?;
    look(operation)
}

/// A look at the machine: no call of it.
fn look<T>(operation: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
    with(|state| if state.is_dead { Err(errno(libc::EBADF)) } else { operation(state) })
        .unwrap_or_else(|| Err(errno(libc::ENODEV)))
}

fn one_of(addresses: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    addresses.to_socket_addrs()?.next().ok_or_else(|| errno(libc::EADDRNOTAVAIL))
}

/// As in the standard library.
#[derive(Debug)]
pub struct TcpListener {
    id: u64,
    is_nonblocking: AtomicBool,
}

impl TcpListener {
    const fn of(id: u64) -> Self {
        Self { id, is_nonblocking: AtomicBool::new(false) }
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let address = one_of(addresses)?;
        call("bind", u64::from(address.port()), |state| state.listen(address, false).map(Self::of))
    }

    /// Listens where others may too (`SO_REUSEPORT`): connections are spread among them.
    ///
    /// # Errors
    /// The process has ended.
    pub fn bind_shared(address: SocketAddr) -> io::Result<Self> {
        call("bind", u64::from(address.port()), |state| state.listen(address, true).map(Self::of))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// The process has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        look(|state| state.address_of(self.id))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.is_nonblocking.store(is_nonblocking, Ordering::Relaxed);
        Ok(())
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// The machine's faults of accepting; `WouldBlock` for one that does not block.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let error = match call("accept", self.id, |state| state.accept(self.id)) {
                Ok((end, peer)) => return Ok((TcpStream::of(end), peer)),
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::WouldBlock || self.is_nonblocking.load(Ordering::Relaxed) {
                return Err(error);
            }
            let (next_ns, event) = look(|state| {
                let next_ns = state.next_accept_ns(self.id);
                Ok((next_ns, state.net.listener(self.id)?.event))
            })?;
            tasks::wait(next_ns, Some(event));
        }
    }

    /// The moment at which the next connection can be accepted.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        look(|state| Ok(state.next_accept_ns(self.id))).ok().flatten()
    }

    /// Rings `event` when connections come.
    pub fn wake_by(&self, event: &Event) {
        let _ = look(|state| state.net.listener(self.id).map(|listener| listener.event = event.id()));
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let _ = look(|state| {
            state.unlisten(self.id);
            Ok(())
        });
    }
}

/// The descriptor of an end, which its handles share.
#[derive(Debug)]
struct Descriptor {
    id: u64,
    is_nonblocking: AtomicBool,
    /// Nanoseconds; `u64::MAX` for none.
    read_timeout_ns: AtomicU64,
    write_timeout_ns: AtomicU64,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let _ = look(|state| {
            state.close(self.id);
            Ok(())
        });
    }
}

/// As in the standard library.
#[derive(Debug)]
pub struct TcpStream(Arc<Descriptor>);

fn set_timeout(place: &AtomicU64, timeout: Option<Duration>) {
    place.store(timeout.map_or(u64::MAX, |timeout| timeout.as_nanos() as u64), Ordering::Relaxed);
}

impl TcpStream {
    fn of(id: u64) -> Self {
        Self(Arc::new(Descriptor {
            id,
            is_nonblocking: AtomicBool::new(false),
            read_timeout_ns: AtomicU64::new(u64::MAX),
            write_timeout_ns: AtomicU64::new(u64::MAX),
        }))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let stream = Self::begin(None, one_of(addresses)?)?;
        stream.wait_until_connected()?;
        Ok(stream)
    }

    /// Connects as in the standard library: no connect takes as long as a timeout.
    ///
    /// # Errors
    /// As in the standard library.
    pub fn connect_timeout(address: &SocketAddr, _timeout: Duration) -> io::Result<Self> {
        Self::connect(address)
    }

    /// Does nothing: nothing is held back.
    ///
    /// # Errors
    /// None.
    pub fn set_nodelay(&self, _is_nodelay: bool) -> io::Result<()> {
        Ok(())
    }

    /// Connects from an address that is not this machine's.
    ///
    /// # Errors
    /// Nobody listens there, or no descriptor is free.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let stream = Self::begin(Some(from), to)?;
        stream.wait_until_connected()?;
        Ok(stream)
    }

    fn wait_until_connected(&self) -> io::Result<()> {
        loop {
            let readiness = self.readiness()?;
            match readiness.next_ns {
                Some(next_ns) if !readiness.is_connected => tasks::wait(Some(next_ns), None),
                _ => return Ok(()),
            }
        }
    }

    /// Begins to connect, and does not wait.
    ///
    /// # Errors
    /// Nobody listens there, or no descriptor is free.
    pub fn begin(from: Option<IpAddr>, to: SocketAddr) -> io::Result<Self> {
        call("connect", u64::from(to.port()), |state| state.connect(from, to).map(Self::of))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// The process has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        look(|state| state.net.end(self.0.id).map(|end| end.local))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn set_nonblocking(&self, is_nonblocking: bool) -> io::Result<()> {
        self.0.is_nonblocking.store(is_nonblocking, Ordering::Relaxed);
        Ok(())
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.0.read_timeout_ns, timeout);
        Ok(())
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        set_timeout(&self.0.write_timeout_ns, timeout);
        Ok(())
    }

    /// Ends the direction from here, whatever `how` says of the other.
    ///
    /// # Errors
    /// The peer has reset the connection.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        call("shutdown", self.0.id, |state| if how == Shutdown::Read { Ok(()) } else { state.shut(self.0.id) })
    }

    /// Closes with a reset once its last handle is dropped (`SO_LINGER` of zero).
    pub fn reset_at_close(&self) {
        let _ = look(|state| state.net.end(self.0.id).map(|end| end.resets = true));
    }

    /// Rings `event` when something changes.
    pub fn wake_by(&self, event: &Event) {
        let _ = look(|state| state.net.end(self.0.id).map(|end| end.event = event.id()));
    }

    /// Returns what can be done with it at the moment.
    ///
    /// # Errors
    /// The process has ended.
    pub fn readiness(&self) -> io::Result<Readiness> {
        look(|state| state.readiness(self.0.id))
    }

    /// As in the standard library.
    ///
    /// # Errors
    /// None.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        look(|state| Ok(state.take_error(self.0.id)))
    }

    /// Does `operation` as soon as it does not block, for as long as `timeout_ns`.
    fn blocking<T>(
        &self,
        what: &'static str,
        timeout_ns: &AtomicU64,
        mut operation: impl FnMut(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let until_ns = now_ns().saturating_add(timeout_ns.load(Ordering::Relaxed));
        loop {
            match call(what, self.0.id, &mut operation) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.0.is_nonblocking.load(Ordering::Relaxed) || now_ns() >= until_ns {
                        return Err(error);
                    }
                }
                result => return result,
            }
            let next_ns = self.readiness()?.next_ns.map_or(until_ns, |next_ns| next_ns.min(until_ns));
            let event = look(|state| state.net.end(self.0.id).map(|end| end.event))?;
            tasks::wait((next_ns != u64::MAX).then_some(next_ns), Some(event));
        }
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blocking("receive", &self.0.read_timeout_ns, |state| state.receive(self.0.id, buffer))
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blocking("send", &self.0.write_timeout_ns, |state| state.transmit(self.0.id, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nanoseconds of the machine's time; no call of it.
#[must_use]
pub fn now_ns() -> u64 {
    with(|state| state.now_ns).unwrap_or(0)
}

/// A number below `end` that the machine draws.
#[must_use]
pub fn draw(end: u64) -> u64 {
    with(|state| state.random.below(end)).unwrap_or(0)
}

/// The turns of a reactor by which a completion is late; mostly 0.
#[must_use]
pub fn late_turns() -> u64 {
    with(|state| {
        let is_late = state.random.chance(state.faults.late);
        state.injected.late += u64::from(is_late);
        if is_late { state.random.between(1, 3) } else { 0 }
    })
    .unwrap_or(0)
}

/// True if no receive buffer is free.
#[must_use]
pub fn lacks_buffers() -> bool {
    with(|state| {
        let lacks = state.random.chance(state.faults.no_buffers);
        state.injected.no_buffers += u64::from(lacks);
        lacks
    })
    .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{End, Faults, Machine, thread};

    /// Runs a server that sends back what it reads to its end, and `client`.
    fn with_echo(seed: u64, faults: Faults, client: impl FnOnce(SocketAddr) + 'static) -> Machine {
        let mut machine = Machine::new(seed);
        machine.set_faults(faults);
        let end = machine.run(600, move || {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received)?;
                stream.write_all(&received)
            });
            client(address);
            drop(server.join());
        });
        assert_eq!(end, End::Done, "seed {seed}");
        machine
    }

    #[test]
    fn bytes_arrive_in_order_whatever_is_cut_and_delayed() {
        let faults = Faults {
            switch: 10_000,
            net_delay: 20_000,
            net_cut: 30_000,
            short_send: 20_000,
            zero_window: 500,
            ..Faults::default()
        };
        let (mut cuts, mut short_sends) = (0, 0);
        for seed in 0..20 {
            let machine = with_echo(seed, faults, |address| {
                let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(received == bytes);
            });
            let injected = machine.injected();
            cuts += injected.cuts;
            short_sends += injected.short_sends;
        }
        assert!(cuts > 0 && short_sends > 0, "{cuts} cuts, {short_sends} short sends");
    }

    #[test]
    fn what_is_closed_is_reset_by_what_comes_for_it() {
        with_echo(1, Faults::default(), |address| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"unread").unwrap();
            let other = stream.try_clone().unwrap();
            other.reset_at_close();
            drop((stream, other));
        });
        let mut machine = Machine::new(1);
        let end = machine.run(60, || {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            drop(listener.accept().unwrap());
            stream.write_all(b"anybody?").unwrap();
            // The end of file came before the reset, so the kernel reports a broken pipe, now and later.
            for _ in 0..2 {
                assert_eq!(stream.write_all(b"anybody?").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            }
        });
        assert_eq!(end, End::Done);
    }

    #[test]
    fn who_waits_at_a_listener_that_closes_is_reset() {
        let mut machine = Machine::new(1);
        let end = machine.run(60, || {
            let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let address = listener.local_addr().unwrap();
            let mut stream = TcpStream::connect(address).unwrap();
            drop(listener);
            assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        });
        assert_eq!(end, End::Done);
    }
}

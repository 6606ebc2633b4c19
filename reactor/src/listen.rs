//! Listening sockets, set up so that what they accept needs no further system call.

mod unix;

pub use unix::{Claim, UnixAddress, UnixListening};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Listens at `address`. The socket is non-blocking and closed on exec; `TCP_NODELAY` is set, and what it accepts
/// inherits that (tcp(7)). `SO_REUSEADDR`: connections of an earlier run that linger in `TIME_WAIT` are no obstacle.
///
/// # Errors
/// The address is in use or not of this host, the port is privileged, or no descriptor is free.
pub fn listen(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    listen_by(address, false, backlog, reuse_port)
}

fn listen_by(address: SocketAddr, only_v6: bool, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = bind(address, only_v6, reuse_port)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// `count` listeners on one port, among which the kernel spreads incoming connections (`SO_REUSEPORT`, Linux 3.9). For
/// port 0 the kernel chooses one that is free, for all of them. A single listener does without `SO_REUSEPORT`, so that
/// no other process can share its port. `only_v6`: `[::]` does not take IPv4 too (`IPV6_V6ONLY`, ipv6(7)), whatever
/// `net.ipv6.bindv6only` says.
///
/// # Errors
/// As [`listen`]; `AddrInUse` also if somebody else listens there already with `SO_REUSEPORT` under the same user, whom
/// the kernel would let us join in silence; `InvalidInput` for no listeners.
pub fn listeners(mut address: SocketAddr, only_v6: bool, count: usize, backlog: i32) -> io::Result<Vec<TcpListener>> {
    if count == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "at least one listener is needed"));
    }
    // A plain bind conflicts with every listening socket, whatever its options; and the kernel never chooses for port 0
    // one that is shared.
    drop(bind(address, only_v6, false)?);
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = listen_by(address, only_v6, backlog, count > 1)?;
        address.set_port(listener.local_addr()?.port());
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Checks that [`listeners`] would get `address` now: binds it for a moment, and does not listen.
///
/// # Errors
/// As [`listeners`].
pub fn available(address: SocketAddr, only_v6: bool) -> io::Result<()> {
    bind(address, only_v6, false).map(drop)
}

fn bind(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<Socket> {
    // Closed on exec by default.
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    #[test]
    fn listeners_share_the_port_that_the_first_one_got() {
        let listeners = listeners(ANY_PORT.into(), false, 3, 16).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        assert_ne!(port, 0);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap().port() == port));
    }

    #[test]
    fn an_accepted_connection_inherits_no_delay() {
        let listener = listen(ANY_PORT.into(), 16, false).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[test]
    fn a_port_somebody_else_shares_out_is_not_joined() {
        let other = listen(ANY_PORT.into(), 16, true).unwrap();
        let address = other.local_addr().unwrap();
        // This is what makes the probe necessary: the kernel would let us in.
        drop(listen(address, 16, true).unwrap());
        for count in [1, 2] {
            assert_eq!(listeners(address, false, count, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse, "{count}");
        }
        let everywhere = SocketAddr::from(([0, 0, 0, 0], address.port()));
        assert_eq!(listeners(everywhere, false, 2, 16).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(other);
        assert_eq!(listeners(address, false, 2, 16).unwrap().len(), 2);
    }

    #[test]
    fn a_single_listener_shares_with_nobody() {
        let mut ours = listeners(ANY_PORT.into(), false, 1, 16).unwrap();
        let address = ours.pop().map(|ours| (ours.local_addr().unwrap(), ours)).unwrap();
        assert_eq!(listen(address.0, 16, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn no_listeners_are_refused() {
        assert_eq!(listeners(ANY_PORT.into(), false, 0, 16).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn both_families_on_one_port_are_two_listeners() {
        let v6 = listeners(([0_u16; 8], 0).into(), true, 2, 16).unwrap();
        let port = v6[0].local_addr().unwrap().port();
        let v4 = listeners(([0_u8; 4], port).into(), false, 2, 16).unwrap();
        assert_eq!(v4[0].local_addr().unwrap().port(), port);
        // One that takes both is in the way of the other.
        drop(v4);
        drop(v6);
        let both = listeners(([0_u16; 8], 0).into(), false, 2, 16).unwrap();
        let port = both[0].local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        let refused = listeners(([0_u8; 4], port).into(), false, 1, 16).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    }
}

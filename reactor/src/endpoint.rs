//! Destination of a client's connection.

use crate::listen::UnixAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{fmt, io, net::SocketAddr};

/// The other end of a connection that is begun here: an address of IP, or a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host and a port, over TCP.
    Inet(SocketAddr),
    /// A stream socket of `AF_UNIX`.
    Unix(UnixAddress),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(formatter),
            Self::Unix(address) => address.fmt(formatter),
        }
    }
}

impl Endpoint {
    /// A socket that can connect to it, and its address for the kernel. TCP sends without delay (`TCP_NODELAY`): what
    /// is handed over for sending is whole.
    ///
    /// # Errors
    /// No descriptor is free, or the name of a unix socket is too long.
    pub(crate) fn socket(&self, kind: Type) -> io::Result<(Socket, SockAddr)> {
        match self {
            Self::Inet(address) => {
                let socket = Socket::new(Domain::for_address(*address), kind, Some(Protocol::TCP))?;
                socket.set_tcp_nodelay(true)?;
                Ok((socket, (*address).into()))
            }
            Self::Unix(address) => Ok((Socket::new(Domain::UNIX, kind, None)?, address.to_kernel()?)),
        }
    }
}

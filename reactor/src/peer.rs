//! The other end of an accepted connection, as the kernel names it.
#![expect(unsafe_code, reason = "getsockopt(2) for SO_PEERCRED has no safe form in the standard library or in socket2")]

use socket2::{Domain, Socket};
use std::{fmt, io, mem, net::SocketAddr, os::fd::AsRawFd};

/// The other end of an accepted connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Address of a peer over TCP.
    Inet(SocketAddr),
    /// The user that connected to a unix socket (`SO_PEERCRED`, unix(7)): such a peer has no address.
    User(u32),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::User(uid) => write!(f, "unix:{uid}"),
        }
    }
}

impl Peer {
    /// The peer of `socket`, which was accepted from a listener of `domain`.
    ///
    /// # Errors
    /// `ENOTCONN`: the peer has already reset the connection (getpeername(2)).
    pub(crate) fn of(socket: &Socket, domain: Domain) -> io::Result<Self> {
        if domain == Domain::UNIX {
            return user(socket).map(Self::User);
        }
        let address = socket.peer_addr()?.as_socket();
        address.map(Self::Inet).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// The effective user of the process that called connect(2), as it was at that time.
fn user(socket: &Socket) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(mem::size_of_val(&credentials)).unwrap_or(0);
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the kernel writes at most `length` bytes, the
    // size of the structure that the pointer names, and its new length into a live integer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(credentials.uid) } else { Err(io::Error::last_os_error()) }
}

//! The identity of a client without authentication: its address, or for a peer of a unix socket, which has none, its
//! user.

use std::{fmt, net::IpAddr};

/// A client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// A network address.
    Ip(IpAddr),
    /// A user of this host, by number: the peer of a unix socket (`SO_PEERCRED`, unix(7)).
    User(u32),
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::User(uid) => write!(f, "unix:{uid}"),
        }
    }
}

impl From<IpAddr> for ClientAddress {
    /// Converts an IPv4 address that is mapped over IPv6 (`::ffff:192.0.2.1`) to the IPv4 address.
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

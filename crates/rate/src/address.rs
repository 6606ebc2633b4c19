//! Who a client is where nothing authenticates it: its address, or for a peer of a unix socket, which has none, its
//! user.

use std::{fmt, net::IpAddr};

/// A client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// An address of the network.
    Ip(IpAddr),
    /// A user of this host, by its number: who connected to a unix socket (`SO_PEERCRED`, unix(7)).
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
    /// An IPv4 address that came mapped over IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

//! Clients behind a proxy: which peers are trusted, and what they say of the client that they speak for, once for a
//! connection ([`header`], the PROXY protocol) or for each request ([`forwarded`], HTTP fields).
//!
//! Only bytes and addresses here: no socket, no clock, and no error that ends anything by itself.

pub mod forwarded;
pub mod header;
mod network;

pub use forwarded::{ForwardedFields, ForwardedHeader};
pub use network::{Network, TrustedProxy};

use rate::ClientAddress;
use std::net::IpAddr;

/// The peers that are believed when they name a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix: bool,
}

impl TrustedProxies {
    /// Returns true if the list is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Returns true if the peer at `address` is a trusted proxy.
    #[must_use]
    pub fn contain(&self, address: ClientAddress) -> bool {
        match address {
            ClientAddress::Ip(address) => self.contain_ip(address),
            ClientAddress::User(_) => self.unix,
        }
    }

    fn contain_ip(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

impl FromIterator<TrustedProxy> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = TrustedProxy>>(proxies: I) -> Self {
        let mut trusted = Self::default();
        for proxy in proxies {
            match proxy {
                TrustedProxy::Network(network) => trusted.networks.push(network),
                TrustedProxy::Unix => trusted.unix = true,
            }
        }
        trusted
    }
}

#[cfg(test)]
mod tests;

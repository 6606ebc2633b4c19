//! Networks of IP addresses, and what can be trusted besides.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A network: the addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// An IPv4 network: its bits, and the mask of its prefix.
    V4(u32, u32),
    /// An IPv6 network.
    V6(u128, u128),
}

impl Network {
    /// Returns true if the network contains `address`. An IPv4 address that is mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address.to_canonical()) {
            (Self::V4(bits, mask), IpAddr::V4(address)) => address.to_bits() & mask == bits,
            (Self::V6(bits, mask), IpAddr::V6(address)) => address.to_bits() & mask == bits,
            _ => false,
        }
    }

    /// The network of `address` with a prefix of so many bits, if the address has that many.
    fn of(address: IpAddr, prefix: u32) -> Option<Self> {
        match address {
            IpAddr::V4(address) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Some(Self::V4(address.to_bits() & mask, mask))
            }
            IpAddr::V6(address) if prefix <= 128 => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                let bits = address.to_bits() & mask;
                // ::ffff:10.0.0.0/104 is 10.0.0.0/8, as an address of it is met as an IPv4 address.
                match (Ipv6Addr::from_bits(bits).to_ipv4_mapped(), prefix.checked_sub(96)) {
                    (Some(mapped), Some(prefix)) => Self::of(mapped.into(), prefix),
                    _ => Some(Self::V6(bits, mask)),
                }
            }
            _ => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(bits, mask) => write!(f, "{}/{}", Ipv4Addr::from_bits(*bits), mask.count_ones()),
            Self::V6(bits, mask) => write!(f, "{}/{}", Ipv6Addr::from_bits(*bits), mask.count_ones()),
        }
    }
}

/// One item of `--trusted-proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedProxy {
    /// The hosts of a network.
    Network(Network),
    /// Whoever may connect to a unix socket.
    Unix,
}

impl FromStr for TrustedProxy {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected an address, a network such as 10.0.0.0/8 or 2001:db8::/32, or unix";
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = match prefix {
            None => bits_max,
            Some(digits)
                if !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                digits.parse().map_err(|_| EXPECTED)?
            }
            Some(_) => return Err(EXPECTED.into()),
        };
        let Some(network) = Network::of(address, prefix) else {
            return Err(format!("a prefix of {address} has at most {bits_max} bits, not {prefix}"));
        };
        if prefix == 0 {
            return Err("every address would be trusted, so any client could impersonate any other".into());
        }
        if !is_base(network, address) {
            return Err(format!("{text} has bits set after its prefix: use {network}, or {address} for one address"));
        }
        Ok(Self::Network(network))
    }
}

/// Returns true if the bits of `address` after the prefix are zero.
fn is_base(network: Network, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (Network::V4(bits, _), IpAddr::V4(address)) => bits == address.to_bits(),
        (Network::V6(bits, _), IpAddr::V6(address)) => bits == address.to_bits(),
        _ => false,
    }
}

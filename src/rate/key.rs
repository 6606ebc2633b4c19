//! What stands for a client in the limiter: a keyed 128-bit hash of its `Authorization` value or of its address.
//!
//! Owns the two hash keys of the process. No secret is kept, only its hash; and since the hash keys are random and never
//! leave the process, nobody outside can choose two values that collide, or many that crowd one shard.

use crate::address::ClientAddress;
use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    net::IpAddr,
};

/// Set before the bytes of an `Authorization` value, so that no value can equal an address.
const DOMAIN_AUTHORIZATION: u8 = 1;
/// Set before the octets of an address.
const DOMAIN_ADDRESS: u8 = 2;
/// Set before the number of a user.
const DOMAIN_USER: u8 = 3;

/// One client. Two clients share a key with probability 2^-128 a pair: at 2^20 clients, 2^-89 for any two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientKey {
    high: u64,
    low: u64,
}

impl ClientKey {
    /// The hash as two words.
    pub(super) const fn words(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// A place in a table of so many.
    #[must_use]
    pub const fn place(self, places: usize) -> usize {
        // The remainder is below a number that is a usize.
        #[expect(clippy::cast_possible_truncation, reason = "below `places`")]
        let place = (self.low % places as u64) as usize;
        place
    }

    /// The key that [`words`](Self::words) came from.
    pub(super) const fn from_words([high, low]: [u64; 2]) -> Self {
        Self { high, low }
    }
}

impl fmt::Display for ClientKey {
    /// 32 hexadecimal digits. They differ from one run of the process to the next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

/// Makes client keys. One per process, cloned to each core: keys made by clones agree.
///
/// Each half of a key is a SipHash-1-3 (Aumasson and Bernstein, 2012) under keys of its own, random per process. The
/// standard library draws 128 random bits once per thread and counts up by one for each further `RandomState`, so the two
/// halves are keyed differently; SipHash has no known weakness under related keys.
#[derive(Debug, Clone, Default)]
pub struct ClientKeys {
    high: RandomState,
    low: RandomState,
}

impl ClientKeys {
    /// Fresh random hash keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The client who presents this `Authorization` value, compared byte for byte.
    #[must_use]
    pub fn authorization(&self, value: &[u8]) -> ClientKey {
        self.hash(DOMAIN_AUTHORIZATION, value)
    }

    /// The client at this address, or this user of the host. An IPv4 address is the same client whether it came in over an IPv4 socket or mapped
    /// over an IPv6 one (`::ffff:192.0.2.1`).
    #[must_use]
    pub fn address(&self, address: ClientAddress) -> ClientKey {
        let ip = match address {
            ClientAddress::Ip(ip) => ip.to_canonical(),
            ClientAddress::User(uid) => return self.hash(DOMAIN_USER, &uid.to_le_bytes()),
        };
        match ip {
            IpAddr::V4(v4) => self.hash(DOMAIN_ADDRESS, &v4.octets()),
            IpAddr::V6(v6) => self.hash(DOMAIN_ADDRESS, &v6.octets()),
        }
    }

    fn hash(&self, domain: u8, bytes: &[u8]) -> ClientKey {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u8(domain);
            hasher.write(bytes);
            hasher.finish()
        };
        ClientKey { high: half(&self.high), low: half(&self.low) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_client_and_others_are_not() {
        let keys = ClientKeys::new();
        assert_eq!(keys.authorization(b"Bearer a"), keys.clone().authorization(b"Bearer a"));
        assert_ne!(keys.authorization(b"Bearer a"), keys.authorization(b"Bearer b"));
        assert_ne!(keys.authorization(b"Bearer a"), keys.authorization(b"bearer a"));
        assert_ne!(keys.authorization(b""), keys.authorization(b"\0"));
    }

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let keys = ClientKeys::new();
        let address = |text: &str| keys.address(ClientAddress::Ip(text.parse().unwrap()));
        let plain = address("192.0.2.1");
        assert_eq!(plain, address("::ffff:192.0.2.1"));
        assert_ne!(plain, address("192.0.2.2"));
        assert_ne!(plain, address("::192.0.2.1"));
    }

    #[test]
    fn a_user_of_a_unix_socket_is_a_client_of_its_own() {
        let keys = ClientKeys::new();
        let user = keys.address(ClientAddress::User(0x0102_00c0));
        assert_ne!(user, keys.address(ClientAddress::User(1)));
        assert_ne!(user, keys.address(ClientAddress::Ip("192.0.2.1".parse().unwrap())));
    }

    #[test]
    fn no_authorization_value_passes_for_an_address() {
        let keys = ClientKeys::new();
        let address = ClientAddress::Ip("192.0.2.1".parse().unwrap());
        assert_ne!(keys.address(address), keys.authorization(&[192, 0, 2, 1]));
    }

    #[test]
    fn two_processes_worth_of_hash_keys_disagree_in_both_halves() {
        let (one, two) = (ClientKeys::new().authorization(b"x"), ClientKeys::new().authorization(b"x"));
        assert_ne!(one.high, two.high);
        assert_ne!(one.low, two.low);
        assert_ne!(one.high, one.low, "the halves are keyed apart");
    }

    #[test]
    fn shows_as_hexadecimal_with_leading_zeroes() {
        let key = ClientKey::from_words([0xab, 1]);
        assert_eq!(key.to_string(), "00000000000000ab0000000000000001");
        assert_eq!(ClientKey::from_words(key.words()), key);
    }
}

//! Client keys of the limiter: a keyed 128-bit hash of a client's `Authorization` value or of its address.
//!
//! Owns the two hash keys of the process. No secret is kept, only its hash; and since the hash keys are random and
//! never leave the process, no client can choose two values that collide, or many that crowd one shard.

use crate::{ClientAddress, limits::IPV6_PREFIX_DEFAULT};
use host::hash::RandomState;
use std::{
    fmt,
    hash::{BuildHasher, DefaultHasher, Hasher},
    net::IpAddr,
};

/// Written before the bytes of an `Authorization` value, so that no value can equal an address.
const DOMAIN_AUTHORIZATION: u8 = 1;
/// Written before the bytes of the header field that names clients.
const DOMAIN_HEADER: u8 = 4;
/// Written before the octets of an address.
const DOMAIN_ADDRESS: u8 = 2;
/// Written before the number of a user.
const DOMAIN_USER: u8 = 3;

/// The key of one client. Two clients share a key with probability 2^-128 a pair: at 2^20 clients, 2^-89 for any two of
/// them.
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

    /// Index in a table of `places` places.
    #[inline]
    #[must_use]
    pub const fn place(self, places: usize) -> usize {
        // The remainder is below `places`, a usize.
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

/// The hash function of client keys. One per process, cloned to each core: the keys of clones agree.
///
/// Each half of a key is a SipHash-1-3 (Aumasson and Bernstein, 2012) under keys of its own, random per process. The
/// standard library draws 128 random bits once per thread and counts up by one for each further `RandomState`, so the
/// two halves are keyed differently; SipHash has no known weakness under related keys.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    high: RandomState,
    low: RandomState,
    ipv6_prefix: u8,
}

impl Default for ClientKeys {
    fn default() -> Self {
        Self { high: RandomState::new(), low: RandomState::new(), ipv6_prefix: IPV6_PREFIX_DEFAULT }
    }
}

impl ClientKeys {
    /// Fresh random hash keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the IPv6 prefix: addresses that agree in their first `bits` (1 to 128) are one client.
    #[must_use]
    pub fn with_ipv6_prefix(self, bits: u8) -> Self {
        Self { ipv6_prefix: bits.clamp(1, 128), ..self }
    }

    /// The client that presents this `Authorization` value, by its meaning: the case of its scheme and the blanks
    /// around and after that make no difference, and neither does `Bearer` before a token.
    #[inline]
    #[must_use]
    pub fn authorization(&self, value: &[u8]) -> ClientKey {
        let (scheme, token) = scheme_and_token(value);
        self.hash(|hasher| {
            hasher.write_u8(DOMAIN_AUTHORIZATION);
            if !scheme.is_empty() {
                scheme.iter().for_each(|byte| hasher.write_u8(byte.to_ascii_lowercase()));
                hasher.write_u8(b' ');
            }
            hasher.write(token);
        })
    }

    /// The client that the configured header field names with this value.
    #[inline]
    #[must_use]
    pub fn header(&self, value: &[u8]) -> ClientKey {
        self.hash(|hasher| {
            hasher.write_u8(DOMAIN_HEADER);
            hasher.write(trim_blanks(value));
        })
    }

    /// The client at this address, or this user of the host. An IPv4 address is the same client over an IPv4 socket and
    /// mapped over an IPv6 one (`::ffff:192.0.2.1`); of an IPv6 address only the prefix counts.
    #[inline]
    #[must_use]
    pub fn address(&self, address: ClientAddress) -> ClientKey {
        let bytes = |domain: u8, bytes: &[u8]| {
            self.hash(|hasher| {
                hasher.write_u8(domain);
                hasher.write(bytes);
            })
        };
        let ip = match address {
            ClientAddress::Ip(ip) => ip.to_canonical(),
            ClientAddress::User(uid) => return bytes(DOMAIN_USER, &uid.to_le_bytes()),
        };
        match ip {
            IpAddr::V4(v4) => bytes(DOMAIN_ADDRESS, &v4.octets()),
            IpAddr::V6(v6) => {
                let host_bits = 128 - u32::from(self.ipv6_prefix);
                bytes(DOMAIN_ADDRESS, &(v6.to_bits() >> host_bits).to_be_bytes())
            }
        }
    }

    fn hash(&self, write: impl Fn(&mut DefaultHasher)) -> ClientKey {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            write(&mut hasher);
            hasher.finish()
        };
        // Zero marks a free place in the table; one value in 2^128 therefore shares the key of another.
        match [half(&self.high), half(&self.low)] {
            [0, 0] => ClientKey { high: 0, low: 1 },
            [high, low] => ClientKey { high, low },
        }
    }
}

/// True if an `Authorization` value has credentials.
#[must_use]
pub fn has_credentials(value: &[u8]) -> bool {
    !scheme_and_token(value).1.is_empty()
}

/// The scheme of an `Authorization` value and the rest of it (RFC 9110, 11.4: `auth-scheme 1*SP token68`). The scheme
/// is empty where there is none, or where it is `Bearer`: a bare token and the same token as a bearer's are one.
fn scheme_and_token(value: &[u8]) -> (&[u8], &[u8]) {
    let value = trim_blanks(value);
    let (scheme, token) = match value.iter().position(|byte| is_blank(*byte)) {
        Some(end) => (&value[..end], trim_blanks(&value[end..])),
        None if value.eq_ignore_ascii_case(b"bearer") => (value, &[][..]),
        None => (&[][..], value),
    };
    if scheme.eq_ignore_ascii_case(b"bearer") { (&[], token) } else { (scheme, token) }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_client_and_others_are_not() {
        let keys = ClientKeys::new();
        assert_eq!(keys.authorization(b"Bearer a"), keys.clone().authorization(b"Bearer a"));
        assert_ne!(keys.authorization(b"Bearer a"), keys.authorization(b"Bearer b"));
        assert_ne!(keys.authorization(b"Bearer a"), keys.authorization(b"Bearer A"));
        assert_ne!(keys.authorization(b""), keys.authorization(b"\0"));
        assert_eq!(keys.header(b"a"), keys.header(b" a\t"));
        assert_ne!(keys.header(b"a"), keys.authorization(b"a"), "a header field is no credential");
    }

    #[test]
    fn the_spelling_of_a_credential_makes_no_client() {
        let keys = ClientKeys::new();
        let bearer = keys.authorization(b"Bearer a");
        for spelling in ["bearer a", "BEARER  a", "bEaReR\ta", " Bearer a ", "a", "a\t", "Bearer \t a"] {
            assert_eq!(keys.authorization(spelling.as_bytes()), bearer, "{spelling:?}");
        }
        let basic = keys.authorization(b"Basic YTpi");
        assert_eq!(keys.authorization(b"basic   YTpi "), basic);
        for other in ["YTpi", "Bearer YTpi", "Basic YTpI", "Token YTpi"] {
            assert_ne!(keys.authorization(other.as_bytes()), basic, "{other:?}");
        }
        for nobody in ["", " ", "\t", "Bearer", "bearer ", "BEARER \t"] {
            assert!(!has_credentials(nobody.as_bytes()), "{nobody:?}");
        }
        for somebody in ["a", "Bearer a", "Basic a", "bearera"] {
            assert!(has_credentials(somebody.as_bytes()), "{somebody:?}");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let keys = ClientKeys::new();
        let of = |keys: &ClientKeys, address: &str| keys.address(ClientAddress::Ip(address.parse().unwrap()));
        assert_eq!(of(&keys, "2001:db8::1"), of(&keys, "2001:db8::ffff:1:2:3"));
        assert_ne!(of(&keys, "2001:db8::1"), of(&keys, "2001:db8:0:1::1"));
        let hosts = keys.clone().with_ipv6_prefix(128);
        assert_ne!(of(&hosts, "2001:db8::1"), of(&hosts, "2001:db8::2"));
        let sites = keys.with_ipv6_prefix(48);
        assert_eq!(of(&sites, "2001:db8::1"), of(&sites, "2001:db8:0:1::1"));
        assert_ne!(of(&sites, "2001:db8::1"), of(&sites, "2001:db8:1::1"));
        assert_ne!(of(&sites, "192.0.2.1"), of(&sites, "192.0.2.2"), "an IPv4 address is one host");
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

//! Addresses to listen on, as written in options. Names are not resolved here.

use reactor::listen::UnixAddress;
use serde::{
    Deserializer,
    de::{self, SeqAccess, Visitor},
};
use std::{
    fmt,
    marker::PhantomData,
    net::{Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// One address to listen on, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address and a port.
    Ip(SocketAddr),
    /// Every address of this host, IPv6 and IPv4.
    Any(u16),
    /// A host name, or an IPv6 address with its scope, resolved at startup.
    Name(String, u16),
    /// A unix socket.
    Unix(UnixAddress),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Any(port) => write!(f, "*:{port}"),
            Self::Name(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected ADDRESS:PORT, [IPV6]:PORT, NAME:PORT, *:PORT, unix:/PATH or unix:@NAME";
        if let Some(name) = text.strip_prefix("unix:") {
            return UnixAddress::parse(name).map(Self::Unix);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port: u16 = match port.parse() {
            Ok(port) if is_number => port,
            _ if is_number => return Err(format!("a port must be from 0 to 65535, not {port}")),
            _ => return Err(EXPECTED.into()),
        };
        let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match host {
            "" | "*" => Ok(Self::Any(port)),
            _ if host.starts_with('[') => {
                let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).ok_or(EXPECTED)?;
                let (address, scope) = inside.split_once('%').ok_or(EXPECTED)?;
                if address.parse::<Ipv6Addr>().is_err() || scope.is_empty() || !is_name(scope) {
                    return Err(EXPECTED.into());
                }
                Ok(Self::Name(inside.to_owned(), port))
            }
            _ if host.contains(':') => Err("write an IPv6 address in brackets, as in [::1]:8080".into()),
            // 300.0.0.1, or 127.1, which some resolvers read in their own way.
            _ if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                Err(format!("{host} is not an IPv4 address"))
            }
            _ if is_name(host) => Ok(Self::Name(host.to_owned(), port)),
            _ => Err(EXPECTED.into()),
        }
    }
}

/// Permissions of a file, in octal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl FromStr for Mode {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected permissions in octal, from 000 to 777, such as 660";
        if text.is_empty() || !text.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
            return Err(EXPECTED);
        }
        match u32::from_str_radix(text, 8) {
            Ok(mode @ 0..=0o777) => Ok(Self(mode)),
            _ => Err(EXPECTED),
        }
    }
}

/// Deserializes a list in the configuration file: an array of strings, or one string with commas as on the command
/// line.
///
/// # Errors
/// An item does not parse.
pub fn list<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(from: D) -> Result<Option<Vec<T>>, D::Error> {
    struct Items<T>(PhantomData<T>);
    impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Items<T> {
        type Value = Option<Vec<T>>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.split(',').map(|item| item.parse().map_err(E::custom)).collect::<Result<_, _>>().map(Some)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(text) = texts.next_element::<String>()? {
                items.push(text.parse().map_err(de::Error::custom)?);
            }
            Ok(Some(items))
        }
    }
    from.deserialize_any(Items(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_listen_at_are_read_and_shown() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:0",
            "[fe80::1%eth0]:8080",
            "localhost:8080",
            "metrics-1.example.com:65535",
            "*:8080",
            "unix:/run/metricstream.sock",
            "unix:@metricstream",
            "unix:relative.sock",
        ] {
            assert_eq!(text.parse::<ListenAddress>().map(|place| place.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(":80".parse(), Ok(ListenAddress::Any(80)));
        assert_eq!(
            "[fe80::1%2]:80".parse::<ListenAddress>().map(|place| place.to_string()),
            Ok("[fe80::1%2]:80".into())
        );
    }

    #[test]
    fn what_is_no_place_to_listen_at_is_refused() {
        for (text, part) in [
            ("", "expected"),
            ("8080", "expected"),
            ("localhost", "expected"),
            ("localhost:", "expected"),
            ("localhost:+80", "expected"),
            ("localhost:http", "expected"),
            ("localhost:65536", "from 0 to 65535"),
            ("::1:8080", "in brackets"),
            ("[::1]", "expected"),
            ("[::g%1]:80", "expected"),
            ("[::1%]:80", "expected"),
            ("300.0.0.1:80", "not an IPv4 address"),
            ("127.1:80", "not an IPv4 address"),
            ("http://localhost:80", "in brackets"),
            ("local host:80", "expected"),
            ("unix:", "expected"),
            ("unix:@", "expected"),
        ] {
            let refusal = text.parse::<ListenAddress>().unwrap_err();
            assert!(refusal.contains(part), "{text}: {refusal}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(long.parse::<ListenAddress>().unwrap_err().contains("at most 107 bytes"));
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!("660".parse(), Ok(Mode(0o660)));
        assert_eq!("0".parse(), Ok(Mode(0)));
        assert_eq!("0777".parse(), Ok(Mode(0o777)));
        for bad in ["", "888", "1777", "rw", "-1", "+1", "0o660"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }
}

//! The client of one request, by what the proxies on its way have added to it: `Forwarded` (RFC 7239) or
//! `X-Forwarded-For`.
//!
//! Each proxy adds at the end the address that it saw, so both are read from the right, over all fields of the name:
//! addresses of trusted proxies are passed over, and the first other one is the client. What stands to the left of it
//! was written by the client and is never looked at. An entry that is no address (`unknown`, `_hidden`, garbage) ends
//! the walk at the last proxy that is known. Nothing here is an error of the request, and nothing allocates.

use super::TrustedProxies;
use crate::limits::FORWARDED_HOPS_MAX;
use http1::LastValues;
use rate::ClientAddress;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Bytes of one node that can be an address: 45 of IPv6, brackets, and a port or a name for one.
const NODE_BYTES_MAX: usize = 64;

/// The field that is used when a trusted proxy sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// The one that a request has. If it has both and they do not agree, neither: a proxy that sets one of them passes
    /// on the other as the client sent it.
    #[default]
    Auto,
    /// `Forwarded`.
    Forwarded,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// None.
    Off,
}

impl FromStr for ForwardedHeader {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "forwarded" => Ok(Self::Forwarded),
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "off" => Ok(Self::Off),
            _ => Err("expected auto, forwarded, x-forwarded-for or off"),
        }
    }
}

/// The fields of one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct ForwardedFields<'a> {
    /// `Forwarded`.
    pub forwarded: LastValues<'a>,
    /// `X-Forwarded-For`.
    pub x_forwarded_for: LastValues<'a>,
}

impl ForwardedFields<'_> {
    /// The client behind `peer`, a trusted proxy; `None` where the fields that `header` chooses are missing.
    #[must_use]
    pub fn client(
        &self,
        header: ForwardedHeader,
        peer: ClientAddress,
        trusted: &TrustedProxies,
    ) -> Option<ClientAddress> {
        let forwarded = || {
            self.forwarded.is_present().then(|| walk(elements(self.forwarded, last_element), node_of, peer, trusted))
        };
        let x_forwarded_for = || {
            self.x_forwarded_for
                .is_present()
                .then(|| walk(elements(self.x_forwarded_for, last_item), node, peer, trusted))
        };
        match header {
            ForwardedHeader::Off => None,
            ForwardedHeader::Forwarded => forwarded(),
            ForwardedHeader::XForwardedFor => x_forwarded_for(),
            ForwardedHeader::Auto => match (forwarded(), x_forwarded_for()) {
                (Some(one), Some(other)) => Some(if one == other { one } else { peer }),
                (one, other) => one.or(other),
            },
        }
    }
}

/// Passes over the trusted addresses among `elements`, the nearest first.
fn walk<'a>(
    elements: impl Iterator<Item = &'a [u8]>,
    address_of: impl Fn(&[u8]) -> Option<IpAddr>,
    peer: ClientAddress,
    trusted: &TrustedProxies,
) -> ClientAddress {
    let mut client = peer;
    for element in elements.take(FORWARDED_HOPS_MAX) {
        let Some(address) = address_of(element) else { break };
        client = address.into();
        if !trusted.contain(client) {
            break;
        }
    }
    client
}

/// The elements of all fields as of one list, from the right, without the empty ones. `split` cuts off the last.
fn elements<'a>(
    fields: LastValues<'a>,
    split: impl Fn(&'a [u8]) -> (Option<&'a [u8]>, &'a [u8]) + Copy,
) -> impl Iterator<Item = &'a [u8]> {
    let of_field = move |value| {
        let mut rest = Some(value);
        std::iter::from_fn(move || {
            let (before, element) = split(rest?);
            rest = before;
            Some(element.trim_ascii())
        })
    };
    fields.from_the_last().flat_map(of_field).filter(|element| !element.is_empty())
}

/// Splits at the last comma.
fn last_item(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    split_at(value, memchr::memrchr(b',', value))
}

/// The same, where commas may stand in quoted strings (RFC 9110, 5.6.4). What stands before the element has no say in
/// where it begins.
fn last_element(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut in_quotes = false;
    for at in (0..value.len()).rev() {
        match value[at] {
            b'"' => {
                let escapes = value[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                in_quotes ^= escapes % 2 == 0;
            }
            b',' if !in_quotes => return split_at(value, Some(at)),
            _ => {}
        }
    }
    (None, value)
}

fn split_at(value: &[u8], comma: Option<usize>) -> (Option<&[u8]>, &[u8]) {
    comma.map_or((None, value), |comma| (Some(&value[..comma]), &value[comma + 1..]))
}

/// The address in a node (RFC 7239, 6), with or without a port: `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(inside) = text.strip_prefix('[') {
        let (address, after) = inside.split_once(']')?;
        let has_form = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return has_form.then(|| address.parse::<Ipv6Addr>().ok()).flatten().map(IpAddr::V6);
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse::<Ipv4Addr>().ok()).flatten().map(IpAddr::V4)
}

/// A number, or a name for one that is not to be known.
fn is_port(port: &str) -> bool {
    match port.strip_prefix('_') {
        Some(name) => {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The address that the `for` parameter of one element of `Forwarded` names. `None`: there is no such parameter, or
/// two, or it is no address, or the element is not well-formed.
fn node_of(element: &[u8]) -> Option<IpAddr> {
    let mut rest = element;
    let mut found = None;
    while let [first, after @ ..] = rest.trim_ascii_start() {
        if *first == b';' {
            rest = after;
            continue;
        }
        rest = rest.trim_ascii_start();
        let name_end =
            rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)))?;
        let (name, value) = (&rest[..name_end], rest[name_end..].strip_prefix(b"=")?);
        let mut node_bytes = [0; NODE_BYTES_MAX];
        let (length, after) = take_value(value, &mut node_bytes)?;
        if !matches!(after.trim_ascii_start(), [] | [b';', ..]) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(node(node_bytes.get(..length)?)).is_some() {
            return None;
        }
        rest = after;
    }
    found?
}

/// The value at the beginning of `bytes`, a token or a quoted string, without quotes and escapes into `into` as far as
/// it goes: its whole length, and what follows it.
fn take_value<'a>(bytes: &'a [u8], into: &mut [u8]) -> Option<(usize, &'a [u8])> {
    let mut length = 0;
    let mut put = |byte: u8| {
        if let Some(slot) = into.get_mut(length) {
            *slot = byte;
        }
        length += 1;
    };
    let Some(mut quoted) = bytes.strip_prefix(b"\"") else {
        let end = bytes.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t')).unwrap_or(bytes.len());
        bytes[..end].iter().for_each(|byte| put(*byte));
        return (end > 0 && !bytes[..end].contains(&b'"')).then_some((length, &bytes[end..]));
    };
    loop {
        match quoted {
            [b'"', after @ ..] => return Some((length, after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                put(*byte);
                quoted = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::TrustedProxy;
    use proptest::prelude::*;

    fn trusted() -> TrustedProxies {
        ["10.0.0.0/8", "2001:db8:ffff::/48"].into_iter().map(|text| text.parse::<TrustedProxy>().unwrap()).collect()
    }

    const PROXY: ClientAddress = ClientAddress::Ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));

    fn fields<'a>(values: &[&'a str]) -> LastValues<'a> {
        let mut fields = LastValues::default();
        values.iter().for_each(|value| fields.add(value.as_bytes()));
        fields
    }

    fn by(header: ForwardedHeader, forwarded: &[&str], x_forwarded_for: &[&str]) -> String {
        let fields = ForwardedFields { forwarded: fields(forwarded), x_forwarded_for: fields(x_forwarded_for) };
        fields.client(header, PROXY, &trusted()).map_or_else(|| "none".into(), |client| client.to_string())
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right() {
        for (values, client) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["192.0.2.1, 10.0.0.2, 10.0.0.3"], "192.0.2.1"),
            (&["192.0.2.9, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.9", "192.0.2.1", "10.0.0.2"], "192.0.2.1"),
            (&["192.0.2.9,192.0.2.1", "10.0.0.2 ,\t10.0.0.3"], "192.0.2.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["2001:db8::1, ::ffff:10.0.0.2, 2001:db8:ffff::2"], "2001:db8::1"),
            (&["192.0.2.1,,"], "192.0.2.1"),
            (&["10.0.0.7, 10.0.0.2"], "10.0.0.7"),
            // What is no address ends the walk at the last proxy that is known.
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["192.0.2.1, garbage"], "10.0.0.1"),
            (&["192.0.2.1, 300.0.0.1"], "10.0.0.1"),
            (&["192.0.2.1, 192.0.2.2:"], "10.0.0.1"),
            (&["192.0.2.1, 192.0.2.2:http"], "10.0.0.1"),
            (&["192.0.2.1, [192.0.2.2]"], "10.0.0.1"),
            (&["192.0.2.1, fe80::1%eth0"], "10.0.0.1"),
            (&["192.0.2.1, \u{e9}"], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&[", ,"], "10.0.0.1"),
            (&[], "none"),
        ] {
            assert_eq!(by(ForwardedHeader::XForwardedFor, &[], values), client, "{values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_from_the_right() {
        for (values, client) in [
            (&["for=192.0.2.1"][..], "192.0.2.1"),
            (&["For=192.0.2.1;proto=http;by=203.0.113.43"], "192.0.2.1"),
            (&["proto=https; for=\"[2001:db8::1]:4711\""], "2001:db8::1"),
            (&["for=\"[2001:db8::1]\""], "2001:db8::1"),
            (&["for=\"192.0.2.1:_port\""], "192.0.2.1"),
            (&["for=192.0.2.9, for=192.0.2.1;by=_a, for=10.0.0.2"], "192.0.2.1"),
            (&["for=192.0.2.9", "for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
            (&["for=\"192.0.\\2.1\""], "192.0.2.1"),
            (&["host=\"a,b\\\"c;for=192.0.2.9,\";for=192.0.2.1"], "192.0.2.1"),
            (&[";;for=192.0.2.1;"], "192.0.2.1"),
            // What the client has written to the left is not looked at, quotes that do not end included.
            (&["for=\"192.0.2.9, for=192.0.2.1"], "192.0.2.1"),
            (&["for=\"\\\", for=192.0.2.1"], "192.0.2.1"),
            (&["=;\"\", for=192.0.2.1, for=\"10.0.0.2\""], "192.0.2.1"),
            // No address.
            (&["for=192.0.2.1, for=unknown"], "10.0.0.1"),
            (&["for=192.0.2.1, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=192.0.2.1, by=10.0.0.2"], "10.0.0.1"),
            (&["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
            (&["for=\"192.0.2.1"], "10.0.0.1"),
            (&["for=192.0.2.1\""], "10.0.0.1"),
            (&["for="], "10.0.0.1"),
            (&["for=\"\""], "10.0.0.1"),
            (&["for = 192.0.2.1"], "10.0.0.1"),
            (&["for=192.0.2.1 x"], "10.0.0.1"),
            (&["192.0.2.1"], "10.0.0.1"),
            (&["for=\"                                                                 192.0.2.1\""], "10.0.0.1"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(by(ForwardedHeader::Forwarded, values, &[]), client, "{values:?}");
        }
    }

    #[test]
    fn of_two_fields_that_disagree_neither_is_believed() {
        let both = (&["for=192.0.2.1"][..], &["192.0.2.1"][..]);
        let forged = (&["for=198.51.100.7"][..], &["192.0.2.1"][..]);
        assert_eq!(by(ForwardedHeader::Auto, both.0, both.1), "192.0.2.1");
        assert_eq!(by(ForwardedHeader::Auto, forged.0, forged.1), "10.0.0.1");
        assert_eq!(by(ForwardedHeader::Auto, forged.0, &[]), "198.51.100.7");
        assert_eq!(by(ForwardedHeader::Auto, &[], forged.1), "192.0.2.1");
        assert_eq!(by(ForwardedHeader::XForwardedFor, forged.0, forged.1), "192.0.2.1");
        assert_eq!(by(ForwardedHeader::Forwarded, forged.0, forged.1), "198.51.100.7");
        assert_eq!(by(ForwardedHeader::Off, forged.0, forged.1), "none");
        assert_eq!(by(ForwardedHeader::Forwarded, &[], forged.1), "none");
    }

    #[test]
    fn only_so_many_hops_are_followed() {
        let long = vec!["10.0.0.2"; FORWARDED_HOPS_MAX - 1].join(",");
        assert_eq!(by(ForwardedHeader::Auto, &[], &[&format!("192.0.2.1,{long}")]), "192.0.2.1");
        assert_eq!(by(ForwardedHeader::Auto, &[], &[&format!("192.0.2.1,10.0.0.3,{long}")]), "10.0.0.3");
        // Of many fields the last ones count, which the nearest proxies have added.
        let mut many = vec!["198.51.100.1"; 60];
        many.push("192.0.2.1");
        assert_eq!(by(ForwardedHeader::Auto, &[], &many), "192.0.2.1");
    }

    proptest! {
        /// Whatever a client sends, what its proxy adds at the end decides.
        #[test]
        fn a_client_cannot_name_itself(
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..4),
            header in prop_oneof![Just(ForwardedHeader::Forwarded), Just(ForwardedHeader::XForwardedFor)],
            appended in any::<bool>(),
        ) {
            let added: &[u8] = if header == ForwardedHeader::Forwarded { b"for=192.0.2.1" } else { b"192.0.2.1" };
            let mut values = sent;
            match values.last_mut().filter(|_| appended) {
                Some(last) => last.extend([b", ", added].concat()),
                None => values.push(added.to_vec()),
            }
            let mut fields = LastValues::default();
            values.iter().for_each(|value| fields.add(value));
            let fields = ForwardedFields { forwarded: fields, x_forwarded_for: fields };
            let client = fields.client(header, PROXY, &trusted());
            prop_assert_eq!(client, Some(ClientAddress::Ip([192, 0, 2, 1].into())));
        }

        #[test]
        fn no_field_panics(value in proptest::collection::vec(prop_oneof![
            any::<u8>(),
            proptest::sample::select(&b"\"\\,;=[]: "[..]),
        ], 0..80)) {
            let mut fields = LastValues::default();
            fields.add(&value);
            let fields = ForwardedFields { forwarded: fields, x_forwarded_for: fields };
            let _ = fields.client(ForwardedHeader::Auto, PROXY, &trusted());
        }
    }
}

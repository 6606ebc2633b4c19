//! Parsers of what stands for clients behind a proxy and for their traces: a PROXY header is judged alike whole and as
//! it arrives, and Forwarded fields never name an address that no field has.
#![no_main]

use fuzz::Choices;
use http1::LastValues;
use libfuzzer_sys::fuzz_target;
use metricstream::{
    proxy::{ForwardedFields, ForwardedHeader, TrustedProxies, header},
    trace,
};
use rate::ClientAddress;
use std::net::{IpAddr, Ipv4Addr};

fuzz_target!(|data: &[u8]| {
    let whole = header::parse(data);
    for end in [Choices::of(data).below(data.len() + 1), data.len().saturating_sub(1)] {
        match header::parse(&data[..end]) {
            Ok(None) => {}
            Ok(Some((bytes, origin))) => {
                assert!(bytes <= end);
                assert_eq!(whole, Ok(Some((bytes, origin))), "what follows a header changes nothing");
            }
            Err(_) => assert!(whole.is_err(), "a fault is certain once it is named"),
        }
    }

    let trusted: TrustedProxies = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"]
        .into_iter()
        .map(|network| network.parse().expect("a network"))
        .collect();
    let peer = ClientAddress::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut fields = ForwardedFields::default();
    for (index, value) in data.split(|&byte| byte == b'\n').enumerate() {
        if index % 2 == 0 { fields.forwarded.add(value) } else { fields.x_forwarded_for.add(value) }
    }
    for header in [ForwardedHeader::Auto, ForwardedHeader::Forwarded, ForwardedHeader::XForwardedFor] {
        let client = fields.client(header, peer, &trusted);
        let only = ForwardedFields { forwarded: fields.forwarded, x_forwarded_for: LastValues::default() };
        if header == ForwardedHeader::Forwarded {
            assert_eq!(only.client(header, peer, &trusted), client, "the other field does not count");
        }
    }
    assert_eq!(fields.client(ForwardedHeader::Off, peer, &trusted), None);

    if let Some(parent) = trace::Parent::parse(data) {
        assert!(parent.trace_id != [0; 16] && parent.span_id != [0; 8]);
    }
});

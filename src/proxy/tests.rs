use super::*;

fn parsed(text: &str) -> Result<String, String> {
    match text.parse()? {
        TrustedProxy::Network(network) => Ok(network.to_string()),
        TrustedProxy::Unix => Ok("unix".into()),
    }
}

#[test]
fn networks_are_read_and_corrected() {
    for (text, network) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("192.0.2.128/25", "192.0.2.128/25"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::1", "::1/128"),
        ("8000::/1", "8000::/1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("unix", "unix"),
    ] {
        assert_eq!(parsed(text), Ok(network.into()), "{text}");
    }
    for (text, part) in [
        ("10.1.2.3/8", "use 10.0.0.0/8, or 10.1.2.3 for one address"),
        ("2001:db8::1/64", "use 2001:db8::/64"),
        ("::ffff:10.1.0.0/104", "use 10.0.0.0/8"),
        ("10.0.0.0/33", "at most 32 bits"),
        ("::/129", "at most 128 bits"),
        ("0.0.0.0/0", "any client could impersonate any other"),
        ("::/0", "any client could impersonate any other"),
        ("", "expected"),
        ("10.0.0", "expected"),
        ("10.0.0.0/", "expected"),
        ("10.0.0.0/+8", "expected"),
        ("10.0.0.0/8/8", "expected"),
        ("10.0.0.0/255.0.0.0", "expected"),
        ("fe80::1%eth0", "expected"),
        ("proxy.example.com", "expected"),
        ("UNIX", "expected"),
    ] {
        let refusal = parsed(text).unwrap_err();
        assert!(refusal.contains(part), "{text}: {refusal}");
    }
}

#[test]
fn a_peer_is_trusted_by_its_network() {
    let trusted: TrustedProxies = ["10.0.0.0/8", "2001:db8::/127"].iter().map(|text| text.parse().unwrap()).collect();
    let is_trusted = |text: &str| trusted.contain(ClientAddress::Ip(text.parse().unwrap()));
    for inside in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.1.1", "2001:db8::", "2001:db8::1"] {
        assert!(is_trusted(inside), "{inside}");
    }
    for outside in ["9.255.255.255", "11.0.0.0", "::10.1.1.1", "2001:db8::2", "::1"] {
        assert!(!is_trusted(outside), "{outside}");
    }
    assert!(!trusted.contain(ClientAddress::User(0)));
    let unix: TrustedProxies = ["unix".parse().unwrap()].into_iter().collect();
    assert!(unix.contain(ClientAddress::User(1_000)) && !unix.is_empty() && TrustedProxies::default().is_empty());
}

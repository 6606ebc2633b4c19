//! Clients behind proxies: the PROXY protocol, once for a connection, and `Forwarded` or `X-Forwarded-For`, for each
//! request. Who is limited is seen by `asked_by` of `GET /stats/clients`, which stands for a client and tells it apart
//! from the others.

use crate::{
    http::{Client, get, post, post_to},
    on_both_drivers,
    server::{Driver, Server, until},
    with_driver,
};
use std::net::SocketAddr;
use tempfile::TempDir;

const BATCH: &str = r#"{"metrics":[{"name":"a","value":1}]}"#;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn clients_with(lines: &str) -> Vec<u8> {
    format!("GET /stats/clients HTTP/1.1\r\nHost: metrics.test\r\n{lines}\r\n").into_bytes()
}

/// Returns the client that a request with these header lines is counted as.
fn who(client: &mut Client, lines: &str) -> String {
    client.request(&clients_with(lines)).json()["asked_by"].as_str().unwrap().to_owned()
}

fn x_forwarded_for(value: &str) -> String {
    format!("X-Forwarded-For: {value}\r\n")
}

/// Returns the client that a connection that begins with `header` is counted as.
fn who_after(address: SocketAddr, header: &[u8]) -> String {
    let mut client = Client::connect(address);
    client.send(header).unwrap();
    who(&mut client, "")
}

fn line(source: &str) -> Vec<u8> {
    let family = if source.contains(':') { "TCP6" } else { "TCP4" };
    let destination = if source.contains(':') { "::1" } else { "127.0.0.1" };
    format!("PROXY {family} {source} {destination} 40000 80\r\n").into_bytes()
}

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// The addresses of a client at 192.0.2.1.
const V4: [u8; 12] = [192, 0, 2, 1, 127, 0, 0, 1, 0x9c, 0x40, 0, 80];

/// A server with a place for clients and one for proxies, and the address of the latter.
fn proxied(driver: Driver, trusted: &str) -> (Server, SocketAddr) {
    let server = with_driver(driver).flag("--proxy-listen", "127.0.0.1:0").flag("--trusted-proxies", trusted).start();
    let place = server.listens_at[1].parse().unwrap();
    (server, place)
}

fn a_proxy_header_names_the_client(driver: Driver) {
    let (server, place) = proxied(driver, "127.0.0.0/8");
    let itself = who(&mut server.connect(), "");
    let first = who_after(place, &line("192.0.2.1"));
    assert_ne!(first, itself);
    assert_eq!(who_after(place, &line("192.0.2.1")), first);
    assert_eq!(who_after(place, &line("::ffff:192.0.2.1")), first);
    assert_eq!(who_after(place, &binary(0x21, 0x11, &V4)), first);
    assert_eq!(who_after(place, &binary(0x21, 0x11, &[&V4[..], &[4, 0, 3, 1, 2, 3]].concat())), first);
    let second = who_after(place, &line("192.0.2.2"));
    let third = who_after(place, &line("2001:db8::1"));
    assert!(second != first && third != first && third != second);
    // Health checks, and what the proxy cannot name, are its own.
    for header in
        [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN a b c d\r\n", &binary(0x20, 0, b""), &binary(0x21, 0, b"x")]
    {
        assert_eq!(who_after(place, header), itself, "{header:?}");
    }
    assert_eq!(server.stat("/connections/proxy_headers"), 11);
}

/// Whoever has an IPv6 /64 has 2^64 addresses; with `--ipv6-prefix 48` whoever has 65,536 of those is one client, too.
fn an_ipv6_network_is_one_client(driver: Driver) {
    let (_server, place) = proxied(driver, "127.0.0.0/8");
    let first = who_after(place, &line("2001:db8:1:2::1"));
    for host in ["::2", ":ffff:ffff:ffff:ffff", ":8000::", "::ffff:c000:201"] {
        assert_eq!(who_after(place, &line(&format!("2001:db8:1:2{host}"))), first, "{host}");
    }
    for network in ["2001:db8:1:3::1", "2001:db8:1::1", "2001:db8:2:2::1"] {
        assert_ne!(who_after(place, &line(network)), first, "{network}");
    }
    let flags = with_driver(driver).flag("--proxy-listen", "127.0.0.1:0").flag("--ipv6-prefix", "48");
    let server = flags.flag("--trusted-proxies", "127.0.0.0/8").start();
    let place = server.listens_at[1].parse().unwrap();
    let first = who_after(place, &line("2001:db8:1:2::1"));
    assert_eq!(who_after(place, &line("2001:db8:1:ffff:1:2:3:4")), first);
    assert_ne!(who_after(place, &line("2001:db8:2:2::1")), first);
}

/// In one segment with a pipeline, or byte by byte: what follows the header is the connection's first request.
fn a_proxy_header_comes_in_any_pieces(driver: Driver) {
    let (server, place) = proxied(driver, "127.0.0.1");
    let first = who_after(place, &line("192.0.2.1"));
    for header in [line("192.0.2.1"), binary(0x21, 0x11, &V4)] {
        let mut client = Client::connect(place);
        client.send(&[&header[..], &post(BATCH), &clients_with(""), &post(BATCH)].concat()).unwrap();
        assert_eq!(client.response().processed(), 1);
        assert_eq!(client.response().json()["asked_by"].as_str(), Some(&first[..]));
        assert_eq!(client.response().processed(), 1);
        let mut client = Client::connect(place);
        for byte in [&header[..], &clients_with("")].concat() {
            client.send(&[byte]).unwrap();
        }
        assert_eq!(client.response().json()["asked_by"].as_str(), Some(&first[..]));
    }
    drop(server);
}

fn what_is_no_proxy_header_gets_400(driver: Driver) {
    let (server, place) = proxied(driver, "127.0.0.1");
    let long = binary(0x21, 0x11, &[&V4[..], &[4, 0x20, 0], &[0; 0x2000]].concat());
    let checksum = binary(0x21, 0x11, &[&V4[..], &[3, 0, 4, 1, 2, 3, 4]].concat());
    let cases: [(&[u8], &str); 8] = [
        (&get("/health"), "proxy_header_missing"),
        (&post(BATCH), "proxy_header_missing"),
        (b"\x16\x03\x01", "proxy_header_missing"),
        (b"PROXY TCP4 1.2.3.4\r\n", "proxy_header_invalid"),
        (&[b'P', b'R', b'O', b'X', b'Y', b' ', b'x'].repeat(40), "proxy_header_invalid"),
        (&binary(0x31, 0x11, &V4), "proxy_header_invalid"),
        (&long, "proxy_header_invalid"),
        (&checksum, "proxy_header_invalid"),
    ];
    for (number, (bytes, reason)) in cases.into_iter().enumerate() {
        let mut client = Client::connect(place);
        client.send(bytes).unwrap();
        let text = client.response().refusal(400);
        assert!(text.contains("PROXY protocol"), "{text}");
        client.finish();
        client.expect_end();
        let counted =
            ["proxy_header_missing", "proxy_header_invalid"].map(|name| server.stat(&format!("/refused_by/{name}")));
        assert_eq!(counted.iter().sum::<u64>(), 1 + number as u64, "{reason}");
        assert!(server.stat(&format!("/refused_by/{reason}")) > 0);
    }
    server.wait_for_line("a warning", |line| (line.contains("WARN") && line.contains("PROXY protocol")).then_some(()));
    // Nothing was stored, and the next connection is served.
    assert_eq!(server.stat("/batches/received"), 0);
    who_after(place, &line("192.0.2.1"));
}

/// An untrusted peer may connect, and is its own client.
fn a_proxy_header_of_anybody_else_is_refused(driver: Driver) {
    let (server, place) = proxied(driver, "192.0.2.0/24");
    let itself = who(&mut server.connect(), "");
    assert_eq!(who(&mut Client::connect(place), &x_forwarded_for("192.0.2.1")), itself);
    for header in [line("192.0.2.1"), binary(0x21, 0x11, &V4), b"PROXY UNKNOWN\r\n".to_vec()] {
        // Not where it is due from others, and not where none is due.
        for address in [place, server.address] {
            let mut client = Client::connect(address);
            client.send(&[&header[..], &post(BATCH)].concat()).unwrap();
            assert!(client.response().refusal(400).contains("PROXY protocol"));
        }
    }
    assert_eq!(server.stat("/refused_by/proxy_header_unexpected"), 6);
    assert_eq!(server.stat("/batches/received"), 0);
}

/// A proxy that says nothing is not waited for longer than for a head; one that checks whether the port is open may
/// leave.
fn a_proxy_header_has_the_time_of_a_head(driver: Driver) {
    let setup = with_driver(driver).without("--listen").flag("--proxy-listen", "127.0.0.1:0");
    let server = setup.flag("--trusted-proxies", "127.0.0.1").flag("--head-timeout", "100ms").start();
    assert_eq!(server.listens_at.len(), 1, "nothing but the place for proxies");
    let mut silent = server.connect();
    silent.expect_end();
    let mut slow = server.connect();
    slow.send(b"PROXY TCP4 192.0.2.1").unwrap();
    slow.expect_end();
    drop(server.connect());
}

/// A connection of a proxy carries the requests of many clients, each of which has its own rate.
fn each_forwarded_request_is_its_clients(driver: Driver) {
    let setup = with_driver(driver).flag("--trusted-proxies", "127.0.0.1,10.0.0.0/8").flag("--rate-limit", 2);
    let server = setup.start();
    let mut proxy = server.connect();
    let own = who(&mut proxy, "");
    let first = who(&mut proxy, &x_forwarded_for("192.0.2.1"));
    let second = who(&mut proxy, &x_forwarded_for("192.0.2.2"));
    assert!(first != own && second != own && first != second);
    for lines in [
        x_forwarded_for("192.0.2.1:4711"),
        x_forwarded_for("198.51.100.9, 192.0.2.1, 10.0.0.7"),
        x_forwarded_for("198.51.100.9") + &x_forwarded_for("192.0.2.1") + &x_forwarded_for("10.0.0.7"),
        "Forwarded: for=192.0.2.1;proto=http\r\n".into(),
        "forwarded: for=198.51.100.9, For=\"192.0.2.1:80\";by=10.0.0.7, for=10.0.0.7\r\n".into(),
        format!("Forwarded: for=192.0.2.1\r\n{}", x_forwarded_for("192.0.2.1")),
    ] {
        assert_eq!(who(&mut proxy, &lines), first, "{lines:?}");
    }
    // What names nobody, or two, is the proxy's own.
    for lines in [
        x_forwarded_for("unknown"),
        x_forwarded_for("192.0.2.1, _hidden"),
        "Forwarded: for=unknown\r\n".into(),
        format!("Forwarded: for=198.51.100.9\r\n{}", x_forwarded_for("192.0.2.1")),
    ] {
        assert_eq!(who(&mut proxy, &lines), own, "{lines:?}");
    }
    assert_eq!(who(&mut proxy, ""), own, "the next request is judged by itself");
    // Bursts of both in one connection: the second client has its own window.
    for address in ["192.0.2.1", "192.0.2.2"] {
        let batch = post_to("/metrics", &x_forwarded_for(address), BATCH);
        proxy.send(&batch.repeat(4)).unwrap();
        let statuses = [(); 4].map(|()| proxy.response().status);
        assert_eq!(statuses, [200, 200, 429, 429], "{address}");
    }
    let stats = server.stats();
    assert_eq!(stats["connections"]["forwarded_unusable"], 4);
    assert_eq!(stats["connections"]["forwarded_requests"], 8 + 8);
}

/// The body of a request may come after other requests were judged: it is stored on behalf of who sent its head.
fn a_forwarded_body_in_pieces_is_its_heads(driver: Driver) {
    let server = with_driver(driver).flag("--trusted-proxies", "127.0.0.1").flag("--rate-limit", 1).start();
    let batch = |address| post_to("/metrics", &x_forwarded_for(address), BATCH);
    let (mut one, mut other) = (server.connect(), server.connect());
    let (first, second) = (batch("192.0.2.1"), batch("192.0.2.2"));
    let half = first.len() - 10;
    one.send(&first[..half]).unwrap();
    until("the head was judged", || (server.stat("/batches/received") == 1).then_some(()));
    assert_eq!(other.request(&second).processed(), 1);
    one.send(&first[half..]).unwrap();
    assert_eq!(one.response().processed(), 1, "the other client's request does not count against this one");
}

/// Fields of an untrusted peer are ignored; a client of the PROXY protocol is not the proxy.
fn fields_of_an_untrusted_client_are_ignored(driver: Driver) {
    let server = with_driver(driver).start();
    let itself = who(&mut server.connect(), "");
    assert_eq!(who(&mut server.connect(), &x_forwarded_for("192.0.2.1")), itself);
    assert_eq!(who(&mut server.connect(), "Forwarded: for=192.0.2.1\r\n"), itself);
    drop(server);
    let (_server, place) = proxied(driver, "127.0.0.1,10.0.0.1");
    let mut client = Client::connect(place);
    client.send(&line("192.0.2.1")).unwrap();
    let itself = who(&mut client, "");
    assert_eq!(who(&mut client, &x_forwarded_for("192.0.2.9")), itself);
    // Unless the client in the header is a trusted proxy too.
    let mut proxy = Client::connect(place);
    proxy.send(&line("10.0.0.1")).unwrap();
    assert_eq!(who(&mut proxy, &x_forwarded_for("192.0.2.1")), itself);
}

fn the_field_that_is_believed_can_be_named(driver: Driver) {
    let both = "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n";
    for (choice, believed) in [
        ("forwarded", Some("Forwarded: for=192.0.2.1\r\n")),
        ("x-forwarded-for", Some("X-Forwarded-For: 192.0.2.2\r\n")),
        ("auto", None),
    ] {
        let setup = with_driver(driver).flag("--trusted-proxies", "127.0.0.1").flag("--forwarded-header", choice);
        let server = setup.start();
        let mut proxy = server.connect();
        let own = who(&mut proxy, "");
        match believed {
            Some(alone) => {
                let client = who(&mut proxy, alone);
                assert_ne!(client, own);
                assert_eq!(who(&mut proxy, both), client, "{choice}");
            }
            None => assert_eq!(who(&mut proxy, both), own, "{choice}"),
        }
    }
}

/// A proxy on the same host may come by a unix socket.
fn a_proxy_may_come_by_a_unix_socket(driver: Driver) {
    let directory = TempDir::new().unwrap();
    let [plain, proxied] = ["plain.sock", "proxied.sock"].map(|name| directory.path().join(name));
    let setup = with_driver(driver).flag("--listen", format!("unix:{}", plain.display()));
    let setup = setup.flag("--proxy-listen", format!("unix:{}", proxied.display()));
    let server = setup.flag("--trusted-proxies", "unix").start();
    let mut proxy = Client::connect_unix(&plain);
    let own = who(&mut proxy, "");
    let first = who(&mut proxy, &x_forwarded_for("192.0.2.1"));
    assert_ne!(first, own);
    let mut client = Client::connect_unix(&proxied);
    client.send(&line("192.0.2.1")).unwrap();
    assert_eq!(who(&mut client, ""), first);
    let mut check = Client::connect_unix(&proxied);
    check.send(&binary(0x20, 0, b"")).unwrap();
    assert_eq!(who(&mut check, ""), own);
    drop(server);
}

on_both_drivers!(
    a_proxy_header_names_the_client,
    an_ipv6_network_is_one_client,
    a_proxy_header_comes_in_any_pieces,
    what_is_no_proxy_header_gets_400,
    a_proxy_header_of_anybody_else_is_refused,
    a_proxy_header_has_the_time_of_a_head,
    each_forwarded_request_is_its_clients,
    a_forwarded_body_in_pieces_is_its_heads,
    fields_of_an_untrusted_client_are_ignored,
    the_field_that_is_believed_can_be_named,
    a_proxy_may_come_by_a_unix_socket,
);

//! HTTPS as the target: handshakes that succeed, and each way that they can fail.

use crate::harness::{DRIVERS, program, report, server};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, Stream, SupportedProtocolVersion,
    crypto::ring,
    pki_types::PrivateKeyDer,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Output,
    sync::Arc,
    time::Duration,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Timeout of a server that waits for the client.
const LIMIT: Duration = Duration::from_secs(20);

/// An authority that this test has made up, and the file with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let (mut params, key) = (CertificateParams::new(Vec::new()).unwrap(), KeyPair::generate().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Returns the configuration of a server of that name.
    fn config(&self, name: &str, expired: bool, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap());
        Arc::new(config.unwrap())
    }
}

/// A server over TLS that serves each connection on a thread of its own.
fn secure(config: Arc<ServerConfig>, serve: impl Fn(&mut dyn Duplex) + Send + Sync + 'static) -> u16 {
    server(move |mut tcp, _| {
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut Stream::new(&mut tls, &mut tcp));
        // Nothing is lost by a reset: the client ends the connection, or has failed.
        let _ = tcp.read(&mut [0; 1]);
    })
}

trait Duplex: Read + Write {
    /// Ends this side, in order or not.
    fn end(&mut self, in_order: bool);
}

impl Duplex for Stream<'_, ServerConnection, TcpStream> {
    fn end(&mut self, in_order: bool) {
        if in_order {
            self.conn.send_close_notify();
        }
        let _ = self.flush();
        let _ = self.sock.shutdown(std::net::Shutdown::Write);
    }
}

/// Responds to every request; the bodies are as long as the Content-Length of the first line.
fn succeed(stream: &mut dyn Duplex) {
    let mut reader = BufReader::new(stream);
    while crate::harness::read_request(&mut reader) && reader.get_mut().write_all(OK.as_bytes()).is_ok() {
        let _ = reader.get_mut().flush();
    }
}

fn load(url: &str, arguments: &str, ca: Option<&Path>) -> (Value, i32) {
    let mut command = program();
    command.args(["--url", url, "--format", "json"]).args(arguments.split_whitespace());
    if let Some(path) = ca {
        command.arg("--ca").arg(path);
    }
    let output = command.output().unwrap();
    (report(&output), output.status.code().unwrap())
}

#[test]
fn a_server_over_tls_is_loaded() {
    let authority = Authority::new("ours");
    for (version, name) in [(&TLS13, "TLSv1_3"), (&TLS12, "TLSv1_2")] {
        let port = secure(authority.config("localhost", false, version), succeed);
        for driver in DRIVERS {
            for (more, connections) in [("", 3), ("--no-keepalive", 30), ("--pipeline 4 --batch 2000", 3)] {
                let arguments = format!("-c 3 -n 10 -t 2 --driver {driver} {more}");
                let (found, status) = load(&format!("https://localhost:{port}/"), &arguments, Some(&authority.file()));
                assert_eq!((&found["successes"], status), (&json!(30), 0), "{name} {arguments}: {found}");
                assert_eq!(found["connections_opened"], connections, "{arguments}");
                assert!(found["tls"].as_str().unwrap().starts_with(name), "{found}");
                assert_eq!(found["setup"]["tls"], "verified");
                assert!(found["connect_us"]["p50"].as_f64().unwrap() > 0.0);
            }
        }
    }
}

#[test]
fn a_long_response_comes_through_tls_whole() {
    let authority = Authority::new("ours");
    let port = secure(authority.config("127.0.0.1", false, &TLS13), |stream| {
        let mut reader = BufReader::new(stream);
        while crate::harness::read_request(&mut reader) {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";
            if reader.get_mut().write_all(&[&head[..], &[b'x'; 300_000]].concat()).is_err() {
                return;
            }
            let _ = reader.get_mut().flush();
        }
    });
    for driver in DRIVERS {
        let arguments = format!("-c 2 -n 5 --driver {driver}");
        let (found, status) = load(&format!("https://127.0.0.1:{port}/"), &arguments, Some(&authority.file()));
        assert_eq!((&found["successes"], status), (&json!(10), 0), "{driver}: {found}");
        // Of HTTP, without what TLS adds.
        assert_eq!(found["bytes_received"], 10 * (43 + 300_000));
    }
}

#[test]
fn certificates_that_do_not_fit_are_tls_errors() {
    let (authority, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    for (name, expired, ca, says) in [
        ("elsewhere.invalid", false, authority.file(), "not valid for name"),
        ("localhost", true, authority.file(), "expired"),
        ("localhost", false, foreign.file(), "UnknownIssuer"),
    ] {
        let port = secure(authority.config(name, expired, &TLS13), succeed);
        let url = format!("https://localhost:{port}/");
        for driver in DRIVERS {
            let arguments = format!("-c 2 -n 2 --driver {driver}");
            let (found, status) = load(&url, &arguments, Some(&ca));
            assert_eq!((&found["errors"]["tls"], &found["requests"], status), (&json!(4), &json!(4), 1), "{found}");
            let reason = found["tls_reason"].as_str().unwrap();
            assert!(reason.contains(says) && reason.contains("--insecure"), "{says}: {reason}");
            // A connection is open when its handshake is over, and only then has a time.
            assert_eq!((&found["connections_opened"], &found["connect_us"]["p50"]), (&json!(0), &json!(null)));
        }
        let (found, status) = load(&url, "-c 2 -n 2 --insecure", None);
        assert_eq!((&found["successes"], status), (&json!(4), 0), "{found}");
        assert_eq!(found["setup"]["tls"], "unverified");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_a_tls_error() {
    let authority = Authority::new("ours");
    for (text, says) in [(OK, "the server speaks HTTP without TLS"), ("220 mail.example ESMTP\r\n", "speaks no TLS")] {
        let port = server(move |mut stream, _| {
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.read(&mut [0; 4096]);
        });
        let (found, status) = load(&format!("https://127.0.0.1:{port}/"), "-c 2 -n 2", Some(&authority.file()));
        assert_eq!((&found["errors"]["tls"], status), (&json!(4), 1), "{found}");
        assert!(found["tls_reason"].as_str().unwrap().contains(says), "{found}");
    }
}

#[test]
fn an_end_of_the_handshake_is_no_timeout() {
    let authority = Authority::new("ours");
    let url = |port| format!("https://127.0.0.1:{port}/");
    // It reads the first message whole, so that its end is no reset.
    let ends = server(|mut stream, _| {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        stream.read_exact(&mut vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))]).unwrap();
    });
    let (found, status) = load(&url(ends), "-c 1 -n 2", Some(&authority.file()));
    assert_eq!((&found["errors"]["tls"], status), (&json!(2), 1), "{found}");
    assert!(found["tls_reason"].as_str().unwrap().contains("during the handshake"), "{found}");
    let hangs = server(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let (found, status) = load(&url(hangs), "-c 2 -n 1 --timeout 100ms", Some(&authority.file()));
    assert_eq!((&found["errors"]["timeout"], status), (&json!(2), 1), "{found}");
}

#[test]
fn a_response_cut_off_under_tls_is_no_success() {
    let authority = Authority::new("ours");
    for in_order in [true, false] {
        let port = secure(authority.config("localhost", false, &TLS13), move |stream| {
            let mut reader = BufReader::new(stream);
            if crate::harness::read_request(&mut reader) {
                let stream = reader.get_mut();
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nits end is the end of the connection");
                stream.end(in_order);
            }
        });
        let (found, _) = load(&format!("https://localhost:{port}/"), "-c 2 -n 2", Some(&authority.file()));
        let (successes, early) = if in_order { (4, 0) } else { (0, 4) };
        assert_eq!(
            (&found["successes"], &found["errors"]["closed_early"]),
            (&json!(successes), &json!(early)),
            "{found}"
        );
    }
}

#[test]
fn flags_of_tls_need_tls_and_a_file_of_certificates() {
    let authority = Authority::new("ours");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let (ca, nothing) = (authority.file().display().to_string(), empty.path().display().to_string());
    for (arguments, says) in [
        (vec!["--url", "http://127.0.0.1:1/", "--ca", &ca], "https"),
        (vec!["--url", "http://127.0.0.1:1/", "--insecure"], "https"),
        (vec!["--url", "https://127.0.0.1:1/", "--insecure", "--ca", &ca], "cannot be used with"),
        (vec!["--url", "https://127.0.0.1:1/", "--ca", "/nonexistent"], "/nonexistent"),
        (vec!["--url", "https://127.0.0.1:1/", "--ca", &nothing], "no certificate in it"),
        (vec!["--url", "https://a b/", "--insecure"], "visible ASCII"),
        (vec!["--url", "https://127.0.0.1:1/", "--url", "http://127.0.0.1:1/", "--ca", &ca], "one load has one server"),
    ] {
        let output: Output = program().args(["-c", "1", "-n", "1"]).args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

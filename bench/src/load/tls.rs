//! TLS of the connections to the server, by rustls on ring: bytes in, bytes out, no I/O of its own.
//!
//! Every connection makes a full handshake: a session that is resumed would make later connections cheaper than the
//! first ones. Certificates are verified against the host's trusted ones or a file's, by the host of the URL, which is
//! also what SNI names.

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
};

/// TLS settings that all connections of a load share.
#[derive(Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// True if the server's certificate is verified.
    pub is_verified: bool,
}

/// TLS of one connection.
#[derive(Debug)]
pub(super) struct Session {
    connection: ClientConnection,
    /// Nothing has come from the server yet.
    is_silent: bool,
}

impl Tls {
    /// TLS with the server `host`, a name or an address. Its certificate is verified against those in the PEM file
    /// `ca`, or the trusted ones of this host; not at all if `insecure`.
    ///
    /// # Errors
    /// The host can have no certificate, the file has none in it, or this host trusts none.
    pub fn new(host: &str, ca: Option<&Path>, insecure: bool) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("'{host}' can have no certificate"))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS: {error}"))?;
        let builder = if insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
        } else {
            builder.with_root_certificates(roots(ca)?)
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name, is_verified: !insecure })
    }

    /// The session of a new connection, with its first message waiting.
    ///
    /// # Errors
    /// No randomness is available.
    pub(super) fn session(&self) -> Result<Session, String> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(|error| error.to_string())?;
        // A batch of requests is handed over whole: the bound is that of the send buffer.
        connection.set_buffer_limit(None);
        Ok(Session { connection, is_silent: true })
    }
}

/// The certificates that are trusted.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let wrong = |error: String| format!("{}: {error}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            if roots.is_empty() { Err(wrong("no certificate in it (PEM)".to_owned())) } else { Ok(roots) }
        }
        None => {
            // One that cannot be parsed is not trusted, as by every client.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("this host has no trusted certificates: give --ca FILE or --insecure".to_owned());
            }
            Ok(roots)
        }
    }
}

impl Session {
    /// Returns true if requests cannot be sent yet.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns true if there is something to send that belongs to no request: messages of the handshake, and of later
    /// keys.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Decrypts what came from the server and appends it to `plain`. Returns true if the server has ended its side in
    /// order (`close_notify`, RFC 8446, 6.1).
    ///
    /// # Errors
    /// The invalid record, or the alert that the server sent.
    pub fn receive(&mut self, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<bool, String> {
        if std::mem::take(&mut self.is_silent) && wire.starts_with(b"HTTP/") {
            return Err("the server speaks HTTP without TLS".to_owned());
        }
        while !wire.is_empty() {
            self.connection.read_tls(&mut wire).map_err(|error| error.to_string())?;
            let state = self.connection.process_new_packets().map_err(|error| describe(&error))?;
            let (bytes, has_ended) = (state.plaintext_bytes_to_read(), state.peer_has_closed());
            let start = plain.len();
            plain.resize(start + bytes, 0);
            self.connection.reader().read_exact(&mut plain[start..]).map_err(|error| error.to_string())?;
            if has_ended {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends all that is to be sent to `wire`: `plain`, encrypted, behind what was waiting.
    pub fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        // Writing into memory without a bound cannot fail.
        let _ = self.connection.writer().write_all(plain);
        while self.connection.wants_write() && self.connection.write_tls(wire).is_ok() {}
    }

    /// Version and cipher suite, once the handshake is over.
    pub fn protocol(&self) -> Option<String> {
        let version = self.connection.protocol_version()?;
        Some(format!("{version:?} {:?}", self.connection.negotiated_cipher_suite()?.suite()))
    }
}

/// Describes an error, with what to do about it where that is known.
fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(_) => format!("{error} (--ca FILE trusts others, --insecure any)"),
        Error::InvalidMessage(_) => format!("{error}: perhaps the server speaks no TLS"),
        _ => error.to_string(),
    }
}

/// Takes any certificate. Signatures are checked all the same, so that a handshake costs what it costs.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

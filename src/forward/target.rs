//! The receiver of a forward: its address, whether TLS is spoken with it, and the fields that every request has.

use super::config::ForwardOption;
use crate::limits;
use metric::protocol::otlp::base64;
use opentelemetry_http::Request;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

/// Fields of a request that are not for others to set: its framing, and the format of its body.
const OWN_FIELDS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "content-encoding",
    "content-type",
    "x-prometheus-remote-write-version",
    "x-victoriametrics-remote-write-version",
];

/// Certificates that a receiver's is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system trusts.
    System,
    /// Those of a file.
    File(Vec<CertificateDer<'static>>),
}

/// A receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The URL, without secrets.
    pub url: String,
    /// Host to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `None`: without TLS.
    pub trust: Option<Trust>,
    /// The beginning of every request's head.
    pub head: String,
}

/// TLS as a receiver is spoken with.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Versions, ciphers and trusted certificates.
    pub config: Arc<ClientConfig>,
    /// The name that the receiver's certificate must have.
    pub name: ServerName<'static>,
}

impl Target {
    /// The TLS to speak; `None` where there is none.
    ///
    /// # Errors
    /// There is no certificate to trust.
    pub fn tls(&self) -> io::Result<Option<Tls>> {
        let Some(trust) = &self.trust else { return Ok(None) };
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {why}", self.url));
        let mut roots = RootCertStore::empty();
        match trust {
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(found.certs);
                if added == 0 {
                    let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
                    return Err(invalid(format!("the system has no certificates to trust{why}: set ca_file")));
                }
            }
            Trust::File(certificates) => {
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(|error| invalid(format!("in ca_file: {error}")))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| invalid(error.to_string()))?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(self.host.clone()).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Tls { config: Arc::new(config), name }))
    }
}

/// Checks where to forward to, and reads the files that are named.
///
/// # Errors
/// What is wrong, to follow the URL.
pub(super) fn check(option: &ForwardOption) -> Result<Target, String> {
    let request = Request::post(&option.url).body(()).map_err(|error| format!("is not a URL: {error}"))?;
    let uri = request.uri();
    let (scheme, default_port) = match uri.scheme_str() {
        Some("http") => ("http", 80),
        Some("https") => ("https", 443),
        _ => return Err("is not a URL that begins with http:// or https://".to_owned()),
    };
    let (Some(host), Some(authority)) = (uri.host().filter(|host| !host.is_empty()), uri.authority()) else {
        return Err("has no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("has a user in it: set username and password in [[forward]]".to_owned());
    }
    // A port that is none would be taken for the scheme's.
    if authority.as_str() != host && uri.port_u16().is_none_or(|port| port == 0) {
        return Err("has a port that is not from 1 to 65535".to_owned());
    }
    let trust = match (&option.ca_file, scheme) {
        (_, "http") if option.ca_file.is_some() => return Err("has a ca_file, but is not https".to_owned()),
        (_, "http") => None,
        (None, _) => Some(Trust::System),
        (Some(path), _) => Some(Trust::File(certificates(path)?)),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {authority}\r\n");
    let mut put = |field: &str, value: &str| {
        // A value may be a secret.
        if Request::post("/").header(field, value).body(()).is_err() || !value.is_ascii() {
            return Err(format!("cannot send the header {field}"));
        }
        head.push_str(&format!("{field}: {value}\r\n"));
        Ok(())
    };
    put("User-Agent", concat!("metricstream/", env!("CARGO_PKG_VERSION")))?;
    for (field, value) in &option.headers {
        if OWN_FIELDS.iter().any(|own| field.eq_ignore_ascii_case(own)) {
            return Err(format!("cannot send the header {field}: the server sets it"));
        }
        put(field, value)?;
    }
    if let Some(tenant) = &option.tenant {
        put("X-Scope-OrgID", tenant)?;
    }
    if let Some(authorization) = authorization(option)? {
        put("Authorization", &authorization)?;
    }
    Ok(Target {
        url: format!("{scheme}://{authority}{}", uri.path()),
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: uri.port_u16().unwrap_or(default_port),
        trust,
        head,
    })
}

/// The field Authorization of the credentials given beside the headers.
fn authorization(option: &ForwardOption) -> Result<Option<String>, String> {
    let secret = |given: &Option<String>, file: &Option<std::path::PathBuf>| match (given, file) {
        (None, Some(path)) => {
            let text = String::from_utf8(read(path)?).map_err(|_| format!("needs UTF-8 in {}", path.display()))?;
            Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
        }
        (given, None) => Ok(given.clone()),
        (Some(_), Some(path)) => Err(format!("has a secret and the file {} for it", path.display())),
    };
    let (password, token) =
        (secret(&option.password, &option.password_file)?, secret(&option.bearer_token, &option.bearer_token_file)?);
    let is_given = option.headers.keys().any(|field| field.eq_ignore_ascii_case("authorization"));
    if usize::from(is_given) + usize::from(option.username.is_some()) + usize::from(token.is_some()) > 1 {
        return Err("has more than one of username, bearer_token and the header Authorization".to_owned());
    }
    match (&option.username, password, token) {
        (None, Some(_), _) => Err("has a password without a username".to_owned()),
        (Some(username), password, _) => {
            let mut encoded = Vec::new();
            base64(format!("{username}:{}", password.unwrap_or_default()).as_bytes(), &mut encoded);
            Ok(Some(format!("Basic {}", String::from_utf8_lossy(&encoded))))
        }
        (None, None, token) => Ok(token.map(|token| format!("Bearer {token}"))),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| format!("cannot use the certificates in {}: {error}", path.display()))?;
    if found.is_empty() { Err(format!("finds no certificates in {}", path.display())) } else { Ok(found) }
}

/// The bytes of a regular file of bounded size.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |why: String| format!("cannot read {}: {why}", path.display());
    // O_NONBLOCK: opening a pipe without a writer does not block (open(2)).
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = open.map_err(|error| cannot(error.to_string()))?;
    if !file.metadata().map_err(|error| cannot(error.to_string()))?.is_file() {
        return Err(cannot("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(limits::FORWARD_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > limits::FORWARD_FILE_BYTES_MAX {
        return Err(cannot(format!("it is larger than {} bytes", limits::FORWARD_FILE_BYTES_MAX)));
    }
    Ok(bytes)
}

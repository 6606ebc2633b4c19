//! Contents and targets of a load's requests: bodies from the command line, from files, or made up.

use super::{
    super::{Arrivals, Compression, Heads, Payload, Protocol, Requests, Spoken, payload, values::Target},
    SEED,
    arguments::Arguments,
};
use crate::body;
use clap::{ValueEnum, error::ErrorKind};
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// Requests made up in advance: enough that a server does not see one batch only, few enough to stay in the cache.
pub const BATCHES: usize = 64;
/// Methods that carry no body unless one is given (RFC 9110, 9.3).
const BODILESS: [&str; 5] = ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"];

/// The requests of the load.
pub(super) fn requests(typed: &Arguments, targets: &[Target]) -> Result<Requests, (ErrorKind, String)> {
    let wrong = |message: String| (ErrorKind::ValueValidation, message);
    let conflict = |message: &str| (ErrorKind::ArgumentConflict, message.to_owned());
    check(typed).map_err(conflict)?;
    let bodies = bodies(typed).map_err(wrong)?;
    if bodies.is_empty() && (typed.content_type.is_some() || typed.compress.is_some()) {
        return Err(conflict("these requests have no body: leave --content-type and --compress out"));
    }
    let heads = Heads {
        method: &typed.method,
        paths: &targets.iter().map(|target| target.path.clone()).collect::<Vec<_>>(),
        host: &targets.first().map(Target::authority).unwrap_or_default(),
        keep_alive: !typed.no_keepalive,
        identities: typed.clients.unwrap_or(0),
        headers: &typed.headers,
        content_type: typed.content_type.as_deref(),
        spoken: typed.protocol.map(|protocol| Spoken::new(protocol, seed(typed), BATCHES, typed.batch)),
    };
    let compression = typed.compress.or_else(|| typed.protocol.and_then(Protocol::compression));
    let requests = Requests::new(&heads, bodies, compression).map_err(wrong)?;
    let made_up = typed.body.is_none() && typed.body_file.is_none();
    let is_random = requests.content().has_random || typed.arrivals == Some(Arrivals::Poisson);
    if typed.seed.is_some() && !made_up && !is_random {
        return Err(conflict("--seed makes up batches, {{rand}} and Poisson arrivals: here it does nothing"));
    }
    Ok(requests)
}

/// Checks that a protocol is not combined with flags that exclude it.
fn check(typed: &Arguments) -> Result<(), &'static str> {
    let Some(protocol) = typed.protocol else { return Ok(()) };
    if BODILESS.contains(&typed.method.as_str()) {
        return Err("--protocol says what bodies are, and requests of this method have none: leave --method out");
    }
    if typed.ack.is_some() && protocol != Protocol::Json {
        return Err("--ack is of POST /metrics: with --protocol, of json");
    }
    if typed.compress == Some(Compression::Snappy) && protocol.compression().is_none() {
        return Err("--compress snappy is of remote write: the other protocols have gzip and zstd");
    }
    if typed.compress == Some(Compression::Gzip) && protocol.compression() == Some(Compression::Snappy) {
        return Err("--compress gzip is not of remote write: it has snappy, and some servers take zstd");
    }
    Ok(())
}

fn seed(typed: &Arguments) -> u64 {
    typed.seed.unwrap_or(SEED)
}

/// Returns the targets of the requests: one at least, as PORT or a URL was given.
pub(super) fn targets(typed: &Arguments) -> Vec<Target> {
    if !typed.url.is_empty() {
        return typed.url.clone();
    }
    let level = typed.ack.and_then(|ack| ack.to_possible_value());
    let query = level.map_or_else(String::new, |level| format!("?ack={}", level.get_name()));
    let path = format!("{}{query}", typed.protocol.unwrap_or(Protocol::Json).path());
    match typed.port {
        Some(port) => vec![Target { host: typed.host.clone(), port, path, tls: false }],
        // A unix socket: the name is only what Host says.
        None => vec![Target { host: "localhost".to_owned(), port: 80, path, tls: false }],
    }
}

/// The bodies that were requested, none for requests without.
fn bodies(typed: &Arguments) -> Result<Vec<Payload>, String> {
    match (&typed.body, &typed.body_file) {
        (Some(text), _) => {
            let text = text.as_bytes();
            let payload = match text.strip_prefix(b"@") {
                Some(path) => Payload::verbatim(read(Path::new(OsStr::from_bytes(path)))?)?,
                None => Payload::templated(text)?,
            };
            Ok(vec![payload])
        }
        (None, Some(path)) => {
            let parse = if typed.port.is_none() { payload::lines } else { payload::batches };
            parse(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
        }
        (None, None) if BODILESS.contains(&typed.method.as_str()) => Ok(Vec::new()),
        (None, None) => match typed.protocol {
            Some(protocol) => {
                let made_up = protocol.generate(seed(typed), BATCHES, typed.batch, now_ms()).into_iter();
                made_up.map(|bytes| Payload::made_up(bytes, typed.batch)).collect()
            }
            None => {
                let batches = body::generate(seed(typed), BATCHES, typed.batch);
                Ok(batches.into_iter().map(Payload::from).collect())
            }
        },
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// All bytes of a file.
fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

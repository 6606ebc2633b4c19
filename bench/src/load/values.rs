//! Parsers of the values of flags: spans of time, rates, headers, URLs. Pure: nothing is looked up here.

use super::{rate_profile::RateProfile, template::Template};
use reactor::listen::UnixAddress;
use std::time::Duration;

/// Any one span of time: a day.
pub(super) const SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Requests a second of an open loop: at ten million, two scheduled sends are 100 ns apart, which no thread here can
/// keep.
pub(super) const RATE_MAX: f64 = 10_000_000.0;
/// And at least one in a day.
const RATE_MIN: f64 = 1.0 / SPAN_MAX.as_secs() as f64;

/// Target of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Name or address of the server, an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, as they stand in the request line.
    pub path: String,
    /// True if TLS is used.
    pub tls: bool,
}

impl Target {
    /// The value of `Host`; a literal IPv6 address goes into brackets (RFC 3986, 3.2.2).
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// The other server of a load in turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Against {
    Port(u16),
    Url(Box<Target>),
}

/// The other server: a port, or a URL.
pub(super) fn against(text: &str) -> Result<Against, String> {
    match text.parse() {
        Ok(port) => Ok(Against::Port(port)),
        Err(_) => url(text).map(|target| Against::Url(Box::new(target))),
    }
}

/// An absolute URL of the scheme `http` or `https`; a fragment is not sent, and so not taken.
pub(super) fn url(text: &str) -> Result<Target, String> {
    // A scheme is written in any case (RFC 3986, 3.1).
    let (tls, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        _ if text.starts_with("unix:") => return Err("a unix socket is given as --unix-socket PATH".to_owned()),
        _ => return Err("it begins with http:// or https://".to_owned()),
    };
    let example = Template::parse(rest.as_bytes())?.example();
    if !example.iter().all(u8::is_ascii_graphic) || example.contains(&b'#') {
        return Err("a URL is visible ASCII without a fragment; encode the rest with %".to_owned());
    }
    let (authority, path) = match rest.find(['/', '?']) {
        None => (rest, "/".to_owned()),
        Some(end) if rest[end..].starts_with('?') => (&rest[..end], format!("/{}", &rest[end..])),
        Some(end) => (&rest[..end], rest[end..].to_owned()),
    };
    if authority.contains("{{") {
        return Err("{{…}} may stand in path and query, not in the host".to_owned());
    }
    if authority.contains('@') {
        return Err("credentials go into a header: -H 'Authorization: …'".to_owned());
    }
    let usual = if tls { "443" } else { "80" };
    let (host, port) = match authority.strip_prefix('[').and_then(|literal| literal.split_once(']')) {
        Some((host, "")) => (host, usual),
        Some((host, port)) => (host, port.strip_prefix(':').ok_or("behind the address comes a port")?),
        None => authority.split_once(':').unwrap_or((authority, usual)),
    };
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("'{port}' is no port"))?;
    Ok(Target { host: host.to_owned(), port, path, tls })
}

/// A path, or an abstract name behind an `@`; `unix:` before it, as the server's `--listen` takes it, may stand.
pub(super) fn unix_socket(text: &str) -> Result<UnixAddress, String> {
    UnixAddress::parse(text.strip_prefix("unix:").unwrap_or(text))
}

/// The name of a method (RFC 9110, 9.1).
pub(super) fn method(text: &str) -> Result<String, String> {
    if !is_token(text) {
        return Err("a method is one word".to_owned());
    }
    // Its response turns the connection into a tunnel: nothing to load.
    if text == "CONNECT" { Err("CONNECT is not served".to_owned()) } else { Ok(text.to_owned()) }
}

/// The name of a header line.
pub(super) fn name(header: &str) -> &str {
    header.split(':').next().unwrap_or_default().trim()
}

/// A header line. The framing of a request is not the caller's to change.
pub(super) fn header(line: &str) -> Result<String, String> {
    let (name, _) = line.split_once(':').ok_or("a header is 'Name: value'")?;
    if !is_token(name) {
        return Err(format!("'{name}' is not a header's name"));
    }
    if line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("a header is one line of text".to_owned());
    }
    if ["content-length", "transfer-encoding", "connection"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err(format!("{name} is load_test's own to set"));
    }
    Template::parse(line.as_bytes())?;
    Ok(line.to_owned())
}

/// A media type, as it stands in `Content-Type` (RFC 9110, 8.3).
pub(super) fn content_type(text: &str) -> Result<String, String> {
    let (kind, subtype) = text.split(';').next().unwrap_or_default().trim().split_once('/').unwrap_or_default();
    if is_token(kind) && is_token(subtype) && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("a media type is TYPE/SUBTYPE, with '; name=value' behind it if need be".to_owned())
    }
}

/// RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// A span of time: `10s`, `500ms`, `2m`, `1h`, or plain seconds.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" | "" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err("a time is a number with ms, s, m or h behind it".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a time is a number with ms, s, m or h behind it")?;
    let span = Duration::from_millis(number.saturating_mul(unit_ms));
    if span > SPAN_MAX { Err(format!("over {} s", SPAN_MAX.as_secs())) } else { Ok(span) }
}

/// Requests a second: a number, `k` behind it for thousands.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = text.strip_suffix('k').map_or((text, 1.0), |number| (number, 1000.0));
    let rate = number.parse::<f64>().map_err(|_| "a rate is a number of requests a second, as 500, 0.5 or 20k")? * unit;
    if (RATE_MIN..=RATE_MAX).contains(&rate) {
        Ok(rate)
    } else {
        Err(format!("a rate is from one request a day to {RATE_MAX} a second"))
    }
}

/// Stages, as `10s:1000,30s:5000`: in each the rate goes in a straight line from that of the one before, from 0 at the
/// start, to its own.
pub(super) fn stages(text: &str) -> Result<RateProfile, String> {
    let (mut stages, mut rate_before) = (Vec::new(), 0.0);
    for stage in text.split(',') {
        let (length, target) = stage.split_once(':').ok_or("a stage is DURATION:RATE, as 10s:1000")?;
        let length_ns = u64::try_from(span(length)?.as_nanos()).map_err(|error| error.to_string())?;
        let target = if target == "0" { 0.0 } else { rate(target)? };
        stages.push((length_ns, rate_before, target));
        rate_before = target;
    }
    if stages.last().is_some_and(|(length_ns, ..)| *length_ns == 0) {
        return Err("the last stage lasts no time: a jump needs a stage behind it".to_owned());
    }
    RateProfile::staged(&stages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_read_in_any_case() {
        for scheme in ["http", "HTTP", "Http", "hTTp"] {
            let target = url(&format!("{scheme}://localhost/A")).unwrap();
            assert_eq!((target.authority().as_str(), target.path.as_str()), ("localhost:80", "/A"), "{scheme}");
            assert!(!target.tls, "{scheme}");
            let secure = url(&format!("{scheme}S://[::1]?q")).unwrap();
            assert_eq!((secure.authority().as_str(), secure.path.as_str()), ("[::1]:443", "/?q"), "{scheme}");
            assert!(secure.tls, "{scheme}");
        }
        assert!(url("HTTPSS://localhost/").is_err());
    }

    #[test]
    fn a_url_is_host_port_and_path() {
        for (text, host, port, path, authority) in [
            ("http://127.0.0.1:8428/api/v1/import?x=1&y", "127.0.0.1", 8428, "/api/v1/import?x=1&y", "127.0.0.1:8428"),
            ("http://localhost", "localhost", 80, "/", "localhost:80"),
            ("http://localhost:81?q", "localhost", 81, "/?q", "localhost:81"),
            ("http://[::1]:80/", "::1", 80, "/", "[::1]:80"),
            ("http://[::1]/a", "::1", 80, "/a", "[::1]:80"),
            ("http://h/{{seq}}?{{rand 1 2}}", "h", 80, "/{{seq}}?{{rand 1 2}}", "h:80"),
        ] {
            let target = url(text).unwrap();
            assert_eq!((target.host.as_str(), target.port, target.path.as_str()), (host, port, path), "{text}");
            assert_eq!((target.authority().as_str(), target.tls), (authority, false));
        }
        for text in [
            "",
            "localhost:80",
            "ftp://localhost/",
            "http://",
            "http:///path",
            "http://host:/",
            "http://host:0/",
            "http://host:65536/",
            "http://host:80:80/",
            "http://[::1",
            "http://[::1]80/",
            "http://user:secret@host/",
            "http://host/a b",
            "http://host/a\r\nX: y",
            "http://host/#part",
            "http://host/\u{e9}",
            "http://host{{seq}}/",
            "http://host/{{no}}",
            "http://host/{{seq",
            "http://host/{{seq}} b",
            "unix:/path",
        ] {
            assert!(url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_positive_and_bounded() {
        assert_eq!(
            (rate("500"), rate("0.5"), rate("20k"), rate("1.5k")),
            (Ok(500.0), Ok(0.5), Ok(20_000.0), Ok(1500.0))
        );
        for text in ["", "k", "0", "-1", "nan", "inf", "1e9", "10m", "0.000001"] {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn stages_ramp_hold_jump_and_pause() {
        let rates = |text: &str| {
            let profile = stages(text).unwrap();
            profile.stages().iter().map(|stage| (stage.from_rate, stage.to_rate)).collect::<Vec<_>>()
        };
        assert_eq!(rates("10s:1000,30s:5k"), [(0.0, 1000.0), (1000.0, 5000.0)]);
        assert_eq!(rates("0s:1000,10s:1000,5s:0"), [(1000.0, 1000.0), (1000.0, 0.0)]);
        assert_eq!(stages("500ms:10,1m:10").unwrap().end_ns(), 60_500_000_000);
        for text in [
            "",
            "10s",
            "10s:",
            ":10",
            "10s:10,",
            "10s:-1",
            "10s:x",
            "10:10:10",
            "10s:0",
            "0s:10",
            "10s:10,0s:5",
            "25h:10",
            "20h:10,5h:10",
            "10s:20m",
        ] {
            assert!(stages(text).is_err(), "{text:?}");
        }
        assert!(stages(&["1s:1"; 65].join(",")).unwrap_err().contains("64"));
    }

    #[test]
    fn a_media_type_has_a_subtype() {
        for text in ["text/plain", "text/plain; charset=utf-8", "application/vnd.a+json"] {
            assert_eq!(content_type(text).as_deref(), Ok(text));
        }
        for text in ["", "text", "/plain", "text/", "a b/c", "text/plain\r\nX: y"] {
            assert!(content_type(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_method_is_a_word() {
        assert_eq!(method("GET").as_deref(), Ok("GET"));
        for text in ["", "GET /", "GET\r\n", "CONNECT"] {
            assert!(method(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_span_has_a_unit() {
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!((span("2"), span("2s"), span("1m")), (Ok(Duration::from_secs(2)), span("2"), span("60")));
        assert_eq!((span("1h"), span("24h")), (span("60m"), Ok(SPAN_MAX)));
        for text in ["", "s", "25h", "1d", "1.5s", "-1", "99999999999999999999"] {
            assert!(span(text).is_err(), "{text:?}");
        }
    }
}

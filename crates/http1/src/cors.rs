//! Cross-origin resource sharing (fetch.spec.whatwg.org, "CORS protocol"): which web pages may read responses.
//!
//! Owns the fields that a response gets for the origin of its request. They are made once, at the start, and exist as
//! long as the process, so a response copies a slice and nothing is built for it. Without `--cors-origin` there are
//! none.

use std::{fmt, str::FromStr};

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginError;

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected * or an origin as browsers send it, such as https://app.example or http://localhost:3000: lower case, no path")
    }
}

impl std::error::Error for OriginError {}

/// Origin of `--cors-origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`: pages of every origin.
    Any,
    /// One origin, as browsers send it.
    Page(String),
}

impl FromStr for Origin {
    type Err = OriginError;
    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text {
            "*" => Ok(Self::Any),
            text if is_origin(text) => Ok(Self::Page(text.to_owned())),
            _ => Err(OriginError),
        }
    }
}

/// The origins whose pages may read responses, with the fields for each.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    /// `*`: pages of every origin.
    any: bool,
    origins: Vec<(String, &'static [u8])>,
}

/// Fields of a response that a page may read besides the usual ones: how long to wait, and places in the log.
macro_rules! exposed {
    () => {
        "\r\nAccess-Control-Expose-Headers: Retry-After, X-MetricsStream-Next, X-MetricsStream-Oldest, \
         X-MetricsStream-Position"
    };
}

/// Fields of a response to an allowed origin, behind its name.
const EXPOSED: &str = exposed!();
/// A cache must not hand the response for one origin to another.
const VARY: &str = "\r\nVary: Origin";
const ANY: &[u8] = concat!("\r\nAccess-Control-Allow-Origin: *", exposed!()).as_bytes();

/// Fields of the response to a preflight request, besides those of any response: what a page may send, and for how long
/// (2 h, the most that Chromium remembers) the browser need not send another preflight request.
pub(super) const PREFLIGHT: &[u8] = b"\r\nAccess-Control-Allow-Methods: GET, HEAD, POST\
    \r\nAccess-Control-Allow-Headers: Authorization, Content-Type, Content-Encoding, traceparent, tracestate\
    \r\nAccess-Control-Max-Age: 7200";

impl Cors {
    /// Pages of these origins may read responses. Each is compared byte for byte with what browsers send. The fields
    /// for them exist as long as the process: to be called at the start.
    #[must_use]
    pub fn new(origins: Vec<Origin>) -> Self {
        let mut cors = Self::default();
        for origin in origins {
            match origin {
                Origin::Any => cors.any = true,
                Origin::Page(origin) => {
                    let fields = format!("\r\nAccess-Control-Allow-Origin: {origin}{EXPOSED}{VARY}");
                    cors.origins.push((origin, Box::leak(fields.into_boxed_str()).as_bytes()));
                }
            }
        }
        cors
    }

    /// Pages of other origins may read something: preflight requests are served.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.any || !self.origins.is_empty()
    }

    /// The fields of a response to a request with this Origin, from the CR LF before the first on.
    pub(super) fn fields(&self, origin: Option<&[u8]>) -> &'static [u8] {
        match origin {
            _ if self.any => ANY,
            _ if self.origins.is_empty() => b"",
            None => VARY.as_bytes(),
            Some(origin) => {
                let allowed = self.origins.iter().find(|(known, _)| known.as_bytes() == origin);
                allowed.map_or(VARY.as_bytes(), |(_, fields)| fields)
            }
        }
    }
}

/// `scheme://host[:port]`, lower-case ASCII, nothing behind it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    let is_host = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(is_scheme)
        && !host.is_empty()
        && host.bytes().all(is_host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn cors(origins: &[&str]) -> Cors {
        /// Configurations of all tests: fields that exist as long as the process stay reachable for LeakSanitizer.
        static MADE: Mutex<Vec<Cors>> = Mutex::new(Vec::new());
        let cors = Cors::new(origins.iter().map(|origin| origin.parse().unwrap()).collect());
        MADE.lock().unwrap().push(cors.clone());
        cors
    }

    #[test]
    fn an_origin_is_what_a_browser_sends() {
        for origin in ["*", "https://app.example", "http://localhost:3000", "http://[::1]:80", "chrome-extension://abc"]
        {
            assert!(origin.parse::<Origin>().is_ok(), "{origin}");
        }
        for other in [
            "",
            "null",
            "app.example",
            "https://",
            "https://app.example/",
            "HTTPS://a",
            "https://A",
            "https://a b",
            "https://a\r\nX: y",
            "https://*.example",
            "https://a?b",
            "://a",
        ] {
            assert_eq!(other.parse::<Origin>(), Err(OriginError), "{other}");
        }
    }

    #[test]
    fn an_allowed_origin_is_named_and_another_is_not() {
        let cors = cors(&["https://a.example", "https://b.example"]);
        let text = |origin: Option<&str>| String::from_utf8(cors.fields(origin.map(str::as_bytes)).to_vec()).unwrap();
        assert!(text(Some("https://a.example")).contains("Allow-Origin: https://a.example\r\n"));
        assert!(text(Some("https://b.example")).ends_with("\r\nVary: Origin"));
        for other in [None, Some("https://c.example"), Some("https://a.example."), Some("null"), Some("")] {
            assert_eq!(text(other), "\r\nVary: Origin");
        }
        assert_eq!(Cors::default().fields(Some(b"https://a.example")), b"");
    }

    #[test]
    fn any_origin_is_allowed_by_a_star() {
        let cors = cors(&["https://a.example", "*"]);
        assert_eq!(cors.fields(None), ANY);
        assert_eq!(cors.fields(Some(b"https://c.example")), ANY);
    }
}

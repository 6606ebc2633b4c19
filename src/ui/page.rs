//! The document of `GET /ui`: HTML with its style and script inlined, so that it loads in one round trip and its policy
//! can forbid everything else. It is assembled, hashed and compressed once, when the server starts.

use base64::{Engine, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use http1::Head;
use ring::digest::{SHA256, digest};
use std::io::Write;

const HTML: &str = include_str!("assets/index.html");
const STYLE: &str = include_str!("assets/style.css");
/// The script: plain files, one after another in this order. None is a module; each may use what those before it
/// define.
const SCRIPTS: &[&str] = &[
    include_str!("assets/dom.js"),
    include_str!("assets/format.js"),
    include_str!("assets/scale.js"),
    include_str!("assets/chart.js"),
    include_str!("assets/store.js"),
    include_str!("assets/stream.js"),
    include_str!("assets/now.js"),
    include_str!("assets/who.js"),
    include_str!("assets/ask.js"),
    include_str!("assets/flame.js"),
    include_str!("assets/profile.js"),
    include_str!("assets/app.js"),
];
/// The places in the HTML for the style and for the script.
const STYLE_MARKER: &str = "<!--STYLE-->";
const SCRIPT_MARKER: &str = "<!--SCRIPT-->";
/// Bytes of the digest that are in the entity tag: 96 bits distinguish two versions of a page.
const TAG_BYTES: usize = 12;

/// The page, ready to be sent.
#[derive(Debug)]
pub struct Page {
    plain: EncodedPage,
    gzip: EncodedPage,
}

/// The page in one content coding.
#[derive(Debug)]
struct EncodedPage {
    body: Vec<u8>,
    /// Entity tag, in quotes.
    tag: String,
    /// Header fields, each from the CR LF before it on.
    fields: Vec<u8>,
}

/// Request for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Compressed.
    pub gzip: bool,
    /// The client has this version already.
    pub is_known: bool,
}

impl Page {
    /// Media type of the page.
    pub const CONTENT_TYPE: &'static str = "text/html; charset=utf-8";

    /// Assembles the page.
    #[must_use]
    pub fn new() -> Self {
        let script = SCRIPTS.join("\n");
        let html = HTML
            .replacen(STYLE_MARKER, &format!("<style>{STYLE}</style>"), 1)
            .replacen(SCRIPT_MARKER, &format!("<script>{script}</script>"), 1)
            .into_bytes();
        let digest = digest(&SHA256, &html);
        let tag: String = digest.as_ref().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
        let policy = policy(&script);
        let compressed = compress(&html);
        let plain = EncodedPage::new(html, format!("\"{tag}\""), &policy, "");
        let gzip = EncodedPage::new(compressed, format!("\"{tag}-gzip\""), &policy, "\r\nContent-Encoding: gzip");
        Self { plain, gzip }
    }

    /// The request that a head makes.
    #[must_use]
    pub fn requested(&self, head: &Head<'_>) -> PageRequest {
        let gzip = head.fields.get("accept-encoding").is_some_and(accepts_gzip);
        let known = head.fields.get("if-none-match");
        PageRequest { gzip, is_known: known.is_some_and(|known| names(known, &self.form(gzip).tag)) }
    }

    /// The body.
    #[must_use]
    pub fn body(&self, gzip: bool) -> &[u8] {
        &self.form(gzip).body
    }

    /// The header fields beside those that every response has, each from the CR LF before it on.
    #[must_use]
    pub fn fields(&self, gzip: bool) -> &[u8] {
        &self.form(gzip).fields
    }

    const fn form(&self, gzip: bool) -> &EncodedPage {
        if gzip { &self.gzip } else { &self.plain }
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

impl EncodedPage {
    fn new(body: Vec<u8>, tag: String, policy: &str, coding: &str) -> Self {
        let fields = format!(
            "\r\nETag: {tag}\r\nCache-Control: no-cache\r\nVary: Accept-Encoding{coding}\
             \r\nContent-Security-Policy: {policy}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer"
        );
        Self { body, tag, fields: fields.into_bytes() }
    }
}

/// The content security policy: this script, this style, and requests to this server alone.
fn policy(script: &str) -> String {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(script),
        hash(STYLE)
    )
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Returns true if an `Accept-Encoding` field takes gzip (RFC 9110, 12.5.3): by name, or else by `*`.
fn accepts_gzip(field: &[u8]) -> bool {
    let weight = |wanted: &[u8]| {
        field.split(|&byte| byte == b',').find_map(|coding| {
            let mut parts = coding.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            Some(!parts.any(is_zero))
        })
    };
    weight(b"gzip").or_else(|| weight(b"*")).unwrap_or(false)
}

/// Returns true for the weight `q=0`, which refuses what it stands with.
fn is_zero(parameter: &[u8]) -> bool {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    value.is_some_and(|value| value.iter().all(|byte| matches!(byte, b'0' | b'.')) && value.starts_with(b"0"))
}

/// Returns true if an `If-None-Match` field has this entity tag, by weak comparison (RFC 9110, 13.1.2).
fn names(field: &[u8], tag: &str) -> bool {
    let mut tags = field.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_page_is_whole_and_compresses_to_itself() {
        let page = Page::new();
        let html = std::str::from_utf8(page.body(false)).unwrap();
        for part in [STYLE].iter().chain(SCRIPTS) {
            assert!(html.contains(part));
        }
        assert!(!html.contains(STYLE_MARKER) && !html.contains(SCRIPT_MARKER), "a marker is left");
        assert_eq!((html.matches("</script>").count(), html.matches("</style>").count()), (1, 1));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(page.body(true)).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, page.body(false));
    }

    #[test]
    fn page_stays_under_150_kb() {
        assert!(Page::new().body(false).len() < 150_000);
    }

    #[test]
    fn gzip_is_taken_by_name_or_else_by_star() {
        for field in ["gzip", "deflate, gzip;q=0.5", "GZIP", "*", "br, *;q=0.1", "gzip;q=1.0, *;q=0"] {
            assert!(accepts_gzip(field.as_bytes()), "{field}");
        }
        for field in ["", "br", "gzip;q=0", "gzip; q=0.000", "*;q=0", "gzip;q=0, *", "xgzip"] {
            assert!(!accepts_gzip(field.as_bytes()), "{field}");
        }
    }

    #[test]
    fn a_tag_is_found_among_others_and_when_weak() {
        for field in ["\"a\"", "\"b\", \"a\"", "W/\"a\"", "*"] {
            assert!(names(field.as_bytes(), "\"a\""), "{field}");
        }
        for field in ["", "a", "\"ab\"", "\"b\""] {
            assert!(!names(field.as_bytes(), "\"a\""), "{field}");
        }
    }
}

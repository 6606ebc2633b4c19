//! What to forward: `--forward URL`, or a table `[[forward]]` in the configuration file.

use crate::limits;
use opentelemetry_http::Request;
use serde::Deserialize;
use std::{collections::BTreeMap, str::FromStr};

/// The place at which a forward without a cursor begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartAt {
    /// The end of the log.
    #[default]
    End,
    /// The oldest line that is kept.
    Beginning,
}

/// A forward as given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardOption {
    url: String,
    name: Option<String>,
    #[serde(default)]
    start: StartAt,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl FromStr for ForwardOption {
    type Err = std::convert::Infallible;
    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(Self { url: url.to_owned(), name: None, start: StartAt::default(), headers: BTreeMap::new() })
    }
}

/// A forward, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Name: of its cursor, and in statistics.
    pub name: String,
    /// The URL, without secrets.
    pub url: String,
    /// Host and port to connect to.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The request's head up to the fields that differ between requests.
    pub head: String,
    /// The place to begin at.
    pub start: StartAt,
}

/// Checks the forwards.
///
/// # Errors
/// What is wrong with which one.
pub fn resolve(options: Vec<ForwardOption>) -> Result<Vec<ForwardConfig>, String> {
    if options.len() > limits::FORWARDS_MAX {
        return Err(format!("--forward takes at most {} receivers, not {}", limits::FORWARDS_MAX, options.len()));
    }
    let mut configs: Vec<ForwardConfig> = Vec::new();
    for option in options {
        let config = check(option)?;
        if configs.iter().any(|other| other.name == config.name) {
            return Err(format!("two forwards are named {}: give each its own name in [[forward]]", config.name));
        }
        configs.push(config);
    }
    Ok(configs)
}

fn check(option: ForwardOption) -> Result<ForwardConfig, String> {
    let ForwardOption { url, name, start, headers } = option;
    let refuse = |why: &str| Err(format!("--forward {url} {why}"));
    let request = match Request::post(&url).body(()) {
        Ok(request) => request,
        Err(error) => return refuse(&format!("is not a URL: {error}")),
    };
    let uri = request.uri();
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return refuse("needs TLS, which is not supported: put a proxy that adds it beside the server");
        }
        _ => return refuse("is not a URL that begins with http://"),
    }
    let (Some(host), Some(authority)) = (uri.host().filter(|host| !host.is_empty()), uri.authority()) else {
        return refuse("has no host");
    };
    if authority.as_str().contains('@') {
        return refuse("has a user in it: set the header Authorization in [[forward]]");
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let name = name.unwrap_or_else(|| name_of(authority.as_str(), path));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > limits::FORWARD_NAME_BYTES_MAX || !name.bytes().all(is_name) {
        return refuse(&format!(
            "needs a name of 1 to {} letters, digits, dots, underscores and hyphens",
            limits::FORWARD_NAME_BYTES_MAX
        ));
    }
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: {authority}\r\n");
    for (field, value) in [
        ("User-Agent", concat!("metricstream/", env!("CARGO_PKG_VERSION"))),
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ]
    .into_iter()
    .chain(headers.iter().map(|(field, value)| (field.as_str(), value.as_str())))
    {
        // The request's framing is not for others to set, and a value may be a secret.
        let is_own = ["content-length", "transfer-encoding", "connection", "host", "content-encoding"];
        if headers.contains_key(field) && is_own.iter().any(|own| field.eq_ignore_ascii_case(own)) {
            return refuse(&format!("cannot send the header {field}: the server sets it"));
        }
        if Request::post("/").header(field, value).body(()).is_err() || !value.is_ascii() {
            return refuse(&format!("cannot send the header {field}"));
        }
        head.push_str(&format!("{field}: {value}\r\n"));
    }
    let port = uri.port_u16().unwrap_or(80);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(ForwardConfig { name, host, port, head, start, url: format!("http://{authority}{}", uri.path()) })
}

/// The name of a forward that was given none: its URL, without what a file name cannot have.
fn name_of(authority: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let text = format!("{authority}{path}");
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = text.trim_end_matches('/').chars().map(safe).collect();
    name.trim_matches('-').chars().take(limits::FORWARD_NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(urls: &[&str]) -> Result<Vec<ForwardConfig>, String> {
        resolve(urls.iter().map(|url| url.parse().unwrap()).collect())
    }

    #[test]
    fn a_forward_is_named_by_its_url() {
        let configs = resolved(&["http://localhost:9090/api/v1/write", "http://[::1]/w?a=b"]).unwrap();
        assert_eq!((configs[0].name.as_str(), configs[0].port), ("localhost-9090-api-v1-write", 9090));
        assert_eq!((configs[1].host.as_str(), configs[1].port), ("::1", 80));
        assert!(configs[1].head.starts_with("POST /w?a=b HTTP/1.1\r\nHost: [::1]\r\n"));
    }

    #[test]
    fn a_forward_that_cannot_be_is_refused() {
        for (urls, part) in [
            (&["localhost"][..], "is not a URL that begins"),
            (&["https://a/b"], "needs TLS"),
            (&["http://user:secret@a/b"], "has a user in it"),
            (&["http://a/b", "http://a/b"], "two forwards are named a-b"),
        ] {
            let error = resolved(urls).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let table = "url = 'http://a/b'\nheaders = { Host = 'c' }";
        assert!(resolve(vec![toml::from_str(table).unwrap()]).unwrap_err().contains("cannot send the header Host"));
    }
}

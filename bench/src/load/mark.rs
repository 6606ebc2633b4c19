//! The mark of a run on the server's live page: `POST /ui/marks`, once when the load begins and once when it ends. A
//! server without a live page is loaded all the same.

use reactor::{Endpoint, listen::UnixAddress};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

/// Time for the connect, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a response that are read. A mark has some 200.
const RESPONSE_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of a name: what the server takes.
const NAME_BYTES_MAX: usize = 64;

/// A mark that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Name of the run.
    pub name: String,
    /// Authority of the URL, for the field Host.
    pub host: String,
    /// The field line Authorization of the requests, if they have one.
    pub authorization: Option<String>,
}

/// A mark that has begun.
#[derive(Debug)]
pub struct MarkBegun<'a> {
    mark: &'a Mark,
    server: &'a Endpoint,
    number: u64,
}

/// The name of a mark, as the server takes it.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.trim().len() != text.len() || !is_printable {
        return Err(format!(
            "a name is 1 to {NAME_BYTES_MAX} printable ASCII characters, without a space at either end"
        ));
    }
    Ok(text.to_owned())
}

impl Mark {
    /// Begins the mark. Returns `None`, after a warning, if the server does not take it.
    #[must_use]
    pub fn begin<'a>(&'a self, server: &'a Endpoint) -> Option<MarkBegun<'a>> {
        let mut query = "name=".to_owned();
        for byte in self.name.bytes() {
            if byte.is_ascii_alphanumeric() {
                query.push(byte.into());
            } else {
                // Writing to a String cannot fail.
                let _ = write!(query, "%{byte:02X}");
            }
        }
        let begun = self.post(server, &query).and_then(|body| number(&body).ok_or("the response is no mark".into()));
        match begun {
            Ok(number) => Some(MarkBegun { mark: self, server, number }),
            Err(problem) => {
                crate::complain!("load_test: the run is not marked on the live page: {problem}");
                None
            }
        }
    }

    /// Posts to `/ui/marks`. Returns the body of a 200.
    fn post(&self, server: &Endpoint, query: &str) -> Result<String, String> {
        let Self { host, authorization, .. } = self;
        let authorization = authorization.as_ref().map_or_else(String::new, |line| format!("{line}\r\n"));
        let request = format!(
            "POST /ui/marks?{query} HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Length: 0\r\nConnection: \
             close\r\n\r\n"
        );
        let response = exchange(server, request.as_bytes()).map_err(|error| error.to_string())?;
        let (head, body) = response.split_once("\r\n\r\n").ok_or("the response is not HTTP")?;
        match head.split(' ').nth(1).unwrap_or_default() {
            "200" => Ok(body.to_owned()),
            "401" | "403" => Err("a server with API keys, or on another host, takes a mark with a valid key only: \
                                  -H 'Authorization: Bearer KEY'"
                .into()),
            "404" => Err("this server has none at this address".into()),
            status => Err(format!("status {status}")),
        }
    }
}

impl MarkBegun<'_> {
    /// Ends the mark. A failure is a warning.
    pub fn end(self) {
        if let Err(problem) = self.mark.post(self.server, &format!("end={}", self.number)) {
            crate::complain!("load_test: the end of the run is not marked on the live page: {problem}");
        }
    }
}

/// The number of the mark in a response.
fn number(body: &str) -> Option<u64> {
    let (_, rest) = body.split_once("\"mark\":")?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// Sends a request on a connection of its own, and returns the response.
fn exchange(server: &Endpoint, request: &[u8]) -> io::Result<String> {
    let (domain, address) = match server {
        Endpoint::Inet(address) => (Domain::for_address(*address), SockAddr::from(*address)),
        Endpoint::Unix(UnixAddress::Path(path)) => (Domain::UNIX, SockAddr::unix(path)?),
        Endpoint::Unix(UnixAddress::Abstract(name)) => {
            (Domain::UNIX, SockAddr::unix(OsStr::from_bytes(&[b"\0", name.as_bytes()].concat()))?)
        }
    };
    let mut socket = Socket::new(domain, Type::STREAM, None)?;
    socket.connect_timeout(&address, TIMEOUT)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.write_all(request)?;
    let mut response = Vec::new();
    Read::by_ref(&mut socket).take(RESPONSE_BYTES_MAX).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_server_takes() {
        for text in ["a", "run 7: 20k/s & more", &"x".repeat(64)] {
            assert_eq!(name(text), Ok(text.to_owned()));
        }
        for text in ["", " a", "a ", "a\nb", "\u{e4}", &"x".repeat(65)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn number_is_found_in_the_response() {
        assert_eq!(number("2d\r\n{\"end\":\"none\",\"mark\":17,\"name\":\"a\"}\n\r\n0\r\n\r\n"), Some(17));
        assert_eq!(number("{\"mark\":9}"), Some(9));
        assert_eq!(number("{\"mark\":\"9\"}"), None);
        assert_eq!(number(""), None);
    }
}

//! Recognises requests that are queries, and copies the parts that the query thread needs. Nothing is parsed here: a
//! parameter may be a regular expression, and compiling one on a reactor would take too long.

use super::shares::Sharer;
use http1::{Head, HttpError, Method};
use query::{Kind, Refusal};

/// The path of the log's lines.
pub const LOG_PATH: &str = "/log";

/// Returns true if `path` is a query path.
#[must_use]
pub fn is_query(path: &str) -> bool {
    matches!(path, "/query" | "/series" | "/names" | LOG_PATH)
        || path.strip_prefix("/tags/").is_some_and(|key| !key.is_empty())
}

/// The kind of query at `path`, for which [`is_query`] holds.
///
/// # Errors
/// The key of `/tags/KEY` is not encoded as it must be.
pub(super) fn kind_of(path: &str) -> Result<Kind, Refusal> {
    Ok(match (path, path.strip_prefix("/tags/")) {
        (_, Some(key)) => Kind::TagValues(query::decode_path(key)?),
        ("/series", None) => Kind::Series,
        ("/names", None) => Kind::Names,
        _ => Kind::Query,
    })
}

/// A query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawQuery {
    /// The client, and the address of one that is not proven.
    pub sharer: Sharer,
    /// The path, not percent-decoded.
    pub path: Box<str>,
    /// The text after `?`.
    pub parameters: Box<str>,
    /// The parameters go on in the body.
    pub has_form: bool,
    /// The Accept field.
    pub accept: Option<Box<[u8]>>,
    /// The Accept-Encoding field, where the path has more than one.
    pub accept_encoding: Option<Box<[u8]>>,
    /// The request was HEAD: the response has no body.
    pub head_only: bool,
}

impl RawQuery {
    /// The query in `head`. Its strings are bounded by the size of a head.
    #[must_use]
    pub fn of(head: &Head<'_>, sharer: Sharer) -> Self {
        let accept_encoding = if head.path == LOG_PATH { head.fields.get("accept-encoding") } else { None };
        Self {
            sharer,
            path: head.path.into(),
            parameters: head.query.unwrap_or_default().into(),
            accept: head.accept.map(Box::from),
            accept_encoding: accept_encoding.map(Box::from),
            has_form: head.method == Method::Post,
            head_only: head.method == Method::Head,
        }
    }

    /// True if it may wait for what is not written yet.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        &*self.path == LOG_PATH
    }

    /// Takes in the parameters of the form, as if they stood behind those of the URL.
    ///
    /// # Errors
    /// The form is too long, or not UTF-8.
    pub fn take_form(&mut self, form: &[u8]) -> Result<(), HttpError> {
        if form.len() > query::limits::QUERY_PARAMETERS_BYTES_MAX {
            return Err(HttpError::BodyTooLarge);
        }
        let form = str::from_utf8(form).map_err(|_| HttpError::BadRequest("the form is not UTF-8"))?;
        self.parameters = [&self.parameters, form].join("&").into();
        Ok(())
    }
}

/// Checks that the body of a POST is a form.
///
/// # Errors
/// The body is of another type, or too long.
pub fn check_form(head: &Head<'_>) -> Result<(), HttpError> {
    /// Parameters of the media type, such as the character set, are ignored: a form is ASCII.
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let media = head.content_type.unwrap_or_default().split(|&byte| byte == b';').next().unwrap_or_default();
    if !media.trim_ascii().eq_ignore_ascii_case(FORM) {
        return Err(HttpError::MediaType("post a query as application/x-www-form-urlencoded"));
    }
    match head.content_length {
        Some(bytes) if bytes > query::limits::QUERY_PARAMETERS_BYTES_MAX as u64 => Err(HttpError::BodyTooLarge),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in ["/query", "/log", "/series", "/names", "/tags/host", "/tags/a/b"] {
            assert!(is_query(path), "{path}");
        }
        for path in ["/", "/log/", "/query/", "/querys", "/tags", "/tags/", "/metrics"] {
            assert!(!is_query(path), "{path}");
        }
    }

    #[test]
    fn kinds() {
        let key = |key: &str| Ok(Kind::TagValues(key.to_owned()));
        for (path, kind) in [
            ("/query", Ok(Kind::Query)),
            ("/series", Ok(Kind::Series)),
            ("/names", Ok(Kind::Names)),
            ("/tags/host", key("host")),
            ("/tags/a/b+c%20d%2Fe", key("a/b+c d/e")),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
        assert!(matches!(kind_of("/tags/%zz"), Err(Refusal::BadRequest(_))));
    }
}

//! Which requests are queries, and what is kept of one for the thread that answers it. Nothing is parsed here: the reactor only copies, as
//! a parameter may be a regular expression, and compiling one may take long.

use super::{Kind, Refusal, parameters};
use crate::http::{Head, Method};

/// Whether `path` is one of those that queries are asked at.
#[must_use]
pub fn is_query(path: &str) -> bool {
    matches!(path, "/query" | "/series" | "/names") || path.strip_prefix("/tags/").is_some_and(|key| !key.is_empty())
}

/// What is asked at `path`, for which [`is_query`] holds.
///
/// # Errors
/// The key of `/tags/KEY` is not encoded as it must be.
pub(super) fn kind_of(path: &str) -> Result<Kind, Refusal> {
    Ok(match (path, path.strip_prefix("/tags/")) {
        (_, Some(key)) => Kind::TagValues(parameters::decode_path(key)?),
        ("/series", None) => Kind::Series,
        ("/names", None) => Kind::Names,
        _ => Kind::Query,
    })
}

/// A query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The path, not percent-decoded.
    pub path: Box<str>,
    /// What stands after `?`.
    pub parameters: Box<str>,
    /// The Accept field.
    pub accept: Option<Box<[u8]>>,
    /// The request was HEAD: an answer has no body.
    pub head_only: bool,
}

impl Asked {
    /// What `head` asks. Its strings are bounded as heads are.
    #[must_use]
    pub fn of(head: &Head<'_>) -> Self {
        Self {
            path: head.path.into(),
            parameters: head.query.unwrap_or_default().into(),
            accept: head.accept.map(Box::from),
            head_only: head.method == Method::Head,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in ["/query", "/series", "/names", "/tags/host", "/tags/a/b"] {
            assert!(is_query(path), "{path}");
        }
        for path in ["/", "/query/", "/querys", "/tags", "/tags/", "/metrics"] {
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

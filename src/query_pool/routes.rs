//! Which requests are queries, and what is kept of one for the thread that answers it. Nothing is parsed here: the
//! reactor only copies, as a parameter may be a regular expression, and compiling one may take long.

use crate::{
    http::{Head, HttpError, Method},
    limits,
    query::{self, Kind, Refusal},
    rate::ClientKey,
};

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
        (_, Some(key)) => Kind::TagValues(query::decode_path(key)?),
        ("/series", None) => Kind::Series,
        ("/names", None) => Kind::Names,
        _ => Kind::Query,
    })
}

/// A query as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawQuery {
    /// Who asks.
    pub client: ClientKey,
    /// The path, not percent-decoded.
    pub path: Box<str>,
    /// What stands after `?`.
    pub parameters: Box<str>,
    /// The parameters go on in the body.
    pub has_form: bool,
    /// The Accept field.
    pub accept: Option<Box<[u8]>>,
    /// The request was HEAD: an answer has no body.
    pub head_only: bool,
}

impl RawQuery {
    /// What `head` asks. Its strings are bounded as heads are.
    #[must_use]
    pub fn of(head: &Head<'_>, client: ClientKey) -> Self {
        Self {
            client,
            path: head.path.into(),
            parameters: head.query.unwrap_or_default().into(),
            accept: head.accept.map(Box::from),
            has_form: head.method == Method::Post,
            head_only: head.method == Method::Head,
        }
    }

    /// Takes in the parameters of the form, as if they stood behind those of the URL.
    ///
    /// # Errors
    /// It is too long, or no text.
    pub fn take_form(&mut self, form: &[u8]) -> Result<(), HttpError> {
        if form.len() > limits::QUERY_PARAMETERS_BYTES_MAX {
            return Err(HttpError::BodyTooLarge);
        }
        let form = str::from_utf8(form).map_err(|_| HttpError::BadRequest("the form is not UTF-8"))?;
        self.parameters = [&self.parameters, form].join("&").into();
        Ok(())
    }
}

/// Whether the body of a POST is a form.
///
/// # Errors
/// It is something else, or longer than a form may be.
pub fn check_form(head: &Head<'_>) -> Result<(), HttpError> {
    /// Its parameters, such as the character set, say nothing: a form is ASCII.
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let media = head.content_type.unwrap_or_default().split(|&byte| byte == b';').next().unwrap_or_default();
    if !media.trim_ascii().eq_ignore_ascii_case(FORM) {
        return Err(HttpError::MediaType("post a query as application/x-www-form-urlencoded"));
    }
    match head.content_length {
        Some(bytes) if bytes > limits::QUERY_PARAMETERS_BYTES_MAX as u64 => Err(HttpError::BodyTooLarge),
        _ => Ok(()),
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

//! Requests that agents make beside sending metrics: they probe whether the server is there, and have databases
//! created.

use super::dialect::{self, Dialect};
use super::route::is_gateway;
use http1::{Head, HttpError, Method, Responder, Served, Status, parameters};
use metric::protocol::text::group_labels;

/// A request with a fixed response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// `GET /`.
    Root,
    /// `/ping` of InfluxDB.
    InfluxPing,
    /// `/query` of InfluxDB with a statement that needs nothing done.
    InfluxStatement,
    /// `/query` of InfluxDB with any other statement.
    InfluxUnknownStatement,
    /// `/api/v1/validate` of Datadog: the key is valid, or the request would have been refused.
    DatadogValidate,
    /// `DELETE /metrics/job/…` of a push gateway: the log keeps what was pushed.
    GatewayDelete,
}

/// The version of InfluxDB whose write API is served: clients choose what they send by it.
const INFLUX_VERSION: &[u8] = b"\r\nX-Influxdb-Version: 1.8.10";

impl Companion {
    /// The companion that a request is, by its path; `None` for any other.
    ///
    /// # Errors
    /// A method that the path does not take, a path of a push gateway that names no group, or data of Datadog's agents
    /// that are not stored.
    pub fn of(head: &Head<'_>) -> Option<Result<Self, HttpError>> {
        let companion = match head.path {
            "/" => Self::Root,
            "/ping" => Self::InfluxPing,
            "/api/v1/validate" => Self::DatadogValidate,
            "/query" => return Self::of_statement(head.query).map(Ok),
            path if is_gateway(path) && head.method == Method::Other("DELETE") => {
                // A group that cannot be pushed cannot be deleted.
                return Some(group_labels(path).map(|_| Self::GatewayDelete).map_err(HttpError::BadRequest));
            }
            path if is_unstored_data(path) && head.method == Method::Post => {
                return Some(Err(HttpError::BadRequest("only series are stored of what Datadog's agents send")));
            }
            _ => return None,
        };
        Some(match head.method {
            Method::Get | Method::Head => Ok(companion),
            Method::Post | Method::Other(_) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" }),
        })
    }

    /// The row of the table of protocols by which requests to a path that takes no metrics are refused, if its clients
    /// read errors in the form of their protocol.
    #[must_use]
    pub fn form_of(path: &str) -> Option<&'static Dialect> {
        (path == "/api/v1/validate" || is_unstored_data(path)).then_some(&dialect::DATADOG)
    }

    /// The companion that a request to `/query` is, by its parameters: InfluxDB's statements are in `q`, which queries
    /// of our own do not have.
    #[must_use]
    pub fn of_statement(query: Option<&str>) -> Option<Self> {
        /// Bytes of a statement that are looked at: all that matters is its beginning.
        const BYTES_MAX: usize = 1024;
        let (_, statement) = parameters(query).find(|(name, _)| name.means("q"))?;
        let mut buffer = [0; BYTES_MAX];
        let statement = statement.and_then(|statement| statement.decode(&mut buffer)).unwrap_or_default();
        let mut words = statement.split_ascii_whitespace();
        let is = |word: Option<&str>, expected: &str| {
            word.is_some_and(|word| word.trim_end_matches(';').eq_ignore_ascii_case(expected))
        };
        let (first, second) = (words.next(), words.next());
        let is_known =
            (is(first, "CREATE") && is(second, "DATABASE")) || (is(first, "SHOW") && is(second, "DATABASES"));
        Some(if is_known { Self::InfluxStatement } else { Self::InfluxUnknownStatement })
    }

    /// Writes the response.
    pub fn respond(self, respond: Responder<'_>) -> Served {
        const JSON: &str = "application/json";
        match self {
            Self::Root => respond.body(Status::Ok, "text/plain; charset=utf-8", ROOT),
            Self::InfluxPing => respond.no_content(INFLUX_VERSION),
            Self::InfluxStatement => {
                respond.body_with(Status::Ok, JSON, INFLUX_VERSION, br#"{"results":[{"statement_id":0}]}"#)
            }
            Self::InfluxUnknownStatement => respond.refuse_content(
                &"only CREATE DATABASE and SHOW DATABASES are taken here; the log is queried with GET /query?name=...",
            ),
            Self::DatadogValidate => respond.body(Status::Ok, JSON, br#"{"valid":true}"#),
            Self::GatewayDelete => respond.body(Status::Accepted, "text/plain; charset=utf-8", b""),
        }
    }

    /// The status of the response.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Root | Self::InfluxStatement | Self::DatadogValidate => Status::Ok,
            Self::InfluxPing => Status::NoContent,
            Self::GatewayDelete => Status::Accepted,
            Self::InfluxUnknownStatement => Status::BadRequest,
        }
    }
}

/// Returns whether what Datadog's agents and clients send to this path is not stored: checks, events, sketches and
/// metadata. An agent sends what gets a 404 again for ever, and its series wait behind it in one queue; it drops what
/// gets a 400.
fn is_unstored_data(path: &str) -> bool {
    matches!(
        path,
        "/intake/"
            | "/api/v1/check_run"
            | "/api/v1/distribution_points"
            | "/api/v1/events"
            | "/api/v1/metadata"
            | "/api/v1/sketches"
            | "/api/v2/events"
            | "/api/v2/host_metadata"
            | "/api/v2/service_checks"
            | "/api/beta/sketches"
    )
}

const ROOT: &[u8] = b"MetricsStream takes metrics at POST /metrics and from agents; see /stats, /metrics and /query.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_distinguished_from_a_query_of_our_own() {
        for (query, companion) in [
            ("q=CREATE+DATABASE+%22telegraf%22", Some(Companion::InfluxStatement)),
            ("db=x&q=show%20databases%3B", Some(Companion::InfluxStatement)),
            ("q=CREATE+DATABASE", Some(Companion::InfluxStatement)),
            ("q=SELECT+1", Some(Companion::InfluxUnknownStatement)),
            ("q=CREATE+USER+x", Some(Companion::InfluxUnknownStatement)),
            ("q", Some(Companion::InfluxUnknownStatement)),
            ("q=%ff", Some(Companion::InfluxUnknownStatement)),
            ("name=cpu&agg=avg", None),
            ("", None),
        ] {
            assert_eq!(Companion::of_statement(Some(query)), companion, "{query}");
        }
    }
}

//! `GET /stats/clients?top=20`: the clients with the most requests, with the most refusals, and with the most metrics.
//!
//! A client is shown by the hash that stands for it in the limiter ([`rate::ClientKeys`]): 128 bits of its
//! `Authorization` value, or of its address when it sends none, under keys that are drawn at the start of the process
//! and never leave it. So no API key and no address can be read or guessed from it, also not by trying; and the hashes
//! of two runs have nothing in common. To find out which client is whose, send a request with that client's
//! `Authorization`: `asked_by` is the hash of the client of the request.

use super::observer::pretty;
use crate::limits;
use http1::{HttpError, parameters};
use rate::{ClientKey, ClientTotals, TopClients};
use serde_json::{Value, json};

/// The number of clients in a query string.
///
/// # Errors
/// The number is invalid, or another parameter is given.
pub fn top_of(query: Option<&str>) -> Result<usize, HttpError> {
    const WRONG: HttpError = HttpError::BadRequest("top must be a number from 1 to 1024");
    const _: () = assert!(rate::limits::TOP_CLIENTS_MAX == 1024, "the text says so");
    let mut found = None;
    for (name, value) in parameters(query) {
        if !name.means("top") {
            return Err(HttpError::UnknownParameter { name: name.into(), known: "top" });
        }
        let mut buffer = [0; 20];
        let digits = value.and_then(|value| value.decode(&mut buffer)).unwrap_or_default();
        // Digits only: `parse` alone takes a sign.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let top = digits.parse().ok().filter(|top| is_number && (1..=rate::limits::TOP_CLIENTS_MAX).contains(top));
        if found.replace(top.ok_or(WRONG)?).is_some() {
            return Err(HttpError::BadRequest("top is given twice"));
        }
    }
    Ok(found.unwrap_or(limits::CLIENTS_SHOWN_DEFAULT))
}

/// The document, without the client of the request, as it is sent.
pub fn document(top_clients: &TopClients, limited: bool, top: usize, now_ns: u64) -> Vec<u8> {
    pretty(&to_json(top_clients, limited, top, now_ns))
}

/// The document, without the client of the request. `limited`: there is a limiter; without one clients are not
/// distinguished. `now_ns` is of the limiter's clock.
pub fn to_json(top_clients: &TopClients, limited: bool, top: usize, now_ns: u64) -> Value {
    let client = |totals: ClientTotals| {
        json!({
            "client": totals.key.to_string(),
            "allowed": totals.allowed,
            "refused": totals.refused,
            "metrics": totals.metrics,
            "far_from_now": totals.far_from_now,
            "missed_max": totals.missed_max,
            "idle_ms": now_ns.saturating_sub(totals.last_ns) / 1_000_000,
        })
    };
    let list = |clients: Vec<ClientTotals>| clients.into_iter().map(client).collect::<Vec<Value>>();
    let totals = top_clients.totals();
    json!({
        "limited": limited,
        "allowed": totals.allowed,
        "refused": totals.refused,
        "metrics": totals.metrics,
        "events_dropped": totals.dropped,
        "heaviest": list(top_clients.top(top)),
        "most_refused": list(top_clients.most_refused(top)),
        "most_metrics": list(top_clients.most_metrics(top)),
    })
}

/// The document for the client of one request. One rendering serves all that wait for it, and differs for them in its
/// first field only.
#[must_use]
pub fn with_asker(document: &[u8], asked_by: ClientKey) -> Vec<u8> {
    let fields = document.strip_prefix(b"{").unwrap_or(document);
    [format!("{{\n  \"asked_by\": \"{asked_by}\",").as_bytes(), fields].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_finds_its_own_name_in_the_document() {
        let keys = rate::ClientKeys::new();
        let rendered = document(&TopClients::new(Vec::new(), 1), true, 20, 0);
        for name in ["alpha", "beta"] {
            let client = keys.authorization(name.as_bytes());
            let document: Value = serde_json::from_slice(&with_asker(&rendered, client)).unwrap();
            assert_eq!(document["asked_by"], client.to_string());
            assert_eq!(document["heaviest"], json!([]), "the rest is there too");
        }
    }

    #[test]
    fn top_comes_from_the_query() {
        for (query, top) in
            [(None, 20), (Some(""), 20), (Some("top=1"), 1), (Some("&t%6fp=%31&"), 1), (Some("top=1024"), 1024)]
        {
            assert_eq!(top_of(query), Ok(top), "{query:?}");
        }
        for query in [
            "top=0",
            "top=1025",
            "top=",
            "top",
            "top=-1",
            "top=+1",
            "top=x",
            "top=1&top=2",
            "top=1e3",
            "top=99999999999999999999",
        ] {
            assert!(top_of(Some(query)).is_err_and(|error| error.to_string().starts_with("top ")), "{query}");
        }
        let refusal = top_of(Some("tpo=5")).unwrap_err();
        assert_eq!(refusal.to_string(), "tpo: unknown parameter; expected top");
    }
}

//! The paths of the live page: `/ui`, and `/` for a browser.

use super::{AdmittedRequest, Caller, Service};
use super::{Burst, DeferredRequest, Payer};
use crate::{listening::Role, ui::PageRequest};
use http1::{Head, HttpError, Method, Responder, Served, Status};
use std::sync::atomic::Ordering;

/// The place of the page, for a browser that comes to `/`.
const TO_PAGE: &[u8] = b"\r\nLocation: /ui\r\nVary: Accept";

/// Returns true if `path` is served for the live page alone.
pub(super) fn is_of_page(path: &str) -> bool {
    matches!(path, "/ui" | "/ui/stream")
}

impl Service {
    /// Returns true if the live page is served at this listener: where statistics are.
    pub(super) fn has_page_at(&self, role: Role) -> bool {
        self.shared.page.is_some() && (role == Role::Admin || self.shared.config.admin_listen.is_empty())
    }

    /// Admits `GET /` by a browser, which is sent to the page; `None` for any other request.
    pub(super) fn admit_browser(&self, head: &Head<'_>, caller: Caller) -> Option<AdmittedRequest> {
        let is_get = matches!(head.method, Method::Get | Method::Head);
        let is_browser = head.path == "/" && is_get && head.accept.is_some_and(names_html);
        (is_browser && self.has_page_at(caller.role)).then_some(AdmittedRequest::ToPage)
    }

    /// Admits a request for the live page, or for what it reads. The page needs no key, as there is no figure in it.
    pub(super) fn admit_page(&mut self, head: &Head<'_>) -> Result<AdmittedRequest, HttpError> {
        let page = self.shared.page.as_ref().ok_or(HttpError::NotFound)?;
        match (head.path, head.method) {
            ("/ui", Method::Get | Method::Head) => Ok(AdmittedRequest::Page(page.requested(head))),
            ("/ui/stream", Method::Get | Method::Head) => self.admit_stream(head),
            ("/ui" | "/ui/stream", _) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" }),
            _ => Err(HttpError::NotFound),
        }
    }

    /// Admits a stream: with a key, where there are keys.
    fn admit_stream(&mut self, head: &Head<'_>) -> Result<AdmittedRequest, HttpError> {
        match self.payer(head) {
            keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
            _ => Ok(AdmittedRequest::Stream { head_only: head.method == Method::Head }),
        }
    }

    /// Passes the stream to its thread, unless the server is shutting down.
    pub(super) fn stream(&mut self, head_only: bool, respond: Responder<'_>, burst: &mut Burst) -> Served {
        if burst.caller.accepted_during_drain || self.shared.draining.load(Ordering::Relaxed) {
            let refusal =
                HttpError::Unavailable { text: "the server is stopping", retry_after_s: http1::limits::RETRY_AFTER_S };
            self.counters.refused(refusal);
            return respond.refuse(refusal);
        }
        burst.result.deferred = Some(DeferredRequest::Stream { head_only });
        respond.defer()
    }

    /// Sends a browser to the page.
    pub(super) fn answer_to_page(&mut self, respond: Responder<'_>) -> Served {
        self.counters.answered_with(Status::SeeOther);
        respond.answer_with(Status::SeeOther, "text/plain; charset=utf-8", TO_PAGE, b"the live page is at /ui\n")
    }

    /// Writes the page, or 304 for a client that has it. A server without a page admits no request for it.
    pub fn answer_page(&mut self, request: PageRequest, respond: Responder<'_>) -> Served {
        let Some(page) = &self.shared.page else { return respond.refuse(HttpError::NotFound) };
        let fields = page.fields(request.gzip);
        if request.is_known {
            self.counters.answered_with(Status::NotModified);
            return respond.not_modified(fields);
        }
        self.counters.answered_with(Status::Ok);
        respond.answer_with(Status::Ok, crate::ui::Page::CONTENT_TYPE, fields, page.body(request.gzip))
    }
}

/// Returns true if an Accept field names HTML, as those of browsers do: `*/*` alone is curl's.
fn names_html(accept: &[u8]) -> bool {
    let mut ranges = accept.split(|&byte| byte == b',');
    ranges.any(|range| range.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii() == b"text/html")
}

//! The paths of the live page: `/ui`, and `/` for a browser.

use super::{AdmittedRequest, Burst, Caller, DeferredRequest, Payer, Service};
use crate::{
    listening::Role,
    profile::ProfileRequest,
    query_pool::Sharer,
    ui::{Job, MarkRequest, PageRequest},
};
use http1::{Head, HttpError, Method, Responder, Served, Status};
use rate::ClientAddress;
use std::sync::atomic::Ordering;

/// The place of the page, for a browser that comes to `/`.
const TO_PAGE: &[u8] = b"\r\nLocation: /ui\r\nVary: Accept";

/// Returns true if `path` is served for the live page alone.
pub(super) fn is_of_page(path: &str) -> bool {
    matches!(path, "/ui" | "/ui/stream" | "/ui/doctor" | "/ui/marks" | "/debug/profile")
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
    pub(super) fn admit_page(&mut self, head: &Head<'_>, caller: Caller) -> Result<AdmittedRequest, HttpError> {
        let page = self.shared.page.as_ref().ok_or(HttpError::NotFound)?;
        match (head.path, head.method) {
            ("/ui", Method::Get | Method::Head) => Ok(AdmittedRequest::Page(page.requested(head))),
            ("/ui/stream", Method::Get | Method::Head) => {
                let head_only = head.method == Method::Head;
                self.admit_reader(head, |sharer| AdmittedRequest::Stream { head_only, sharer })
            }
            ("/ui/doctor", Method::Get | Method::Head) => {
                self.admit_reader(head, |sharer| AdmittedRequest::Job(Box::new(Job::Doctor(sharer))))
            }
            ("/ui/marks", Method::Post) => self.admit_mark(head, caller),
            ("/debug/profile", Method::Post) => self.admit_profile(head, caller),
            ("/debug/profile" | "/ui/marks", _) => Err(HttpError::MethodNotAllowed { allow: "POST" }),
            ("/ui" | "/ui/stream" | "/ui/doctor", _) => Err(HttpError::MethodNotAllowed { allow: "GET, HEAD" }),
            _ => Err(HttpError::NotFound),
        }
    }

    /// Admits a request for figures: with a key, where there are keys.
    fn admit_reader(
        &mut self,
        head: &Head<'_>,
        request: impl FnOnce(Sharer) -> AdmittedRequest,
    ) -> Result<AdmittedRequest, HttpError> {
        match self.payer(head) {
            keyless @ Payer::Keyless(_) => Err(self.refuse_keyless(keyless)),
            payer => Ok(request(self.sharer(payer))),
        }
    }

    /// Admits a profile: by a valid key, or from this host. A page of another origin may not have one made by a browser
    /// that runs here, nor a client whose request comes through a proxy that does.
    fn admit_profile(&mut self, head: &Head<'_>, caller: Caller) -> Result<AdmittedRequest, HttpError> {
        const REFUSED: HttpError = HttpError::Forbidden("a profile takes a valid API key, or a client on this host");
        self.check_actor(head, caller, REFUSED)?;
        Ok(AdmittedRequest::Job(Box::new(Job::Profile(ProfileRequest::of(head)?))))
    }

    /// Admits a mark, by who may have a profile made.
    fn admit_mark(&mut self, head: &Head<'_>, caller: Caller) -> Result<AdmittedRequest, HttpError> {
        const REFUSED: HttpError = HttpError::Forbidden("a mark takes a valid API key, or a client on this host");
        self.check_actor(head, caller, REFUSED)?;
        Ok(AdmittedRequest::Job(Box::new(Job::Mark(MarkRequest::of(head)?))))
    }

    /// Checks that a request has a valid key, or comes from a client on this host that speaks for itself. Another one
    /// is `refused`, and charged to its address where there are keys, so that none is guessed by it.
    fn check_actor(&mut self, head: &Head<'_>, caller: Caller, refused: HttpError) -> Result<(), HttpError> {
        let payer = self.shared.api_keys.is_some().then(|| self.payer(head));
        match payer {
            Some(Payer::Key(_)) => Ok(()),
            _ if is_local(caller) && is_direct(head) => Ok(()),
            Some(payer) => Err(match self.refuse_keyless(payer) {
                HttpError::Unauthorized => refused,
                over_rate => over_rate,
            }),
            None => Err(refused),
        }
    }

    /// Passes a job on, unless the server is shutting down.
    pub(super) fn start_job(&mut self, job: Box<Job>, respond: Responder<'_>, burst: &mut Burst) -> Served {
        if let Some(refusal) = self.stopping(burst) {
            return respond.refuse(refusal);
        }
        burst.result.deferred = Some(DeferredRequest::Job(job));
        respond.defer()
    }

    /// The refusal, which is counted here, of what takes long while the server is shutting down.
    fn stopping(&mut self, burst: &Burst) -> Option<HttpError> {
        let is_stopping = burst.caller.accepted_during_drain || self.shared.draining.load(Ordering::Relaxed);
        is_stopping.then(|| {
            let refusal =
                HttpError::Unavailable { text: "the server is stopping", retry_after_s: http1::limits::RETRY_AFTER_S };
            self.refuse_caller(refusal, burst.caller);
            refusal
        })
    }

    /// Passes the stream to its thread, unless the server is shutting down.
    pub(super) fn stream(
        &mut self,
        head_only: bool,
        sharer: Sharer,
        respond: Responder<'_>,
        burst: &mut Burst,
    ) -> Served {
        if let Some(refusal) = self.stopping(burst) {
            return respond.refuse(refusal);
        }
        burst.result.deferred = Some(DeferredRequest::Stream { head_only, sharer });
        respond.defer()
    }

    /// Sends a browser to the page.
    pub(super) fn redirect_to_page(&mut self, respond: Responder<'_>) -> Served {
        self.counters.count_response(Status::SeeOther);
        respond.body_with(Status::SeeOther, "text/plain; charset=utf-8", TO_PAGE, b"the live page is at /ui\n")
    }

    /// Writes the page, or 304 for a client that has it. A server without a page admits no request for it.
    pub fn respond_page(&mut self, request: PageRequest, respond: Responder<'_>) -> Served {
        let Some(page) = &self.shared.page else { return respond.refuse(HttpError::NotFound) };
        let fields = page.fields(request.gzip);
        if request.is_known {
            self.counters.count_response(Status::NotModified);
            return respond.not_modified(fields);
        }
        self.counters.count_response(Status::Ok);
        respond.body_with(Status::Ok, crate::ui::Page::CONTENT_TYPE, fields, page.body(request.gzip))
    }
}

/// Returns true for a client on this host, which no trusted proxy stands for.
fn is_local(caller: Caller) -> bool {
    !caller.is_trusted
        && match caller.peer {
            ClientAddress::Ip(address) => address.to_canonical().is_loopback(),
            ClientAddress::User(_) => true,
        }
}

/// Returns true for a request that neither a proxy has passed on nor a page of another origin makes.
fn is_direct(head: &Head<'_>) -> bool {
    let host = head.fields.get("host").unwrap_or_default();
    let is_own = |origin: &[u8]| origin.strip_prefix(b"http://").is_some_and(|origin| origin == host);
    !head.forwarded.is_present() && !head.x_forwarded_for.is_present() && head.origin.is_none_or(is_own)
}

/// Returns true if an Accept field names HTML, as those of browsers do: `*/*` alone is curl's.
fn names_html(accept: &[u8]) -> bool {
    let mut ranges = accept.split(|&byte| byte == b',');
    ranges.any(|range| range.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii() == b"text/html")
}

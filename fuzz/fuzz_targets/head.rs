//! Heads against httparse: what is admitted is what httparse reads, field by field.
#![no_main]

use http1::{
    Bounds, Burst, Connection, Head, HttpContext, HttpError, Method, Responder, Rules, Served, Service, Version,
};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

/// A service that refuses every request, after it has compared its head.
struct Compare<'a> {
    bytes: &'a [u8],
    admitted: usize,
}

thread_local! {
    static CONTEXT: RefCell<HttpContext> = RefCell::new(HttpContext::new(Bounds { body_bytes: 1 << 20 }));
}

fuzz_target!(|data: &[u8]| {
    CONTEXT.with_borrow_mut(|context| {
        let mut service = Compare { bytes: data, admitted: 0 };
        let (mut connection, mut out) = (Connection::new(), Vec::new());
        let _ = connection.receive(data, (), &mut service, context, &mut out);
        connection.release(context);
    });
});

impl Service for Compare<'_> {
    type AdmittedRequest = ();
    type Caller = ();
    type BurstResult = ();

    fn admit(&mut self, head: &Head<'_>, _: &mut Rules, _: &mut Burst<Self>) -> Result<(), HttpError> {
        self.admitted += 1;
        // Where the next head begins is the connection's affair.
        if self.admitted > 1 {
            return Err(HttpError::NotFound);
        }
        let mut fields = [httparse::EMPTY_HEADER; http1::limits::HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(self.bytes).unwrap_or_else(|error| panic!("httparse refuses it: {error}"));
        assert!(parsed.is_complete(), "httparse waits for more");
        let method = match head.method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Other(other) => other,
        };
        assert_eq!(Some(method), request.method);
        let target = request.path.unwrap_or_default();
        let own = match head.query {
            Some(query) => format!("{}?{query}", head.path),
            None => head.path.to_owned(),
        };
        // The absolute form has a scheme and an authority before the path, which may be missing.
        let has_path = !target.starts_with('?') && !target.contains("://");
        assert!(
            target == own || !has_path && (target.ends_with(&own) || own.starts_with("/?") || own == "/"),
            "{own} of {target}"
        );
        assert_eq!(request.version, Some(if head.version == Version::Http11 { 1 } else { 0 }));
        for name in ["authorization", "accept", "content-type", "origin", "traceparent", "host", "x-anything"] {
            let of_name = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
            let values: Vec<_> = request.headers.iter().filter(of_name).map(|field| field.value.trim_ascii()).collect();
            let own = match name {
                "authorization" => head.authorization,
                "accept" => head.accept,
                "content-type" => head.content_type,
                "origin" => head.origin,
                "traceparent" => head.traceparent,
                name => head.fields.get(name),
            };
            // Which one of several counts is for each field to say.
            match own {
                Some(own) => assert!(own.is_empty() || values.contains(&own.trim_ascii()), "{name}"),
                None => assert!(values.len() != 1 || values[0].is_empty() || name == "traceparent", "{name}"),
            }
        }
        Err(HttpError::NotFound)
    }

    fn charge(&mut self, (): &mut (), _: u64) -> Result<(), HttpError> {
        Ok(())
    }

    fn serve(&mut self, (): (), _: &[u8], respond: Responder<'_>, _: &mut Burst<Self>) -> Served {
        respond.refuse(HttpError::NotFound)
    }

    fn refused(&mut self, _: Option<()>, _: HttpError, _: &mut Burst<Self>) {}
}

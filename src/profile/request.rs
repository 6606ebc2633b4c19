//! The parameters of `POST /debug/profile`.

use crate::limits;
use http1::{
    Head, HttpError,
    accept::{Media, best},
    parameters,
};
use std::time::Duration;

/// The format of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A flame graph: an SVG document.
    Svg,
    /// A line for each stack, its functions separated by semicolons, and its count.
    Folded,
    /// The format of pprof: protobuf, compressed with gzip.
    Pprof,
}

impl Format {
    /// Media type of the response.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Svg => "image/svg+xml",
            Self::Folded => "text/plain; charset=utf-8",
            Self::Pprof => "application/vnd.google.protobuf",
        }
    }

    /// The one that an `Accept` field prefers; the flame graph, if it names none.
    fn negotiate(accept: Option<&[u8]>) -> Self {
        const MEDIAS: [(Media, Format); 4] = [
            (Media { kind: b"image", subtype: b"svg+xml", version: None }, Format::Svg),
            (Media { kind: b"text", subtype: b"plain", version: None }, Format::Folded),
            (Media { kind: b"application", subtype: b"vnd.google.protobuf", version: None }, Format::Pprof),
            (Media { kind: b"application", subtype: b"octet-stream", version: None }, Format::Pprof),
        ];
        let medias = MEDIAS.map(|(media, _)| media);
        accept.and_then(|accept| best(accept, &medias)).map_or(Self::Svg, |index| MEDIAS[index].1)
    }
}

/// The kind of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The stacks of threads on a CPU.
    OnCpu,
    /// The states of threads.
    States,
}

/// A profile that is requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRequest {
    /// The kind.
    pub mode: Mode,
    /// The time to sample.
    pub length: Duration,
    /// Samples in a second that a thread is on a CPU; looks in a second, of the states.
    pub hz: u64,
    /// The name of the threads; `None`: all.
    pub thread: Option<String>,
    /// The format of the response.
    pub format: Format,
}

impl ProfileRequest {
    /// The request that a head makes.
    ///
    /// # Errors
    /// An unknown or invalid parameter, by name.
    pub fn of(head: &Head<'_>) -> Result<Self, HttpError> {
        const SECONDS: HttpError = HttpError::BadRequest("seconds must be a number from 1 to 60");
        const HZ: HttpError = HttpError::BadRequest("hz must be a number from 1 to 1999");
        const THREAD: HttpError = HttpError::BadRequest("thread must be the name of a thread, such as reactor-0");
        const MODE: HttpError = HttpError::BadRequest("mode must be on-cpu or states");
        const _: () = assert!(
            limits::PROFILE_SECONDS_MAX == 60 && limits::PROFILE_SAMPLES_PER_S_MAX == 1_999,
            "the texts say so"
        );
        let (mut mode, mut seconds, mut hz, mut thread) =
            (Mode::OnCpu, limits::PROFILE_SECONDS_DEFAULT, limits::PROFILE_SAMPLES_PER_S_DEFAULT, None);
        for (name, value) in parameters(head.query) {
            let mut buffer = [0; limits::PROFILE_THREAD_BYTES_MAX];
            let value = value.and_then(|value| value.decode(&mut buffer)).unwrap_or_default();
            let number = |max: u64| value.parse().ok().filter(|number| (1..=max).contains(number));
            if name.means("seconds") {
                seconds = number(limits::PROFILE_SECONDS_MAX).ok_or(SECONDS)?;
            } else if name.means("hz") {
                hz = number(limits::PROFILE_SAMPLES_PER_S_MAX).ok_or(HZ)?;
            } else if name.means("thread") {
                thread = Some(Some(value).filter(|value| !value.is_empty()).ok_or(THREAD)?.to_owned());
            } else if name.means("mode") {
                mode = match value {
                    "on-cpu" => Mode::OnCpu,
                    "states" => Mode::States,
                    _ => return Err(MODE),
                };
            } else {
                return Err(HttpError::UnknownParameter { name: name.into(), known: "seconds, hz, thread or mode" });
            }
        }
        let format = Format::negotiate(head.accept);
        if mode == Mode::States {
            hz = hz.min(limits::PROFILE_LOOKS_PER_S_MAX);
        }
        Ok(Self { mode, length: Duration::from_secs(seconds), hz, thread, format })
    }

    /// Returns true for a thread of this name: the one that is wanted, or one of several with a number behind it.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let Some(wanted) = &self.thread else { return true };
        name.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_taken_by_name_or_by_kind() {
        let request = |thread: Option<&str>| ProfileRequest {
            mode: Mode::OnCpu,
            length: Duration::from_secs(1),
            hz: 99,
            thread: thread.map(str::to_owned),
            format: Format::Svg,
        };
        assert!(request(None).takes("writer"));
        assert!(request(Some("reactor")).takes("reactor-0") && request(Some("reactor-1")).takes("reactor-1"));
        assert!(!request(Some("reactor-1")).takes("reactor-10") && !request(Some("react")).takes("reactor-0"));
    }

    #[test]
    fn format_is_negotiated() {
        for (accept, format) in [
            (None, Format::Svg),
            (Some("*/*"), Format::Svg),
            (Some("text/plain"), Format::Folded),
            (Some("application/octet-stream"), Format::Pprof),
            (Some("image/svg+xml;q=0.5, application/vnd.google.protobuf"), Format::Pprof),
            (Some("text/html"), Format::Svg),
        ] {
            assert_eq!(Format::negotiate(accept.map(str::as_bytes)), format, "{accept:?}");
        }
    }
}

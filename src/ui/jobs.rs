//! Work for a page that takes longer than a reactor has: each job runs on a thread of its own, and its result goes the
//! way of the streams.

use crate::profile::{self, ProfileRequest};
use crossbeam_channel::Sender;
use http1::HttpError;
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A profile of the server.
    Profile(ProfileRequest),
}

/// The result of a job: the response.
#[derive(Debug)]
pub struct Body {
    /// Media type of the body.
    pub content_type: &'static str,
    /// More header fields, each from the CR LF before it on.
    pub fields: Box<[u8]>,
    /// The body.
    pub bytes: Arc<[u8]>,
}

/// The number of a job's stream, and what became of it: a response, or a refusal with its text.
pub type Done = (u64, Result<Body, (HttpError, String)>);

impl Job {
    /// Name of its thread.
    const fn name(&self) -> &'static str {
        match self {
            Self::Profile(_) => "profile",
        }
    }

    /// Starts it on a thread of its own, which reports to `done`. It ends early when `stop` is set.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self, number: u64, done: Sender<Done>, stop: Arc<AtomicBool>) -> io::Result<()> {
        let name = self.name().to_owned();
        let run = move || {
            // There is a place for it. Without the thread of the streams nobody wants it.
            let _ = done.try_send((number, self.run(&stop)));
        };
        thread::Builder::new().name(name).spawn(run).map(drop)
    }

    fn run(self, stop: &AtomicBool) -> Result<Body, (HttpError, String)> {
        match self {
            Self::Profile(request) => {
                let profile = profile::make(&request, stop).map_err(refused)?;
                Ok(Body {
                    content_type: profile.content_type,
                    fields: profile.fields.into_bytes().into(),
                    bytes: profile.body.into(),
                })
            }
        }
    }
}

/// The refusal of a job that cannot be done.
pub fn refused(text: String) -> (HttpError, String) {
    let error = HttpError::Unavailable { text: "it cannot be done now", retry_after_s: http1::limits::RETRY_AFTER_S };
    (error, text)
}

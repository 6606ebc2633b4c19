//! Work for a page that takes longer than a reactor has: each job runs on a thread of its own, and its result goes the
//! way of the streams.

use super::marks::MarkRequest;
use crate::{
    limits,
    profile::{self, ProfileRequest},
    query_pool::Sharer,
};
use crossbeam_channel::Sender;
use http1::HttpError;
use std::{
    fmt, io,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

/// Media type of a JSON document.
pub const JSON: &str = "application/json";

/// A job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A profile of the server.
    Profile(ProfileRequest),
    /// The doctor's report of this host, for this client.
    Doctor(Sharer),
    /// A mark, which is begun or ended at once.
    Mark(MarkRequest),
}

/// The result of a job: the response.
#[derive(Debug, Clone)]
pub struct Body {
    /// Media type of the body.
    pub content_type: &'static str,
    /// More header fields, each from the CR LF before it on.
    pub fields: Box<[u8]>,
    /// The body.
    pub bytes: Arc<[u8]>,
}

/// A response, or a refusal with its text.
pub type JobResult = Result<Body, (HttpError, String)>;

/// The end of a job on its thread.
#[derive(Debug)]
pub enum Done {
    /// A profile, for the stream of this number.
    Profile(u64, JobResult),
    /// The doctor's report, for all who wait.
    Doctor(JobResult),
}

/// Runs `work` on a thread of this name, which reports to `done`.
///
/// # Errors
/// The thread cannot be started.
pub fn spawn(name: &str, done: Sender<Done>, work: impl FnOnce() -> Done + Send + 'static) -> io::Result<()> {
    let run = move || {
        // There is a place for it. Without the thread of the streams nobody wants it.
        let _ = done.try_send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// Makes a profile, which ends early when `stop` is set.
pub fn profile(request: &ProfileRequest, stop: &AtomicBool) -> JobResult {
    let profile = profile::make(request, stop).map_err(refused)?;
    Ok(Body {
        content_type: profile.content_type,
        fields: profile.fields.into_bytes().into(),
        bytes: profile.body.into(),
    })
}

/// The refusal of a job that cannot be done.
pub fn refused(text: String) -> (HttpError, String) {
    let error = HttpError::Unavailable { text: "it cannot be done now", retry_after_s: http1::limits::RETRY_AFTER_S };
    (error, text)
}

/// The doctor, who makes a report of this host as JSON. It takes seconds.
#[derive(Clone)]
pub struct Examiner(Arc<dyn Fn() -> String + Send + Sync>);

impl Examiner {
    /// The examination that `examine` makes.
    pub fn new(examine: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(examine))
    }
}

impl fmt::Debug for Examiner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Examiner").finish_non_exhaustive()
    }
}

/// The doctor's last report, and who waits for the next. One is made at a time, for all who request it meanwhile.
#[derive(Debug)]
pub struct DoctorReports {
    examiner: Examiner,
    last: Option<(Instant, Body)>,
    waiting: Vec<u64>,
    is_running: bool,
}

impl DoctorReports {
    /// No report yet.
    pub const fn new(examiner: Examiner) -> Self {
        Self { examiner, last: None, waiting: Vec::new(), is_running: false }
    }

    /// The last report, while it is new enough.
    pub fn last(&self) -> Option<&Body> {
        let last = self.last.as_ref().filter(|(at, _)| at.elapsed() < limits::DOCTOR_REPORT_AGE);
        last.map(|(_, body)| body)
    }

    /// Has the stream of this number wait for a report, which is begun unless one is being made.
    ///
    /// # Errors
    /// No thread can be started: nobody waits any more.
    pub fn wait(&mut self, number: u64, done: &Sender<Done>) -> Result<(), (Vec<u64>, io::Error)> {
        self.waiting.push(number);
        if self.is_running {
            return Ok(());
        }
        let examiner = self.examiner.clone();
        let report = move || {
            let bytes = examiner.0().into_bytes().into();
            Done::Doctor(Ok(Body { content_type: JSON, fields: Box::default(), bytes }))
        };
        spawn("doctor", done.clone(), report).map_err(|error| (self.stop_waiting(), error))?;
        self.is_running = true;
        Ok(())
    }

    /// Takes a report that was made. Returns the streams that wait for it.
    pub fn finish(&mut self, result: &JobResult) -> Vec<u64> {
        self.is_running = false;
        self.last = result.as_ref().ok().map(|body| (Instant::now(), body.clone()));
        self.stop_waiting()
    }

    /// The streams that wait, which wait no longer.
    pub fn stop_waiting(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.waiting)
    }
}

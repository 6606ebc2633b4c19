//! A profile of the running server: where its threads are on a CPU, by sampling. It needs neither perf nor root, and
//! costs nothing while none is made.
//!
//! The kernel interrupts each thread by a clock that runs while the thread is on a CPU (perf_event_open(2)), and
//! reports its registers and the top of its stack; these are unwound here, by the tables that the compiler leaves in
//! each file.
//!
//! The states of threads, among them the time off the CPU, are in `states`.
//!
//! The map: `request` (the parameters), `perf` (the events and their rings), `record` (what is in the rings), `modules`
//! (unwinding and names), `sampler` (the threads, and the stacks that are counted), `render` (the three formats) and
//! `flame` (the picture).

mod flame;
mod modules;
mod perf;
mod record;
mod render;
mod request;
mod sampler;
mod states;

pub use request::{Format, Mode, ProfileRequest};

use modules::Modules;
use render::Picture;
use std::{fmt::Write, fs, io, sync::atomic::AtomicBool, time::Duration};

/// A profile, ready to be sent.
#[derive(Debug)]
pub struct Profile {
    /// Media type of the body.
    pub content_type: &'static str,
    /// A header field that says what is in it, from the CR LF before it on.
    pub fields: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Makes a profile: takes as long as the request says, or until `stop` is set, and the time to find the names.
///
/// # Errors
/// The reason why no thread can be sampled, for the client.
pub fn make(request: &ProfileRequest, stop: &AtomicBool) -> Result<Profile, String> {
    if request.mode == Mode::States {
        return states(request, stop);
    }
    let mut modules = Modules::unwinding();
    let samples = sampler::sample(request, &mut modules, stop).map_err(|error| refusal(&error))?;
    modules.load_names();
    let picture = Picture::of_samples(&samples, &modules, request.hz);
    let kernel = if samples.kernel { "yes" } else { "no" };
    let sampler::Samples { count, lost, truncated, .. } = &samples;
    let fields =
        format!("\r\nX-MetricsStream-Profile: samples={count}; lost={lost}; truncated={truncated}; kernel={kernel}");
    Ok(Profile { content_type: request.format.content_type(), fields, body: picture.render(request.format) })
}

/// The states of the threads, each in milliseconds.
fn states(request: &ProfileRequest, stop: &AtomicBool) -> Result<Profile, String> {
    let states = states::watch(request, stop).map_err(|error| refusal(&error))?;
    let fields = format!("\r\nX-MetricsStream-Profile: samples={}; lost=0; truncated=0; kernel=yes", states.count);
    let subtitle = format!("states of threads in {:.1} s, by milliseconds", states.took.as_secs_f64());
    let picture = Picture {
        named: states.named,
        subtitle,
        values: [["states", "count"], ["wall", "nanoseconds"]],
        period: Duration::from_millis(1),
        took: states.took,
    };
    Ok(Profile { content_type: request.format.content_type(), fields, body: picture.render(request.format) })
}

/// The text of the response when no thread can be sampled.
fn refusal(error: &io::Error) -> String {
    let mut text = format!("no thread can be sampled: {error}");
    if error.kind() == io::ErrorKind::PermissionDenied {
        let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = write!(text, "; kernel.perf_event_paranoid is {}, and at most 2 is needed", level.trim());
    }
    text
}

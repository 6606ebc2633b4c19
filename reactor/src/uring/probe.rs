//! Getting a ring out of this kernel, or saying why there is none. Owns the ladder of set-up flags, the list of what
//! the driver cannot do without, and the self-test that proves the one feature that no flag reports: multishot receive.
#![expect(unsafe_code, reason = "the self-test submits operations")]

use super::{buffers::BufferRing, queue::Queue, user_data::Op, user_data::pack_own};
use io_uring::{IoUring, Probe, cqueue, opcode, types};
use std::{
    fmt, fs,
    io::{self, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

/// Entries of the queues of `probe`: enough for its self-test.
const PROBE_ENTRIES: u32 = 8;
/// Buffer group of the self-test. The driver's is `super::BUFFER_GROUP`.
const SELF_TEST_GROUP: u16 = 1;
const _: () = assert!(SELF_TEST_GROUP != super::BUFFER_GROUP);
/// The self-test waits for the kernel's own work only, microseconds; this bounds it on a machine that is stuck.
const SELF_TEST_WAIT: Duration = Duration::from_secs(2);
/// Time for which a ring that got no memory is retried. The kernel frees the rings of a killed process some time after
/// the process has ended, so a server that is started in its place can be refused at first.
const MEMORY_WAIT: Duration = Duration::from_secs(3);
/// Pause between two tries.
const MEMORY_RETRY: Duration = Duration::from_millis(20);

/// Setup flags of a ring, best first (io_uring_setup(2)). A kernel that does not support a flag refuses it with
/// `EINVAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `SINGLE_ISSUER`, `DEFER_TASKRUN`, `TASKRUN_FLAG`, `SUBMIT_ALL`, `NO_SQARRAY`: Linux 6.6.
    DeferredNoArray,
    /// The same without `NO_SQARRAY`: Linux 6.1.
    Deferred,
    /// `COOP_TASKRUN`, `TASKRUN_FLAG`, `SUBMIT_ALL`: Linux 5.19.
    Cooperative,
    /// No flags but the size of the completion queue.
    Plain,
}

impl Step {
    /// The whole ladder, in the order it is climbed down.
    pub(super) const LADDER: [Self; 4] = [Self::DeferredNoArray, Self::Deferred, Self::Cooperative, Self::Plain];

    fn build(self, submissions: u32, completions: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(completions);
        match self {
            Self::DeferredNoArray | Self::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            Self::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            Self::Plain => {}
        }
        if self == Self::DeferredNoArray {
            builder.setup_no_sqarray();
        }
        builder.build(submissions)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeferredNoArray => "SINGLE_ISSUER DEFER_TASKRUN TASKRUN_FLAG SUBMIT_ALL NO_SQARRAY",
            Self::Deferred => "SINGLE_ISSUER DEFER_TASKRUN TASKRUN_FLAG SUBMIT_ALL",
            Self::Cooperative => "COOP_TASKRUN TASKRUN_FLAG SUBMIT_ALL",
            Self::Plain => "no set-up flags",
        })
    }
}

/// Report of what the kernel granted; printed, it is one line for the start-up log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Step of the ladder at which rings are set up here.
    pub step: Step,
    /// Release of the running kernel, as uname(2) has it.
    pub kernel: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring on Linux {}: {}; multishot receive into provided buffers tested", self.kernel, self.step)
    }
}

/// Why this process gets no usable io_uring here; printed, it says what to change.
#[derive(Debug)]
pub enum Unavailable {
    /// `EPERM`: switched off by `kernel.io_uring_disabled` (its value, Linux 6.6) or by a seccomp filter.
    Forbidden(Option<u8>),
    /// `ENOSYS`: not built into the kernel, or hidden by a seccomp filter.
    Absent,
    /// The kernel has io_uring but not this, which the driver needs.
    Lacks(&'static str),
    /// `ENOMEM`, for longer than `MEMORY_WAIT`: the rings take more locked memory than RLIMIT_MEMLOCK lets this user
    /// have, or more than the kernel has.
    LockedMemory,
    /// Something else the kernel said.
    Refused(io::Error),
}

impl Unavailable {
    fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden(
                fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok().and_then(|text| text.trim().parse().ok()),
            ),
            Some(libc::ENOSYS) => Self::Absent,
            Some(libc::ENOMEM) => Self::LockedMemory,
            _ => Self::Refused(error),
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(Some(2)) => f.write_str(
                "io_uring is switched off on this host (kernel.io_uring_disabled = 2); \
                 `sysctl kernel.io_uring_disabled=0` allows it",
            ),
            Self::Forbidden(Some(1)) => f.write_str(
                "io_uring is kept to privileged processes on this host (kernel.io_uring_disabled = 1); put this user's \
                 group into kernel.io_uring_group, or `sysctl kernel.io_uring_disabled=0`",
            ),
            Self::Forbidden(_) => f.write_str(
                "io_uring_setup was forbidden (EPERM), most likely by a seccomp filter, as container runtimes have by \
                 default; allow io_uring_setup, io_uring_enter and io_uring_register in the profile",
            ),
            Self::LockedMemory => f.write_str(
                "its rings take more locked memory than this user may have, or the kernel is out of memory (ENOMEM); raise \
                 the limit (`ulimit -l`, LimitMEMLOCK= in systemd), or run fewer reactors",
            ),
            Self::Absent => f.write_str(
                "this kernel has no io_uring (ENOSYS): it was built without CONFIG_IO_URING, is older than 5.1, or a \
                 seccomp filter hides it",
            ),
            Self::Lacks(what) => write!(f, "this kernel's io_uring lacks {what}; Linux 6.0 or later has all it takes"),
            Self::Refused(error) => write!(f, "the kernel refused an io_uring: {error}"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl From<Unavailable> for io::Error {
    fn from(unavailable: Unavailable) -> Self {
        let kind = match &unavailable {
            Unavailable::Forbidden(_) => io::ErrorKind::PermissionDenied,
            Unavailable::Absent | Unavailable::Lacks(_) => io::ErrorKind::Unsupported,
            Unavailable::LockedMemory => io::ErrorKind::OutOfMemory,
            Unavailable::Refused(error) => error.kind(),
        };
        Self::new(kind, unavailable)
    }
}

/// Tries what [`super::UringDriver`] needs, on a ring of its own.
///
/// # Errors
/// Why the driver cannot be had here, and what to change.
pub fn probe() -> Result<Report, Unavailable> {
    let (_, step) = build(&Step::LADDER, PROBE_ENTRIES, 2 * PROBE_ENTRIES)?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Report { step, kernel: kernel.trim().to_owned() })
}

/// A ring by the first step of `ladder` that the kernel knows, its queues at least this long if the kernel's bounds
/// allow, and tested. Tried again for [`MEMORY_WAIT`] where memory is short.
pub(super) fn build(ladder: &[Step], submissions: u32, completions: u32) -> Result<(Queue, Step), Unavailable> {
    let is_short = |unavailable: &Unavailable| matches!(unavailable, Unavailable::LockedMemory);
    retry(MEMORY_WAIT, is_short, || try_build(ladder, submissions, completions))
}

/// The receive buffers of a driver, tried again as a ring is.
pub(super) fn register_buffers(queue: &Queue, group: u16, count: u16, buffer_bytes: u32) -> io::Result<BufferRing> {
    let is_short = |error: &io::Error| error.raw_os_error() == Some(libc::ENOMEM);
    retry(MEMORY_WAIT, is_short, || BufferRing::new(&queue.submitter(), group, count, buffer_bytes))
}

/// Calls `attempt` until it fails otherwise than `is_short` of memory, succeeds, or `wait` is over.
fn retry<T, E>(wait: Duration, is_short: fn(&E) -> bool, mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + wait;
    loop {
        match attempt() {
            Err(error) if is_short(&error) && Instant::now() < deadline => thread::sleep(MEMORY_RETRY),
            outcome => return outcome,
        }
    }
}

fn try_build(ladder: &[Step], submissions: u32, completions: u32) -> Result<(Queue, Step), Unavailable> {
    let mut refusal = io::Error::from_raw_os_error(libc::EINVAL);
    for &step in ladder {
        match step.build(submissions, completions) {
            Ok(uring) => {
                require_features(&uring)?;
                let mut queue = Queue::new(uring);
                self_test(&mut queue)?;
                return Ok((queue, step));
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = error,
            Err(error) => return Err(Unavailable::from_setup(error)),
        }
    }
    Err(Unavailable::Refused(refusal))
}

fn require_features(uring: &IoUring) -> Result<(), Unavailable> {
    let mut opcodes = Probe::new();
    uring.submitter().register_probe(&mut opcodes).map_err(|_| Unavailable::Lacks("IORING_REGISTER_PROBE (5.6)"))?;
    let features = [
        (uring.params().is_feature_nodrop(), "IORING_FEAT_NODROP (5.5)"),
        (uring.params().is_feature_fast_poll(), "IORING_FEAT_FAST_POLL (5.7)"),
        (uring.params().is_feature_ext_arg(), "IORING_FEAT_EXT_ARG (5.11)"),
        (opcodes.is_supported(opcode::Accept::CODE), "IORING_OP_ACCEPT (5.5)"),
        (opcodes.is_supported(opcode::AsyncCancel::CODE), "IORING_OP_ASYNC_CANCEL (5.5)"),
        (opcodes.is_supported(opcode::Connect::CODE), "IORING_OP_CONNECT (5.5)"),
        (opcodes.is_supported(opcode::PollAdd::CODE), "IORING_OP_POLL_ADD (5.1)"),
        (opcodes.is_supported(opcode::Recv::CODE), "IORING_OP_RECV (5.6)"),
        (opcodes.is_supported(opcode::Send::CODE), "IORING_OP_SEND (5.6)"),
    ];
    features.iter().find(|(present, _)| !present).map_or(Ok(()), |(_, name)| Err(Unavailable::Lacks(name)))
}

/// Receives one byte over a socket pair by a multishot receive: the completion must promise more. A kernel without the
/// feature ignores the flag in silence, and the opcode probe cannot detect it. Multishot receive (6.0) implies
/// multishot accept (5.19). Leaves nothing in flight and the queues empty.
fn self_test(queue: &mut Queue) -> Result<(), Unavailable> {
    let mut buffers =
        BufferRing::new(&queue.submitter(), SELF_TEST_GROUP, 2, 64).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOMEM) => Unavailable::LockedMemory,
            _ => Unavailable::Lacks("provided-buffer rings (5.19)"),
        })?;
    match multishot_receive(queue, &buffers) {
        Ok(true) if queue.submitter().unregister_buf_ring(SELF_TEST_GROUP).is_ok() => Ok(()),
        outcome => {
            // Still registered: the kernel may yet write to them.
            buffers.leak();
            Err(outcome.map_or_else(Unavailable::Refused, |_| Unavailable::Lacks("multishot receive (6.0)")))
        }
    }
}

/// Returns true if a multishot receive delivered a byte in a provided buffer and stayed armed.
fn multishot_receive(queue: &mut Queue, buffers: &BufferRing) -> io::Result<bool> {
    let (near, mut far) = UnixStream::pair()?;
    far.write_all(b"?")?;
    let receive = opcode::RecvMulti::new(types::Fd(near.as_raw_fd()), SELF_TEST_GROUP).build();
    // SAFETY: no memory is named. The buffers stay mapped: the caller unmaps them only after this has seen the
    // receive's last completion.
    unsafe { queue.push(&receive.user_data(pack_own(Op::Receive))) };
    let mut last = await_completion(queue)?;
    let received = last.result() == 1
        && cqueue::more(last.flags())
        && cqueue::buffer_select(last.flags()).is_some_and(|buffer| buffers.bytes(buffer, 1) == b"?");
    // The end of file ends the receive.
    drop(far);
    while cqueue::more(last.flags()) {
        last = await_completion(queue)?;
    }
    Ok(received)
}

fn await_completion(queue: &mut Queue) -> io::Result<cqueue::Entry> {
    let deadline = Instant::now() + SELF_TEST_WAIT;
    let mut completions = Vec::with_capacity(1);
    loop {
        queue.take(&mut completions, 1)?;
        if let Some(completion) = completions.pop() {
            return Ok(completion);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        queue.enter(Some(left))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_that_the_kernel_grants_passes_the_self_test() {
        // Linux 6.0, the oldest that the driver runs on, grants the last two.
        for step in [Step::Cooperative, Step::Plain] {
            let (mut queue, built) = build(&[step], 8, 16).unwrap();
            assert_eq!(built, step);
            assert!(queue.is_drained());
        }
    }

    #[test]
    fn a_step_the_kernel_refuses_gives_way_to_the_next() {
        // More completions than entries are requested: fewer is EINVAL on every step.
        let refused = build(&Step::LADDER, 16, 8).map(|_| ()).unwrap_err();
        assert!(matches!(&refused, Unavailable::Refused(error) if error.raw_os_error() == Some(libc::EINVAL)));
        let report = probe().unwrap();
        assert!(report.to_string().contains(&report.kernel), "{report}");
    }

    #[test]
    fn short_memory_is_tried_again_and_nothing_else_is() {
        let refusals = [Unavailable::LockedMemory, Unavailable::LockedMemory, Unavailable::Absent];
        let is_short = |unavailable: &Unavailable| matches!(unavailable, Unavailable::LockedMemory);
        let mut refusals = refusals.into_iter();
        let last = retry(Duration::from_secs(600), is_short, || Err::<(), _>(refusals.next().unwrap()));
        assert!(matches!(last, Err(Unavailable::Absent)));
        let mut tries = 0;
        let short = retry(Duration::ZERO, is_short, || {
            tries += 1;
            Err::<(), _>(Unavailable::LockedMemory)
        });
        assert!(matches!((short, tries), (Err(Unavailable::LockedMemory), 1)));
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        for (reason, advice) in [
            (Unavailable::Forbidden(Some(2)), "sysctl kernel.io_uring_disabled=0"),
            (Unavailable::Forbidden(Some(1)), "kernel.io_uring_group"),
            (Unavailable::Forbidden(Some(0)), "seccomp"),
            (Unavailable::Forbidden(None), "seccomp"),
            (Unavailable::Absent, "CONFIG_IO_URING"),
            (Unavailable::Lacks("multishot receive (6.0)"), "Linux 6.0"),
        ] {
            let text = reason.to_string();
            assert!(text.contains(advice), "{text}");
        }
        let error: io::Error = Unavailable::Forbidden(None).into();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}

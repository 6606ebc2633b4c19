//! The two queues shared with the kernel. Promises that no submission is lost, whether or not the submission queue is
//! full, and that one `io_uring_enter` a turn both submits and waits. Knows nothing of connections.
#![expect(unsafe_code, reason = "submissions name memory that the kernel will read")]

use io_uring::{EnterFlags, IoUring, Submitter, cqueue, squeue, types};
use std::{collections::VecDeque, io, time::Duration};

/// Longest wait that is requested of the kernel, 136 years; a signed 64-bit count of seconds cannot overflow with it.
const WAIT_MAX: Duration = Duration::from_secs(u32::MAX as u64);

pub(super) struct Queue {
    uring: IoUring,
    /// Submissions that found the queue full and the kernel unwilling, oldest first. Bounded by what connections can
    /// have in flight: six operations each, and a handful of the driver's own.
    deferred: VecDeque<squeue::Entry>,
    /// Calls of `enter` so far.
    enters: u64,
}

impl Queue {
    pub(super) fn new(uring: IoUring) -> Self {
        Self { uring, deferred: VecDeque::new(), enters: 0 }
    }

    pub(super) const fn enters(&self) -> u64 {
        self.enters
    }

    pub(super) fn submitter(&self) -> Submitter<'_> {
        self.uring.submitter()
    }

    /// Queues `entry`; the kernel sees it at the next `enter`, or earlier if the queue fills up.
    ///
    /// # Safety
    /// The memory and the descriptor that `entry` names stay valid until its last completion has been taken.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        if self.deferred.is_empty() && unsafe { self.uring.submission().push(entry) }.is_ok() {
            return;
        }
        self.deferred.push_back(entry.clone());
        self.flush_full();
    }

    /// Hands a full queue to the kernel, without waiting, and moves up what is deferred. What the kernel does not take
    /// now (EBUSY, EAGAIN, EINTR) stays queued for the next `enter`, which reports what is wrong if that fails, too.
    #[cold]
    fn flush_full(&mut self) {
        // Without GETEVENTS: completions are for `enter` to collect.
        let to_submit = self.submissions();
        // SAFETY: no argument is passed; what the queue holds was promised to be valid when it was pushed.
        let _ = unsafe { self.uring.submitter().enter::<libc::sigset_t>(to_submit, 0, 0, None) };
        self.refill();
    }

    fn refill(&mut self) {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.deferred.front() {
            // SAFETY: promised by whoever pushed the entry.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.deferred.pop_front();
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 32,768, the kernel's bound of the queue")]
    fn submissions(&mut self) -> u32 {
        self.uring.submission().len() as u32
    }

    /// Submits all that is queued, runs the kernel's deferred work, and waits for a completion: until `timeout` has
    /// passed, or for ever if `None`. Zero does not wait.
    ///
    /// # Errors
    /// The ring is unusable. `EBADR`: the kernel had no memory to hold back a completion and lost it (Linux 5.19).
    pub(super) fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.enters += 1;
        if !self.deferred.is_empty() {
            self.refill();
        }
        let to_submit = self.submissions();
        let wait = timeout != Some(Duration::ZERO) && self.deferred.is_empty();
        let timespec = types::Timespec::from(timeout.unwrap_or_default().min(WAIT_MAX));
        let mut args = types::SubmitArgs::new();
        if wait && timeout.is_some() {
            args = args.timespec(&timespec);
        }
        // GETEVENTS without a wait, too: under DEFER_TASKRUN nothing else runs the deferred work (io_uring_setup(2),
        // 6.1).
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: `args` and `timespec` outlive the call; EXT_ARG is what `SubmitArgs` is laid out for (5.11). What the
        // queue holds was promised to be valid when it was pushed.
        let entered = unsafe { self.uring.submitter().enter(to_submit, u32::from(wait), flags.bits(), Some(&args)) };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up; a signal came; completions or memory must be freed first. Nothing was lost.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves up to `limit` completions to the end of `into`. Once completions have been held back for lack of space,
    /// all of the queue is taken whatever the limit, and what was held back with it: at most two queues' worth. How
    /// many were held back, at least.
    ///
    /// # Errors
    /// As `enter`.
    pub(super) fn take(&mut self, into: &mut Vec<cqueue::Entry>, limit: usize) -> io::Result<usize> {
        self.take_posted(into, limit);
        if !self.overflowed() {
            return Ok(0);
        }
        // The kernel moves what it holds back into the queue when it is entered, as far as there is space.
        self.take_posted(into, usize::MAX);
        let in_order = into.len();
        self.enter(Some(Duration::ZERO))?;
        self.take_posted(into, usize::MAX);
        Ok(into.len() - in_order)
    }

    /// Moves up to `limit` posted completions to the end of `into`.
    fn take_posted(&mut self, into: &mut Vec<cqueue::Entry>, limit: usize) {
        let mut posted = self.uring.completion();
        let count = posted.len().min(limit);
        into.reserve(count);
        let filled = posted.fill(&mut into.spare_capacity_mut()[..count]).len();
        // SAFETY: `fill` has written so many entries behind the last.
        unsafe { into.set_len(into.len() + filled) };
    }

    /// Returns true if the kernel holds completions back because the completion queue is, or was, full.
    fn overflowed(&mut self) -> bool {
        self.uring.submission().cq_overflow()
    }

    /// Returns true if every completion that the kernel has posted has been taken.
    pub(super) fn is_drained(&mut self) -> bool {
        self.uring.completion().is_empty() && !self.overflowed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::opcode;

    fn push_nops(queue: &mut Queue, numbers: std::ops::Range<u64>) {
        for number in numbers {
            // SAFETY: no memory is named.
            unsafe { queue.push(&opcode::Nop::new().build().user_data(number)) };
        }
    }

    #[test]
    fn more_submissions_than_the_queue_holds_complete_each_once_and_in_order() {
        let mut queue = Queue::new(IoUring::builder().setup_cqsize(256).build(4).unwrap());
        push_nops(&mut queue, 0..100);
        let mut taken = Vec::new();
        while taken.len() < 100 {
            queue.enter(None).unwrap();
            assert_eq!(queue.take(&mut taken, 7).unwrap(), 0);
        }
        assert!(taken.iter().map(cqueue::Entry::user_data).eq(0..100));
    }

    #[test]
    fn completions_that_the_kernel_held_back_are_taken_and_counted() {
        let mut queue = Queue::new(IoUring::builder().setup_cqsize(8).build(4).unwrap());
        push_nops(&mut queue, 0..30);
        let mut taken = Vec::new();
        let mut held_back = 0;
        while taken.len() < 30 {
            queue.enter(None).unwrap();
            held_back += queue.take(&mut taken, 2).unwrap();
        }
        assert!(held_back >= 8, "{held_back}");
        assert!(taken.iter().map(cqueue::Entry::user_data).eq(0..30));
        assert!(queue.is_drained());
    }
}

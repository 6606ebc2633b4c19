//! The bounds of the log: the unit and the reason of each, and where several must fit together, the assertion.

use std::time::Duration;

/// One kibibyte.
const KIB: usize = 1024;
/// One mebibyte.
const MIB: usize = 1024 * KIB;

/// Rings gathered into one `writev(2)`: two pieces each, as a ring's bytes may wrap around its end.
pub const RINGS_PER_GATHER_MAX: usize = 64;
/// The kernel's bound of pieces in one `writev(2)` (`IOV_MAX`, limits.h(0p); UIO_MAXIOV on Linux).
pub const GATHER_PIECES_KERNEL_MAX: usize = 1024;
const _: () = assert!(2 * RINGS_PER_GATHER_MAX <= GATHER_PIECES_KERNEL_MAX);
/// Bytes of lines that a reactor leaves unpublished within a turn, at most one batch more. Measured with the writer on
/// the reactor's core, CPU of a request over that with one publication a turn, medians of the ratios within 9 rounds:
///
/// | scrapes | 512 KiB | 1 MiB | 2 MiB |
/// |---|---|---|---|
/// | remote write 1.0, 2,000 samples | 0.60 | 0.58 | 0.60 |
/// | line protocol, 2,000 samples | 0.73 | 0.72 | 0.83 |
/// | JSON, 1,000 metrics | 0.97 | 1.00 | 1.02 |
///
/// 64, 128 and 256 KiB are as good for the first two (0.61 to 0.62, 0.83 to 0.87 beside 0.59 and 0.81 with 512 KiB in
/// the same run) and worse for JSON (1.13, 1.21, 1.03).
pub const UNPUBLISHED_BYTES_MAX: u64 = MIB as u64;
/// Publications before the end of one turn, at most: of more lines than come of the content of a turn.
pub const EARLY_PUBLICATIONS_MAX: usize = 15;
/// Extents of a ring that the reactor has not taken yet. It takes them once a turn, and each gathering takes all that
/// is published: from one turn of it to the next there are as many gatherings as the last turn and this one have
/// publications, at most. One more may be in a slot whose head is not moved yet.
pub const EXTENTS_MAX: usize = 40;
const _: () = assert!(EXTENTS_MAX > 2 * (EARLY_PUBLICATIONS_MAX + 1));
/// Bytes of the active segment for which blocks are allocated before they are written (`preallocation`), at most; they
/// are also the most that a segment takes up besides its length. Measured on ext4, a GiB by 256 KiB: 0.37 s of CPU
/// without, and 0.34, 0.31, 0.28, 0.27 and 0.27 s in steps of 256 KiB, 1, 4, 16 and 64 MiB.
pub const PREALLOCATED_BYTES_MAX: u64 = 16 * MIB as u64;
/// Least length of a segment that is allocated any.
pub const PREALLOCATED_BYTES_MIN: u64 = MIB as u64;
/// Time for which the writer polls its rings before it sleeps, by default. Waking it costs 26 to 35 us and 6.5 to 11.5
/// us of the waker's time, so polling pays only while the next lines are about to come. Measured with the writer on a
/// core it shares with the load (64 connections, two rounds): 0 us 6.4 and 6.3 us of CPU a request, 10 us 6.4 and 6.5,
/// 50 us 7.8 and 7.5.
pub const WRITER_POLL_DEFAULT: Duration = Duration::from_micros(10);
/// First wait before a write is retried on a full disk; it doubles up to [`STALL_RETRY_MS_MAX`].
pub const STALL_RETRY_MS_FIRST: u64 = 100;
/// Longest wait before a write is retried on a full disk: the time in which the server detects that there is space.
pub const STALL_RETRY_MS_MAX: u64 = 1_000;
/// Time for which a draining server waits for space on a full disk before it aborts and reports what was lost.
pub const STALL_MS_AT_DRAIN_MAX: u64 = 5_000;
/// Least value of `--rotate-age` and `--retain-age`.
pub const ROTATE_AGE_MIN: Duration = Duration::from_secs(1);
/// Time for which a segment that could not be sealed is continued before sealing it is retried.
pub const ROTATE_RETRY_MS: u64 = 10_000;
/// Names tried for a segment that is sealed: those after the newest one's, some of which other files may have.
pub const SEAL_NAMES_MAX: usize = 64;
/// Names tried for the next segment while it is made, where foreign files have the first ones.
pub const NEXT_NAMES_MAX: usize = 8;
/// Tries to lock the data directory, which `verify` or `doctor` may lock for a moment to check it; [`LOCK_TRY_MS`] lie
/// between two of them.
pub const LOCK_TRIES_MAX: u32 = 10;
/// Time between two tries, see [`LOCK_TRIES_MAX`].
pub const LOCK_TRY_MS: u64 = 10;
/// Time between two checks that the data directory, its lock and the active segment are still in place: three stat(2).
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Largest step between the wall clock and the monotonic one from one look to the next that does not count as a change
/// of the wall clock, in milliseconds; also, how far in the future a time on the disk may be before the clock that
/// wrote it counts as wrong. NTP slews by 0.5 ms a second, and steps what is off by more than 128 ms; a leap second is
/// one.
pub const CLOCK_STEP_MS_MAX: i64 = 60_000;
/// Largest difference between the moment of the boot by the wall clock and the recorded one in the same boot. It is
/// exact to the microsecond until the clock is stepped; two boots that begin at the same moment of an unset clock
/// differ by more.
pub const BOOT_MOMENT_TOLERANCE: Duration = Duration::from_millis(50);
/// Earliest credible boot, 2020-01-01T00:00:00Z: earlier ones were under a wall clock that was never set.
pub const BOOT_MOMENT_EARLIEST_NS: u64 = 1_577_836_800_000_000_000;
/// Time between two checks of the writer that its state file is still in place, while it writes: two system calls.
pub const STATE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Wait before the writer retries to replace a lost state file.
pub const STATE_REPAIR_RETRY: Duration = Duration::from_secs(10);
/// Bytes read at a time when the end of the log is searched for its last whole line.
pub const TAIL_BLOCK_BYTES: usize = 64 * KIB;
/// Names tried for the file that keeps what recovery cuts off: one a second is taken, unless recovery itself is
/// interrupted again and again.
pub const SET_ASIDE_NAMES_MAX: u32 = 100;
/// Bytes of one block of a sealed segment, at most, unless a single line is longer: as many whole lines as fit. The
/// unit that a reader skips or decodes, and the content of one frame of a compressed segment.
pub const BLOCK_BYTES: usize = MIB;
/// Bytes of one line with its line feed: a body at its cap can be one metric, which gains 65 bytes at most
/// (`metric::encode`). Longer data without a line feed is foreign, and no reader has to allocate memory for it.
pub const LINE_BYTES_MAX: usize = 64 * MIB + 65;
/// Bytes of a block, at most: those of one line where it is longer than [`BLOCK_BYTES`].
pub const BLOCK_BYTES_MAX: u64 = LINE_BYTES_MAX as u64;
const _: () = assert!(LINE_BYTES_MAX >= BLOCK_BYTES);
/// Bytes of a block's frame, at most. Incompressible data grows by 1/256 in zstd (`ZSTD_COMPRESSBOUND`).
pub const FRAME_BYTES_MAX: u64 = BLOCK_BYTES_MAX + BLOCK_BYTES_MAX / 128;
/// Names that a segment's sidecar lists. With more, a reader has to read every block.
pub const SEGMENT_NAMES_MAX: usize = 65_536;
/// Bytes of those names. 64 each is more than twice what exporters use.
pub const SEGMENT_NAMES_BYTES_MAX: usize = 64 * SEGMENT_NAMES_MAX;
/// Names that a sidecar lists for one block; a block has about 7,000 lines. 1,024 indices are 6 KiB, 0.6 % of the
/// block.
pub const BLOCK_NAMES_MAX: usize = 1_024;
/// Bytes of a sidecar. With 1,024 names in every block it is that of a segment of 40 GiB.
pub const SIDECAR_BYTES_MAX: usize = 256 * MIB;
/// zstd's level for sealed segments. Lines of metrics shrink to about a twentieth; a higher level gains little.
pub const SEGMENT_ZSTD_LEVEL: i32 = 3;
/// Bytes of a compressed segment that are written before they are synced: the amount that the disk has to write at once
/// beside the log, and that a stop may have to wait for.
pub const SEGMENT_SYNC_BYTES: u64 = 8 * MIB as u64;
/// Time between two rounds of maintenance over the directory when nothing is sealed: the delay of retention by age, and
/// of the retry of what has failed.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
/// Nice value of the maintenance thread (nice(2): 19 is the most). At 10 it gets about a tenth of the time of the
/// serving threads where they compete for a core.
pub const MAINTENANCE_NICE: i32 = 10;
/// Least time between two warnings of one kind on one core, in nanoseconds: untrusted clients must not be able to fill
/// the operator's log.
pub const WARNING_INTERVAL_NS: u64 = 1_000_000_000;
/// log2 of the bytes that the window of a compressed segment's frame may require. 8 MiB, over the largest that
/// [`SEGMENT_ZSTD_LEVEL`] produces.
pub const SEGMENT_ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Attempts of a reader by position to list the segments while rotations come between.
pub const FOLLOW_TRIES_MAX: usize = 100;
/// Per cent of a disk that have to be free for segments to be held for readers such as forwards: ingestion needs them
/// sooner than they do.
pub const HOLD_FREE_PERCENT: u64 = 5;
/// Bytes of these, at most: some segments of the default size.
pub const HOLD_FREE_BYTES_MAX: u64 = 4 * 1024 * MIB as u64;

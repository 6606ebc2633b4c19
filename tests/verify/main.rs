//! `metricstream verify` on logs that are damaged on purpose, in each of the ways that disks and crashes and people
//! damage them, and what `--repair` makes of them.
//!
//! The map: `log` makes logs, plain and compressed, active and sealed; `finds` holds what is found against what was
//! done; `repairs` holds every byte against where it was; `random` does both at random places, `damaged` to whole
//! directories, which are queried and served too; `command` runs the binary.
#![expect(
    clippy::unwrap_used,
    reason = "in the server unwrap() lets an untrusted client stop it; here it is an assertion"
)]
#![expect(clippy::cast_possible_truncation, reason = "offsets in logs of a few megabytes")]

mod command;
mod damaged;
mod finds;
mod log;
mod random;
mod repairs;

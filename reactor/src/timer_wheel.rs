//! (room: timer wheel)

/// One deadline per slot, hashed.
#[derive(Debug)]
pub struct TimerWheel;

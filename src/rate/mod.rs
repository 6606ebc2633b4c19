//! (room: rate)

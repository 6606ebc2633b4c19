//! (room: http)

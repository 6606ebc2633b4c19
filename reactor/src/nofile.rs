//! The bound on open descriptors. Raised to what this process may have, since a load takes one a connection.
#![expect(unsafe_code, reason = "getrlimit(2) and setrlimit(2) have no safe wrapper in the standard library")]

use std::io;

/// Raises the soft limit of open descriptors to the hard one, and returns the limit that is then in force.
///
/// # Errors
/// setrlimit(2) or getrlimit(2) failed.
pub fn raise() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit of this function's, and the call writes nothing else.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live, initialised rlimit of this function's; the call only reads it.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

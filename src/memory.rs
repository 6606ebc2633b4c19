//! Memory that is free in this process and still resident: the allocator keeps it for the next allocation.
#![expect(unsafe_code, reason = "malloc_trim(3) has no safe form")]

/// Gives the pages that are free in the allocator's arenas back to the kernel. An arena gives back only what is free at
/// its end by itself, so one connection that stays open behind a flood would keep all of the flood's memory resident.
/// Takes some tenths of a millisecond.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer, may be called by any thread at any time, and touches only memory that
    // nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}

//! A file that may not grow (RLIMIT_FSIZE: SIGXFSZ and EFBIG, write(2)) stands for a disk that is full: 503 while it
//! lasts, nothing acknowledged is lost, and the server goes on by itself when there is space again.
//! `scripts/full_disk.sh` does the same with a real file system and ENOSPC.

use crate::{
    crash::{assert_sound, subject},
    on_both_drivers,
    server::Driver,
};
use torture::{
    Level,
    full_disk::{self, Disk},
};

/// Full and free again, full at a kill, full at a stop; at each level.
fn nothing_acknowledged_is_lost(driver: Driver) {
    let levels = Level::ALL.map(|level| {
        std::thread::spawn(move || {
            let (subject, _guard) = subject(driver, level);
            assert_sound(&full_disk::run(&subject, &Disk::Limited).unwrap());
        })
    });
    for level in levels {
        level.join().unwrap();
    }
}

on_both_drivers!(nothing_acknowledged_is_lost);

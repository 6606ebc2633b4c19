//! A disk that fails for good, by way of a library between the server and libc: each fault on each driver, at a level
//! of its own. `scripts/failing_disk.sh` tries every fault at every level.

use crate::{
    crash::{assert_sound, shim, subject},
    on_both_drivers,
    server::Driver,
};
use torture::{
    Level,
    failing_disk::{self, Fault},
};

fn what_was_acknowledged_outlives_the_disk(driver: Driver) {
    let directory = tempfile::TempDir::new().unwrap();
    let Some(shim) = shim(&directory) else { return };
    for (fault, level) in Fault::ALL.into_iter().zip(Level::ALL.into_iter().cycle()) {
        let (subject, _guard) = subject(driver, level);
        println!("{}", fault.name());
        assert_sound(&failing_disk::run(&subject, &shim, fault).unwrap());
    }
}

on_both_drivers!(what_was_acknowledged_outlives_the_disk);

use super::*;
use proptest::prelude::*;
use std::fs::OpenOptions;
use tempfile::TempDir;

fn state() -> State {
    let id = Some("5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21".to_owned());
    State {
        standing: Standing::Sound,
        boot: Boot { id, began_ns: 1_767_323_045_678_000_000, uptime_ns: 86_400_000_000_000 },
        device: 2049,
        inode: u64::MAX,
        committed_bytes: 0,
        clean: false,
        unclean_shutdowns: 3,
    }
}

/// The state file in a directory of its own, as a server has it open.
fn open_state() -> (TempDir, StateFile) {
    let directory = tempfile::tempdir().unwrap();
    let file = File::create_new(directory.path().join(STATE_NAME)).unwrap();
    let state_file = StateFile::create(directory.path(), file, &state()).unwrap();
    (directory, state_file)
}

fn read(directory: &TempDir) -> Option<State> {
    State::parse(&fs::read_to_string(directory.path().join(STATE_NAME)).ok()?)
}

/// Makes the next check due, as after a long time without one.
fn make_due(state_file: &StateFile) {
    state_file.held().look_at_ns = 0;
}

#[test]
fn what_is_rewritten_in_place_is_read_back() {
    let (directory, state_file) = open_state();
    assert_eq!(read(&directory), Some(state()));
    for (device, inode) in [(2049, u64::MAX), (7, 8)] {
        state_file.begin(device, inode);
        for committed_bytes in [0, 1, 4096, u64::MAX] {
            state_file.record(committed_bytes).unwrap();
            let read = read(&directory).unwrap();
            let boot = Boot { uptime_ns: read.boot.uptime_ns, ..state().boot };
            assert_eq!(read, State { boot, device, inode, committed_bytes, ..state() });
        }
    }
    // The moment of the boot is that of the clock, once it is checked.
    make_due(&state_file);
    state_file.record(9).unwrap();
    assert!(read(&directory).unwrap().boot.began_ns.abs_diff(Boot::now().began_ns) < 1_000_000_000);
    state_file.mark_clean().unwrap();
    let read = read(&directory).unwrap();
    assert!(read.clean && read.standing == Standing::Sound && read.committed_bytes == 9);
    assert_eq!(state_file.repairs(), 0);
}

#[test]
fn a_lost_state_file_is_made_again_and_counted() {
    type Loss = fn(&Path);
    let losses: [(&str, Loss); 5] = [
        ("deleted", |path| fs::remove_file(path).unwrap()),
        ("cut off", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(7).unwrap()),
        ("emptied", |path| drop(File::create(path).unwrap())),
        ("added to", |path| fs::write(path, [&fs::read(path).unwrap()[..], b"x"].concat()).unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::write(path, "another").unwrap();
        }),
    ];
    for (what, lose) in losses {
        for is_stop in [false, true] {
            let (directory, state_file) = open_state();
            state_file.record(1).unwrap();
            lose(&directory.path().join(STATE_NAME));
            make_due(&state_file);
            if is_stop { state_file.mark_clean() } else { state_file.record(2) }.unwrap();
            let read = read(&directory).unwrap();
            assert_eq!((read.standing, read.clean), (Standing::Sound, is_stop), "{what}");
            assert_eq!((read.committed_bytes, state_file.repairs()), (2 - u64::from(is_stop), 1), "{what}");
            // Recording continues in the restored file.
            state_file.record(3).unwrap();
            assert_eq!(self::read(&directory).unwrap().committed_bytes, 3, "{what}");
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "{what}");
        }
    }
}

#[test]
fn a_state_file_that_cannot_be_made_again_stops_nothing() {
    let (directory, state_file) = open_state();
    let moved = directory.path().with_extension("moved");
    fs::rename(directory.path(), &moved).unwrap();
    let record = |committed_bytes| {
        make_due(&state_file);
        state_file.record(committed_bytes).unwrap();
        (read(&directory).map(|state| state.committed_bytes), state_file.repairs())
    };
    assert_eq!(record(5), (None, 0));
    // Nothing is put into another directory of that name.
    fs::create_dir(directory.path()).unwrap();
    assert_eq!(record(6), (None, 0));
    // A later record restores the file.
    fs::remove_dir(directory.path()).unwrap();
    fs::rename(&moved, directory.path()).unwrap();
    fs::remove_file(directory.path().join(STATE_NAME)).unwrap();
    assert_eq!(record(7), (Some(7), 1));
}

#[test]
fn only_a_sound_state_of_this_boot_is_about_a_file() {
    let log = tempfile::tempfile().unwrap();
    let metadata = log.metadata().unwrap();
    let boot = Boot::now();
    let ours = State { boot: boot.clone(), device: metadata.dev(), inode: metadata.ino(), ..state() };
    assert_eq!(ours.is_about(&log, &Boot::now()).unwrap(), boot.id.is_some());
    for other in [
        State { standing: Standing::Damaged, ..ours.clone() },
        State { standing: Standing::Unchecked, ..ours.clone() },
        State { inode: ours.inode + 1, ..ours.clone() },
        State { device: ours.device + 1, ..ours.clone() },
        State { boot: Boot { id: None, ..boot.clone() }, ..ours.clone() },
        State { boot: state().boot, ..ours.clone() },
    ] {
        assert!(!other.is_about(&log, &Boot::now()).unwrap(), "{other:?}");
    }
}

#[test]
fn a_state_of_the_version_before_is_read_and_proves_nothing() {
    let old = format!(
        "metricstream state 1\nboot_id 5b3c7a52-9a9c-4a2e-8f4e-1d0c8a6b7e21\ndevice {:020}\ninode {:020}\n\
         committed_bytes {:020}\nclean 1\nunclean_shutdowns {:020}\n",
        1, 2, 3, 4
    );
    let read = State::parse(&old).unwrap();
    assert_eq!((read.standing, read.clean, read.unclean_shutdowns), (Standing::Unchecked, true, 4));
    assert_eq!(State::parse(&old.replace("clean 1", "clean 2")), None);
}

#[test]
fn a_garbled_state_is_none() {
    let text = state().to_text();
    for length in 0..text.len() {
        assert_eq!(State::parse(&text[..length]), None, "cut to {length} bytes");
    }
    assert_eq!(State::parse(&format!("{text}\n")), None);
    assert_eq!(State::parse(&text.replace("clean 0", "clean 2")), None);
    assert_eq!(State::parse(&text.replace("state 2", "state 3")), None);
    assert_eq!(State::parse(&text.replace("00002049", "+0002049")), None);
    assert_eq!(State::parse(&text.replace("00002049", "2049")), None);
}

#[test]
fn no_flipped_bit_leaves_a_state_that_proves_something() {
    let text = state().to_text().into_bytes();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut flipped = text.clone();
            flipped[at] ^= 1 << bit;
            let read = std::str::from_utf8(&flipped).ok().and_then(State::parse);
            assert!(read.is_none_or(|state| state.standing == Standing::Damaged), "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_a_state_or_none(text in any::<String>(), at in any::<prop::sample::Index>(), added in ".{0,3}") {
        prop_assert_eq!(State::parse(&text), None);
        let written = state().to_text();
        let at = at.index(written.len());
        let changed = [&written[..at], &added, &written[at..]].concat();
        prop_assert!(added.is_empty() || State::parse(&changed).is_none_or(|state| state.standing != Standing::Sound));
    }
}

//! The disk as programs see it, and what is left of it after a loss of power.

use super::*;
use crate::random::Random;

fn open(disk: &mut Disk, path: &str) -> u64 {
    let how = How { read: true, append: true, create: true, mode: 0o640, ..How::default() };
    disk.open(Path::new(path), how, 0).unwrap()
}

fn contents(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    disk.contents(Path::new(path)).ok().map(<[u8]>::to_vec)
}

fn sync(disk: &mut Disk, path: &str) {
    let id = disk.open(Path::new(path), How { read: true, ..How::default() }, 0).unwrap();
    let sync = disk.begin_sync(id).unwrap();
    disk.finish_sync(sync);
    disk.close(id);
}

/// The disks left by each of many losses of power, after the same calls.
fn after_losses(prepare: impl Fn(&mut Disk)) -> Vec<Disk> {
    let lose = |seed| {
        let mut disk = Disk::default();
        prepare(&mut disk);
        disk.cut_power(&mut Random::new(seed));
        disk
    };
    (0..300).map(lose).collect()
}

#[test]
fn an_appended_file_is_read_back_and_has_a_length() {
    let mut disk = Disk::default();
    let file = open(&mut disk, "/a");
    disk.write(file, None, b"one", 1).unwrap();
    disk.write(file, Some(0), b"two", 2).unwrap();
    assert_eq!(contents(&disk, "/a").unwrap(), b"onetwo", "a file opened to append is appended to");
    let stat = disk.stat(disk.inode_of(file).unwrap()).unwrap();
    assert_eq!((stat.bytes, stat.links, stat.modified_ns), (6, 1, 2));
    disk.unlink(Path::new("/a")).unwrap();
    assert_eq!(disk.stat(disk.inode_of(file).unwrap()).unwrap().links, 0);
    let mut buffer = [0; 4];
    assert_eq!(disk.read(file, Some(2), &mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"etwo", "it is open, and so it is there");
}

#[test]
fn synced_contents_and_names_survive_every_power_loss() {
    for disk in after_losses(|disk| {
        let file = open(disk, "/a");
        disk.write(file, None, &[1; 10_000], 0).unwrap();
        sync(disk, "/a");
        sync(disk, "/");
        disk.write(file, None, &[2; 10_000], 0).unwrap();
    }) {
        let left = contents(&disk, "/a").unwrap();
        assert!((10_000..=20_000).contains(&left.len()));
        assert_eq!(left[..10_000], [1; 10_000]);
    }
}

#[test]
fn unsynced_pages_survive_in_any_subset_torn_between_sectors() {
    let mut kept = BTreeSet::new();
    for disk in after_losses(|disk| {
        let file = open(disk, "/a");
        sync(disk, "/");
        disk.write(file, None, &[1; 3 * PAGE_BYTES], 0).unwrap();
    }) {
        let left = contents(&disk, "/a").unwrap();
        assert!(left.chunks(512).all(|sector| sector.iter().all(|byte| byte == &sector[0])));
        let pages: Vec<_> = left.chunks(PAGE_BYTES).map(|page| page.iter().all(|&byte| byte == 1)).collect();
        kept.insert(pages);
    }
    for pages in [&[][..], &[true, true, true], &[true], &[false, false, true], &[true, false, true]] {
        assert!(kept.contains(pages), "{pages:?} of {kept:?}");
    }
}

#[test]
fn a_name_that_was_not_synced_may_be_lost_with_its_file() {
    let disks = after_losses(|disk| {
        let file = open(disk, "/a");
        disk.write(file, None, b"lines", 0).unwrap();
        sync(disk, "/a");
    });
    assert!(disks.iter().any(|disk| contents(disk, "/a").is_none()));
    assert!(disks.iter().any(|disk| contents(disk, "/a").is_some_and(|left| left == b"lines")));
}

#[test]
fn changes_of_one_name_are_durable_in_their_order() {
    let disks = after_losses(|disk| {
        for (path, bytes) in [("/active", b"old"), ("/next", b"new")] {
            let file = open(disk, path);
            disk.write(file, None, bytes, 0).unwrap();
            sync(disk, path);
        }
        sync(disk, "/");
        disk.rename(Path::new("/active"), Path::new("/sealed"), false).unwrap();
        disk.rename(Path::new("/next"), Path::new("/active"), false).unwrap();
        assert_eq!(
            disk.rename(Path::new("/sealed"), Path::new("/active"), false).unwrap_err().raw_os_error(),
            Some(libc::EEXIST)
        );
    });
    for disk in &disks {
        let [active, sealed] = ["/active", "/sealed"].map(|path| contents(disk, path));
        let is_old = active.as_deref() == Some(b"old") && sealed.is_none();
        assert!(is_old || sealed.as_deref() == Some(b"old"), "the old file is never without a name");
    }
}

#[test]
fn a_sync_covers_what_was_there_when_it_began() {
    for disk in after_losses(|disk| {
        let file = open(disk, "/a");
        sync(disk, "/");
        disk.write(file, None, &[1; PAGE_BYTES], 0).unwrap();
        let first = disk.begin_sync(file).unwrap();
        disk.write(file, None, &[2; PAGE_BYTES], 0).unwrap();
        let second = disk.begin_sync(file).unwrap();
        disk.finish_sync(second);
        disk.finish_sync(first);
    }) {
        assert_eq!(contents(&disk, "/a").unwrap(), [[1; PAGE_BYTES], [2; PAGE_BYTES]].concat());
    }
    let disks = after_losses(|disk| {
        let file = open(disk, "/a");
        sync(disk, "/");
        let sync = disk.begin_sync(file).unwrap();
        disk.write(file, None, b"late", 0).unwrap();
        disk.finish_sync(sync);
    });
    assert!(disks.iter().any(|disk| contents(disk, "/a").unwrap().is_empty()));
}

#[test]
fn a_failed_sync_loses_pages_that_a_later_one_calls_clean() {
    let disks = after_losses(|disk| {
        let file = open(disk, "/a");
        sync(disk, "/");
        disk.write(file, None, &[1; PAGE_BYTES], 0).unwrap();
        let failed = disk.begin_sync(file).unwrap();
        disk.fail_sync(failed);
        sync(disk, "/a");
        assert_eq!(contents(disk, "/a").unwrap(), [1; PAGE_BYTES], "the cache still has them");
    });
    assert!(disks.iter().all(|disk| contents(disk, "/a").unwrap() == [0; PAGE_BYTES]), "the length is durable");
}

#[test]
fn locks_end_with_their_process_and_the_cache_does_not() {
    let mut disk = Disk::default();
    let [ours, other] = [open(&mut disk, "/a"), open(&mut disk, "/a")];
    disk.write(ours, None, b"lines", 0).unwrap();
    assert!(disk.lock(ours, true).unwrap());
    assert!(!disk.lock(other, true).unwrap() && !disk.lock(other, false).unwrap());
    disk.end_process();
    assert_eq!(contents(&disk, "/a").unwrap(), b"lines");
    let again = open(&mut disk, "/a");
    assert!(disk.lock(again, true).unwrap());
}

#[test]
fn the_number_of_a_file_that_is_gone_is_given_again() {
    let mut disk = Disk::default();
    let first = open(&mut disk, "/a");
    let number = disk.inode_of(first).unwrap();
    disk.unlink(Path::new("/a")).unwrap();
    sync(&mut disk, "/");
    disk.close(first);
    let second = open(&mut disk, "/b");
    assert_eq!(disk.inode_of(second).unwrap(), number);
}

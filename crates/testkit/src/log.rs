//! The log on the disk, all segments of it in order, as a reader beside the server sees it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The segment that is appended to.
pub const ACTIVE: &str = "metrics.jsonl";
/// Prefix and suffix of the names of sealed segments; between them is a time, so that names sort by it.
const SEALED: (&str, &str) = ("metrics-", ".jsonl");
const COMPRESSED: &str = ".zst";

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    /// Without the ending of a compressed one, so that both forms of a segment have one name.
    name: String,
    path: PathBuf,
    compressed: bool,
}

/// Location of a log.
#[derive(Debug, Clone, Copy)]
pub struct LogLocation<'a> {
    /// Directory of the log.
    pub directory: &'a Path,
    /// Directory in which the sealed segments are kept that the server may delete; see [`keep`].
    pub archive: Option<&'a Path>,
}

/// Position up to which a log was read: all segments up to `sealed`, and so many bytes of the one after it. That one
/// may have been sealed by the next time, and its lines are the same.
#[derive(Debug, Clone, Default)]
pub struct Position {
    sealed: Option<String>,
    bytes: u64,
}

/// The files of sealed segments in `directory`, in the order of their names, plain before compressed. One that a server
/// compresses meanwhile may be in a listing by neither of its names, so two in a row have to have the same segments.
fn sealed_files(directory: &Path) -> io::Result<Vec<Segment>> {
    let names = |segments: &[Segment]| {
        let mut names: Vec<_> = segments.iter().map(|segment| segment.name.clone()).collect();
        names.dedup();
        names
    };
    let mut listed = list_sealed_files(directory)?;
    for _ in 0..LISTINGS_MAX {
        let before = names(&listed);
        listed = list_sealed_files(directory)?;
        if names(&listed) == before {
            break;
        }
    }
    Ok(listed)
}

/// Listings of a directory, at most, until two are the same: each that differs is one that a rename has run into.
const LISTINGS_MAX: usize = 100;

fn list_sealed_files(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let name = file.strip_suffix(COMPRESSED).unwrap_or(file);
        if name.starts_with(SEALED.0) && name.ends_with(SEALED.1) {
            segments.push(Segment { name: name.to_owned(), compressed: name != file, path });
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The sealed segments in the order of their names; of one that is there in both forms, the plain one, and of two
/// plain ones that which was kept: nobody takes it away.
fn sealed(place: LogLocation<'_>) -> io::Result<Vec<Segment>> {
    let mut segments = place.archive.map_or(Ok(Vec::new()), sealed_files)?;
    segments.extend(sealed_files(place.directory)?);
    segments.sort_by(|a, b| (&a.name, a.compressed).cmp(&(&b.name, b.compressed)));
    segments.dedup_by(|next, first| next.name == first.name);
    Ok(segments)
}

/// Keeps what is sealed, by a second name for each file in `archive`, so that the oracle can read what retention
/// deletes and what compression replaces. A directory that is not there has nothing to keep.
///
/// # Errors
/// As the system says.
pub fn keep(directory: &Path, archive: &Path) -> io::Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for segment in sealed_files(directory)? {
        if archive.join(&segment.name).exists() {
            continue;
        }
        // A compressed one that was not seen before is all there is to keep.
        let suffix = if segment.compressed { COMPRESSED } else { "" };
        let kept = archive.join(format!("{}{suffix}", segment.name));
        match fs::hard_link(&segment.path, kept) {
            // Somebody else has kept it, or it was compressed or deleted meanwhile.
            Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
            result => result?,
        }
    }
    Ok(())
}

/// Compressed segments, and those of them that are not what was kept of them before.
///
/// # Errors
/// A file cannot be read.
pub fn compare_compressed(directory: &Path, archive: &Path) -> io::Result<(u64, Vec<String>)> {
    let (mut count, mut different) = (0, Vec::new());
    for segment in sealed_files(directory)?.into_iter().filter(|segment| segment.compressed) {
        let plain = segment.path.with_extension("");
        let kept = archive.join(&segment.name);
        // Beside a plain one it is still being made.
        if plain.exists() || !kept.exists() {
            continue;
        }
        count += 1;
        if !zstd::decode_all(File::open(&segment.path)?)
            .is_ok_and(|bytes| fs::read(&kept).is_ok_and(|kept| kept == bytes))
        {
            different.push(segment.name);
        }
    }
    Ok((count, different))
}

/// Reads what lies behind `position` and moves it to the end: each segment's part in turn, with the segment's name.
/// A server may append, seal and compress meanwhile, as it does when a large segment is there at its start.
///
/// # Errors
/// A segment cannot be read.
pub fn read_on(place: LogLocation<'_>, position: &mut Position, mut part: impl FnMut(&str, &[u8])) -> io::Result<()> {
    let (segments, active) = snapshot(place)?;
    let mut skip = position.bytes;
    for segment in segments {
        if position.sealed.as_ref().is_some_and(|sealed| *sealed >= segment.name) {
            continue;
        }
        let bytes = match File::open(&segment.path) {
            Ok(file) if segment.compressed => zstd::decode_all(file)?,
            Ok(mut file) => read_all(&mut file, 0)?,
            // A server that has just started has compressed it since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !segment.compressed => {
                let compressed = segment.path.with_file_name(format!("{}{COMPRESSED}", segment.name));
                zstd::decode_all(File::open(compressed)?)?
            }
            Err(error) => return Err(error),
        };
        let from = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
        part(&segment.name, &bytes[from..]);
        skip = 0;
        position.sealed = Some(segment.name);
    }
    position.bytes = skip;
    if let Some(mut file) = active {
        let bytes = read_all(&mut file, skip)?;
        part(ACTIVE, &bytes);
        position.bytes += bytes.len() as u64;
    }
    Ok(())
}

/// The sealed segments, and the active one, opened, which is none of them: it was the active one before and after they
/// were listed. `None` if there is none.
fn snapshot(place: LogLocation<'_>) -> io::Result<(Vec<Segment>, Option<File>)> {
    let path = place.directory.join(ACTIVE);
    loop {
        let active = if_found(File::open(&path))?;
        let segments = sealed(place)?;
        let inode = active.as_ref().map(|file| file.metadata().map(|metadata| metadata.ino())).transpose()?;
        if if_found(fs::metadata(&path))?.map(|metadata| metadata.ino()) == inode {
            return Ok((segments, active));
        }
    }
}

fn if_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_all(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The lines of the active segment in `directory`; none when there is no such file.
///
/// # Panics
/// The file does not end with the end of a line.
#[must_use]
pub fn lines(directory: &Path) -> Vec<String> {
    let path = directory.join(ACTIVE);
    let Ok(bytes) = fs::read(&path) else { return Vec::new() };
    let text = String::from_utf8(bytes).expect("the log is UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "the log ends in a torn line: {:?}", text.lines().last());
    text.lines().map(str::to_owned).collect()
}

/// Segments that are sealed.
///
/// # Errors
/// The directory cannot be read.
pub fn sealed_count(place: LogLocation<'_>) -> io::Result<usize> {
    Ok(sealed(place)?.len())
}

/// Files in which recovery has kept what it cut off.
///
/// # Errors
/// The directory cannot be read.
pub fn repaired_count(directory: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        count += usize::from(entry?.file_name().to_string_lossy().starts_with("torn-"));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn read(directory: &Path, position: &mut Position) -> String {
        let mut text = String::new();
        read_on(LogLocation { directory, archive: None }, position, |_, bytes| {
            text.push_str(std::str::from_utf8(bytes).unwrap())
        })
        .unwrap();
        text
    }

    #[test]
    fn segments_are_read_in_order_and_once_whatever_becomes_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let mut position = Position::default();
        assert_eq!(read(directory.path(), &mut position), "");
        fs::write(path(ACTIVE), "a\n").unwrap();
        assert_eq!(read(directory.path(), &mut position), "a\n");
        fs::write(path(ACTIVE), "a\nb\n").unwrap();
        fs::rename(path(ACTIVE), path("metrics-20260102T030405.678Z.jsonl")).unwrap();
        fs::write(path("metrics-20260102T030405.679Z.jsonl"), "c\n").unwrap();
        fs::write(path("metrics-20260102T030405.679Z.jsonl.zst"), "half").unwrap();
        fs::write(path("metrics-20260102T030405.680Z.jsonl.zst"), zstd::encode_all(&b"d\n"[..], 1).unwrap()).unwrap();
        fs::write(path("metrics-20260102T030405.680Z.index.json"), "{}").unwrap();
        fs::write(path(ACTIVE), "e\n").unwrap();
        assert_eq!(read(directory.path(), &mut position), "b\nc\nd\ne\n");
        assert_eq!(read(directory.path(), &mut position), "");
        assert_eq!(read(directory.path(), &mut Position::default()), "a\nb\nc\nd\ne\n");
        assert_eq!(sealed_count(LogLocation { directory: directory.path(), archive: None }).unwrap(), 3);
    }

    /// Between a listing of the sealed segments and a look at the active one, a server may seal that one.
    #[test]
    fn no_line_is_missed_while_segments_are_sealed() {
        const SEGMENTS: usize = 1_000;
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (mut position, mut text) = (Position::default(), String::new());
        thread::scope(|scope| {
            let sealing = scope.spawn(|| {
                for number in 0..SEGMENTS {
                    fs::write(path("next"), format!("{number}\n")).unwrap();
                    if number > 0 {
                        fs::rename(path(ACTIVE), path(&format!("metrics-{number:04}.jsonl"))).unwrap();
                    }
                    fs::rename(path("next"), path(ACTIVE)).unwrap();
                }
            });
            while !sealing.is_finished() {
                text.push_str(&read(directory.path(), &mut position));
            }
        });
        text.push_str(&read(directory.path(), &mut position));
        assert_eq!(text, (0..SEGMENTS).map(|number| format!("{number}\n")).collect::<String>());
    }
}

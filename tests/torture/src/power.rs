//! A loss of power, played: what was written after the last sync of a file is lost, from some byte on, and the machine
//! has another boot. The most that a file system may lose of a file that is only appended to; it may also leave zeros
//! in its place.

use crate::random::Random;
use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

/// Loss of power: off, or at some kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PowerCuts {
    /// Never.
    Off,
    /// At some of the kills: the segments lose what was not synced, sealed or not.
    On,
}

/// Bytes of each file that are on stable storage, by inode.
#[derive(Debug, Default)]
pub struct Stable(HashMap<u64, u64>);

impl Stable {
    /// A log that was just started on: a start syncs what it finds.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn at_start(directory: &Path) -> io::Result<Self> {
        let files = segments(directory)?.into_iter().map(|(_, inode, bytes)| (inode, bytes)).collect();
        Ok(Self(files))
    }

    /// Takes in what the library has noted of syncs since then.
    ///
    /// # Errors
    /// The journal is not as the library writes it.
    pub fn read(&mut self, journal: &Path) -> io::Result<()> {
        for line in fs::read_to_string(journal)?.lines() {
            let numbers: Option<(u64, u64)> =
                line.split_once(' ').and_then(|(inode, bytes)| Some((inode.parse().ok()?, bytes.parse().ok()?)));
            let (inode, bytes) = numbers.ok_or_else(|| io::Error::other(format!("the journal says '{line}'")))?;
            let stable: &mut u64 = self.0.entry(inode).or_default();
            *stable = bytes.max(*stable);
        }
        Ok(())
    }

    /// Loses a part, between nothing and everything, of what is not on stable storage. The server must have ended.
    ///
    /// # Errors
    /// As the system says.
    pub fn cut(&self, directory: &Path, random: &mut Random) -> io::Result<()> {
        for (path, inode, bytes) in segments(directory)? {
            let stable = self.0.get(&inode).copied().unwrap_or(0);
            let lost = random.number() % (bytes - stable.min(bytes) + 1);
            let file = OpenOptions::new().write(true).open(path)?;
            if random.one_in(2) {
                file.set_len(bytes - lost)?;
            } else {
                file.write_all_at(&vec![0; usize::try_from(lost).map_err(io::Error::other)?], bytes - lost)?;
            }
        }
        another_boot(directory)
    }
}

/// The segments that are not compressed, with their inodes and lengths.
fn segments(directory: &Path) -> io::Result<Vec<(PathBuf, u64, u64)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            match path.metadata() {
                Ok(metadata) => segments.push((path, metadata.ino(), metadata.len())),
                // Compressed or deleted meanwhile, by a server that has just started.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(segments)
}

/// Has the state file be of another boot: the last digit of the boot's id is changed, and the checksum made right.
fn another_boot(directory: &Path) -> io::Result<()> {
    let path = directory.join("metricstream.state");
    let text = fs::read_to_string(&path)?;
    let changed: String = text
        .lines()
        .filter(|line| !line.starts_with("crc32 "))
        .map(|line| match line.strip_prefix("boot_id ") {
            Some(id) if id.ends_with('0') => format!("boot_id {}1", &id[..id.len() - 1]),
            Some(id) if !id.is_empty() => format!("boot_id {}0", &id[..id.len() - 1]),
            _ => line.to_owned(),
        })
        .map(|line| line + "\n")
        .collect();
    fs::write(path, format!("{changed}crc32 {:08x}\n", crc32(changed.as_bytes())))
}

/// The checksum of gzip, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

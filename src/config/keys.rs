//! The file of API keys. Everyone who can read it can send batches, and everyone who can write it can grant access, so
//! its mode is checked. Keys are secrets: errors never quote one, but name lines by their numbers.

use super::{ConfigError, file::read_bounded};
use crate::limits;
use std::{collections::HashSet, fs::Metadata, os::unix::fs::PermissionsExt, path::Path};

/// Mode bits that a key file must not have: the group may read it (root:metricstream 0640), and others have no access.
const FORBIDDEN_MODE: u32 = 0o027;

/// Reads the keys of a file: one per line; blank lines and lines that begin with `#` are skipped. A byte-order mark at
/// the front, carriage returns at line ends and repeated keys are ignored.
///
/// # Errors
/// What is wrong with the file, or with which of its lines.
pub(super) fn read_api_keys(path: &Path) -> Result<HashSet<Vec<u8>>, ConfigError> {
    let shown = path.display();
    let refuse = |what: &str| ConfigError(format!("the API keys in {shown} {what}"));
    let text = read_bounded(path, |metadata| check_mode(path, metadata))
        .map_err(|error| ConfigError(format!("cannot read the API keys in {shown}: {error}")))?;
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text);
    let mut keys = HashSet::new();
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        check_key(line).map_err(|what| refuse(&format!("are invalid: line {} {what}", number + 1)))?;
        keys.insert(line.to_vec());
    }
    if keys.is_empty() {
        return Err(refuse("are missing: the file has no API key, so every batch would be refused"));
    }
    Ok(keys)
}

/// Checks that a request can carry the key; otherwise it would never match.
fn check_key(key: &[u8]) -> Result<(), String> {
    if key.len() > limits::API_KEY_BYTES_MAX {
        return Err(format!("is longer than {} bytes", limits::API_KEY_BYTES_MAX));
    }
    if !key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err("has a character that is not printable ASCII".into());
    }
    if key.split_at_checked(7).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        || key.eq_ignore_ascii_case(b"bearer")
    {
        return Err("begins with Bearer, which is not part of a key".into());
    }
    if key.windows(2).any(|pair| pair == b" #") {
        return Err("has a comment after the key; put comments on their own line".into());
    }
    Ok(())
}

fn check_mode(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & FORBIDDEN_MODE == 0 {
        return Ok(());
    }
    let who = if mode & 0o007 != 0 { "everyone on this host" } else { "the group" };
    let what = if mode & 0o022 != 0 { "change" } else { "read" };
    Err(format!("{who} may {what} it (mode {mode:04o}): chmod g-wx,o-rwx {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::NamedTempFile;

    fn read(text: &[u8]) -> Result<HashSet<Vec<u8>>, String> {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read_api_keys(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_lines() {
        let expected = Ok(HashSet::from([b"alpha".to_vec(), b"beta x".to_vec()]));
        for text in [
            &b"# ours\nalpha\n\n  beta x \n"[..],
            b"alpha\r\nbeta x\r\n",
            b"\xef\xbb\xbfalpha\nbeta x",
            b"alpha\nbeta x\nalpha\n",
        ] {
            assert_eq!(read(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_key_that_no_request_can_bring_is_refused_by_its_line() {
        for (text, part) in [
            (&b"# none\n"[..], "no API key"),
            (b"", "no API key"),
            (b"secret\nsec\x1bret\n", "line 2 has a character"),
            ("alpha\n\nschl\u{fc}ssel\n".as_bytes(), "line 3 has a character"),
            (b"\xff\xfea\0l\0p\0h\0a\0\n\0", "line 1 has a character"),
            (b"Bearer secret\n", "line 1 begins with Bearer"),
            (b"secret # of team a\n", "line 1 has a comment"),
            (&[b'k'; limits::API_KEY_BYTES_MAX + 1], "line 1 is longer"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(part) && !refusal.contains("sec"), "{refusal}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_the_remedy() {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), "alpha\n").unwrap();
        let read_with = |mode| {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            read_api_keys(file.path()).map_err(|error| error.to_string())
        };
        for mode in [0o600, 0o400, 0o640, 0o440] {
            assert!(read_with(mode).is_ok(), "{mode:o}");
        }
        for (mode, part) in [
            (0o644, "everyone on this host may read it (mode 0644): chmod g-wx,o-rwx /"),
            (0o604, "everyone on this host may read it"),
            (0o602, "everyone on this host may change it"),
            (0o660, "the group may change it (mode 0660)"),
            (0o777, "everyone on this host may change it"),
        ] {
            let refusal = read_with(mode).unwrap_err();
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}

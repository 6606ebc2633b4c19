//! Lines of the log: one by one and as a block they are read alike, what is read is JSON with the same meaning, and its
//! parts put together again are the line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use metric::{Kind, Line, Lines, format_timestamp, is_spelled};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let mut lines = Lines::new(data);
    let (mut at, mut read) = (0, 0);
    while let Some(line) = lines.next() {
        let rest = &data[at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let alone = Line::parse(&rest[..end.unwrap_or(rest.len())]);
        at += end.map_or(rest.len(), |end| end + 1);
        assert_eq!(lines.byte(), at, "a block goes on behind the next line feed");
        match (line, alone) {
            (Ok(line), Ok(alone)) => {
                assert_eq!(line, alone);
                check(&line, &data[..at - 1]);
                read += 1;
            }
            (Err(error), Err(alone)) => assert_eq!(error, alone),
            (Err(_), Ok(_)) => assert!(end.is_none(), "only the last line has no line feed"),
            (Ok(line), Err(error)) => panic!("{line:?} is {error} when it is read alone"),
        }
    }
    assert_eq!(at, data.len());
    assert!(read <= data.len());
    assert_eq!(is_spelled(data), spelled_again(data), "{}", data.escape_ascii());
});

/// `text` ends with the line.
fn check(line: &Line<'_>, text: &[u8]) {
    let timestamp = format_timestamp(line.timestamp_ms);
    let stale: &[u8] = if line.is_stale { br#","stale":true"# } else { b"" };
    let kind = line.kind.name().as_bytes();
    let parts =
        [b"{\"timestamp\":\"", &timestamp[..], b"\",\"name\":\"", line.name, b"\",\"value\":", line.value, stale]
            .into_iter()
            .chain([b",\"type\":\"", kind, b"\",\"tags\":", line.tags, b"}"]);
    assert!(text.ends_with(&parts.collect::<Vec<_>>().concat()));
    assert!(Kind::ALL.contains(&line.kind) && is_spelled(line.name));
    let tags: Value = serde_json::from_slice(line.tags).expect("tags are JSON");
    let keys = line.tags().map(|(key, value)| (meaning(key), meaning(value)));
    assert!(keys.clone().all(|(key, _)| tags.get(&key).is_some()));
    // Of a key that comes twice, serde_json has the last.
    assert!(keys.last().is_none_or(|(key, value)| tags[&key] == value));
    let value: Value = serde_json::from_slice(line.value).expect("a value is JSON");
    assert_eq!(line.number().is_some(), value.is_number());
    assert!(line.number().is_none() || value.as_f64().is_some_and(f64::is_finite));
}

fn meaning(spelled: &[u8]) -> String {
    serde_json::from_slice(&[b"\"", spelled, b"\""].concat()).expect("a text of a line is JSON")
}

/// True if serde_json reads `text` and writes it again in the same bytes.
fn spelled_again(text: &[u8]) -> bool {
    let quoted = [b"\"", text, b"\""].concat();
    let Ok(meant) = serde_json::from_slice::<String>(&quoted) else { return false };
    serde_json::to_vec(&meant).is_ok_and(|again| again == quoted)
}

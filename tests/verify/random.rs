//! Damage at random.

use crate::log::{Log, SegmentForm, damages, lines, text};
use log::segment::Sidecar;
use metricstream::verify::finding::Kind;
use proptest::prelude::*;
use std::{fs, sync::LazyLock};

/// Three blocks.
static LINES: LazyLock<Vec<u8>> = LazyLock::new(|| lines(0..20_000));

#[derive(Debug, Clone)]
struct Damage {
    at: prop::sample::Index,
    bytes: Vec<u8>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        prop::collection::vec(any::<u8>(), 1..400),
        (1..200_000_usize).prop_map(|bytes| vec![0; bytes]),
        prop::collection::vec(prop::sample::select(b"\n\"{},:0a".to_vec()), 1..8),
    ];
    (any::<prop::sample::Index>(), bytes).prop_map(|(at, bytes)| Damage { at, bytes })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_found_in_its_block_and_moved_aside(damage in damage(), compressed in any::<bool>()) {
        let form = if compressed { SegmentForm::Compressed } else { SegmentForm::Plain };
        let (log, path) = Log::with(form, &LINES);
        let sidecar = Sidecar::read(log.path(), crate::log::segment(1)).unwrap();
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        let from = damage.at.index(before.len());
        let to = before.len().min(from + damage.bytes.len());
        after[from..to].copy_from_slice(&damage.bytes[..to - from]);
        fs::write(&path, &after).unwrap();
        let report = log.check();
        if before == after {
            prop_assert!(report.sound);
            return Ok(());
        }
        prop_assert!(!report.sound);
        // Each block in which a byte changed is in a finding.
        let changed: Vec<usize> = sidecar.blocks.iter().enumerate().filter_map(|(index, block)| {
            let (offset, bytes) = block.frame.map_or((block.offset, block.bytes), |frame| (frame.offset, frame.bytes));
            let range = offset as usize..(offset + bytes) as usize;
            (before[range.clone()] != after[range]).then_some(index)
        }).collect();
        let found: Vec<_> = damages(&report).iter().filter_map(|finding| finding.place.as_ref()?.blocks).collect();
        for block in &changed {
            prop_assert!(found.iter().any(|(first, last)| (first..=last).contains(&block)), "{block} {:?}", damages(&report));
        }
        for (first, last) in &found {
            prop_assert!((*first..=*last).all(|block| changed.contains(&block)), "{changed:?} {:?}", damages(&report));
        }

        log.repair();
        if compressed {
            let kept: Vec<u8> = sidecar.blocks.iter().enumerate()
                .filter(|(index, _)| !changed.contains(index))
                .flat_map(|(_, block)| &LINES[block.offset as usize..(block.offset + block.bytes) as usize])
                .copied().collect();
            if kept.is_empty() {
                prop_assert!(!path.exists());
            } else {
                prop_assert!(text(&path) == kept, "undamaged frames stay");
            }
            return Ok(());
        }
        // Every line that was not touched is there, in order.
        let repaired = fs::read(&path).unwrap();
        let mut at = 0;
        let mut start = 0;
        for line in LINES.split_inclusive(|&byte| byte == b'\n') {
            let end = start + line.len();
            if before[start..end] == after[start..end] {
                match memchr::memmem::find(&repaired[at..], line) {
                    Some(found) => at += found + line.len(),
                    None => prop_assert!(false, "lost: {}", line.escape_ascii()),
                }
            }
            start = end;
        }
        // Every byte is there: what is not in the segment is in the first file that was set aside, in order.
        let has_moved = repaired.len() < after.len();
        let aside = if has_moved { log.set_aside().into_iter().find(|kept| kept.len() == after.len() - repaired.len()) } else { Some(Vec::new()) };
        let aside = aside.expect("what was taken off is set aside");
        let (mut in_segment, mut in_aside) = (0, 0);
        while in_segment + in_aside < after.len() {
            let rest = &after[in_segment + in_aside..];
            let line = repaired[in_segment..].split_inclusive(|&byte| byte == b'\n').next().unwrap_or(&[]);
            if !line.is_empty() && rest.starts_with(line) {
                in_segment += line.len();
            } else {
                prop_assert_eq!(aside.get(in_aside), Some(&rest[0]));
                in_aside += 1;
            }
        }
    }

    /// Whatever the bytes are: no panic, an end, and a repair that leaves a sound log.
    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(any::<u8>(), 0..3000), form in prop::sample::select(vec![SegmentForm::Active, SegmentForm::PlainWithoutSidecar])) {
        let (log, path) = Log::with(form, &lines(0..3));
        fs::write(&path, &bytes).unwrap();
        let report = log.check();
        prop_assert_eq!(report.sound, bytes.is_empty());
        log.repair();
        // Of the active segment the end is cut off first, as at a start.
        prop_assert_eq!(log.set_aside().iter().map(Vec::len).sum::<usize>(), bytes.len());
        // As a compressed segment, and as a sidecar.
        let (log, path) = Log::with(SegmentForm::CompressedWithoutSidecar, &lines(0..3));
        fs::write(&path, &bytes).unwrap();
        fs::write(log.sidecar(1), &bytes).unwrap();
        prop_assert!(log.check().findings.counts.contains_key(&Kind::SidecarGarbled));
        if !bytes.is_empty() {
            log.repair();
        }
    }
}

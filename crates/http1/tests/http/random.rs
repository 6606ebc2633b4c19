//! Untrusted bytes: whatever they are, no panic, no endless loop, no memory beyond the bounds, no response that is not
//! in the contract.

use proptest::prelude::*;

use super::corpus;
use super::owner::{BODY_BYTES_MAX, Owner};
use http1::Disposition;
use http1::limits::{HEAD_BYTES_MAX, INBOX_BYTES_MAX};

fn survive(bytes: &[u8], cuts: &[usize], late: bool) -> Result<(), TestCaseError> {
    survive_with(Owner::new(), bytes, cuts, late)?;
    // The same with hardly any memory: every other response is 503.
    let mut poor = Owner::new();
    assert!(poor.core.reserve(poor.core.free_bytes() - bytes.len() / 2));
    survive_with(poor, bytes, cuts, late)
}

fn survive_with(mut owner: Owner, bytes: &[u8], cuts: &[usize], late: bool) -> Result<(), TestCaseError> {
    let set_aside = owner.core.held_bytes();
    let mut at = 0;
    let mut longest = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        let piece = &bytes[at..cut];
        if late {
            owner.deliver_late(piece)
        } else {
            owner.deliver(piece)
        }
        longest = longest.max(piece.len());
        at = cut;
        let inbox_bytes_max = 2 * (INBOX_BYTES_MAX.max(HEAD_BYTES_MAX) + longest);
        prop_assert!(owner.connection.owned_bytes() <= inbox_bytes_max + BODY_BYTES_MAX);
        prop_assert_eq!(
            owner.core.held_bytes() - set_aside,
            owner.connection.owned_bytes(),
            "what is held is what is counted"
        );
    }
    owner.finish();
    if owner.after == Disposition::KeepOpen {
        let mut out = Vec::new();
        let _ = owner.connection.timed_out((), &mut owner.service, &mut owner.core, &mut out);
        owner.sent.extend_from_slice(&out);
    }
    owner.connection.release(&mut owner.core);
    prop_assert_eq!(owner.connection.owned_bytes(), 0);
    prop_assert!(owner.sent.is_empty() || owner.sent.starts_with(b"HTTP/1.1 "));
    Ok(())
}

fn sorted(cuts: &[prop::sample::Index], length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        late in any::<bool>(),
    ) {
        survive(&bytes, &sorted(&cuts, bytes.len()), late)?;
    }

    #[test]
    fn random_lines(
        lines in prop::collection::vec("(GET / HTTP/1\\.[01]|Host: a|Content-Length: [0-9]{0,3}|Transfer-Encoding: chunked|[0-9a-f]{1,2}|Connection: close|Expect: 100-continue|[ -~]{0,12}|)(\r\n|\r\n|\r\n|\n|\r)", 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        late in any::<bool>(),
    ) {
        let bytes = lines.concat().into_bytes();
        survive(&bytes, &sorted(&cuts, bytes.len()), late)?;
    }

    #[test]
    fn mutated_requests(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        late in any::<bool>(),
    ) {
        let cases: Vec<_> = corpus::all().into_iter().filter(|case| case.bytes.len() < 2_000).collect();
        let mut bytes: Vec<u8> = picks.iter().flat_map(|pick| cases[pick.index(cases.len())].bytes.clone()).collect();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        survive(&bytes, &sorted(&cuts, bytes.len()), late)?;
    }
}

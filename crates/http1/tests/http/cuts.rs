//! Any byte stream, cut anywhere, parses the same.

use proptest::prelude::*;

use super::corpus;
use super::owner::{Owner, whole};

fn same(name: &str, expected: &Owner, actual: &Owner, cuts: &[usize]) {
    assert_eq!(actual.service.events, expected.service.events, "{name}, cut at {cuts:?}");
    assert_eq!(actual.text(), expected.text(), "{name}, cut at {cuts:?}");
}

fn in_pieces(bytes: &[u8], cuts: &[usize], deliver: impl Fn(&mut Owner, &[u8])) -> Owner {
    let mut owner = Owner::new();
    let mut at = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        deliver(&mut owner, &bytes[at..cut]);
        at = cut;
    }
    owner.finish();
    owner
}

#[test]
fn one_cut_at_every_byte() {
    for case in corpus::all() {
        let expected = whole(&case.bytes);
        // In a long run of the same byte every cut is like the next: those are taken in strides.
        let stride =
            |at: &usize| case.bytes.len() < 2_000 || *at < 200 || at.is_multiple_of(997) || at + 200 > case.bytes.len();
        for cut in (0..=case.bytes.len()).filter(stride) {
            let actual = in_pieces(&case.bytes, &[cut], Owner::deliver);
            same(case.name, &expected, &actual, &[cut]);
        }
    }
}

#[test]
fn every_byte_alone() {
    for case in corpus::all().into_iter().filter(|case| case.bytes.len() < 2_000) {
        let expected = whole(&case.bytes);
        let cuts: Vec<usize> = (1..case.bytes.len()).collect();
        same(case.name, &expected, &in_pieces(&case.bytes, &cuts, Owner::deliver), &cuts);
        same(case.name, &expected, &in_pieces(&case.bytes, &cuts, Owner::deliver_late), &cuts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn several_requests_cut_at_random(
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        late in any::<bool>(),
    ) {
        let cases: Vec<_> = corpus::all().into_iter().filter(|case| case.bytes.len() < 2_000).collect();
        let bytes: Vec<u8> = picks.iter().flat_map(|pick| cases[pick.index(cases.len())].bytes.clone()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let deliver = if late { Owner::deliver_late } else { Owner::deliver };
        same("random", &whole(&bytes), &in_pieces(&bytes, &cuts, deliver), &cuts);
    }
}

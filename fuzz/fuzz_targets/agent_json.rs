//! The JSON of collectd and of Datadog's two versions: accounting, what serde_json cannot read is refused, and a body
//! gives the same lines from a new decoder as from one that has its series in the cache.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::protocol::{collectd::Collectd, datadog::Datadog};
use std::cell::RefCell;

thread_local! {
    static DECODERS: RefCell<(Collectd, Datadog)> = RefCell::new((Collectd::new(BOUNDS), Datadog::new(BOUNDS)));
}

fuzz_target!(|data: &[u8]| {
    let fresh = [
        decode(data, |sink| Collectd::new(BOUNDS).decode(data, sink)),
        decode(data, |sink| Datadog::new(BOUNDS).decode_v1(data, sink)),
        decode(data, |sink| Datadog::new(BOUNDS).decode_v2(data, sink)),
    ];
    if fresh.iter().any(Result::is_ok) {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
        // Beyond its depth serde_json reads nothing.
        assert!(is_json || data.iter().filter(|&&byte| matches!(byte, b'[' | b'{')).count() > 100);
    }
    DECODERS.with_borrow_mut(|(collectd, datadog)| {
        // The second time, what is in it is in the cache.
        for _ in 0..2 {
            let kept = [
                decode(data, |sink| collectd.decode(data, sink)),
                decode(data, |sink| datadog.decode_v1(data, sink)),
                decode(data, |sink| datadog.decode_v2(data, sink)),
            ];
            assert_eq!(kept, fresh, "what a decoder keeps between bodies changes nothing");
        }
        (collectd.trim(), datadog.trim());
    });
});

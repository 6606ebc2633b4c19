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
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    DECODERS.with_borrow_mut(|(collectd, datadog)| {
        // The second time, what is in it is in the cache.
        for _ in 0..2 {
            let outcomes = [
                (
                    decode(data, |sink| collectd.decode(data, sink)),
                    decode(data, |sink| Collectd::new(BOUNDS).decode(data, sink)),
                ),
                (
                    decode(data, |sink| datadog.decode_v1(data, sink)),
                    decode(data, |sink| Datadog::new(BOUNDS).decode_v1(data, sink)),
                ),
                (
                    decode(data, |sink| datadog.decode_v2(data, sink)),
                    decode(data, |sink| Datadog::new(BOUNDS).decode_v2(data, sink)),
                ),
            ];
            for (kept, fresh) in outcomes {
                assert_eq!(kept, fresh, "what a decoder keeps between bodies changes nothing");
                // Beyond its depth serde_json reads nothing.
                let nested = || data.iter().filter(|&&byte| matches!(byte, b'[' | b'{')).count() > 100;
                assert!(kept.is_err() || is_json || nested());
            }
        }
        (collectd.trim(), datadog.trim());
    });
});

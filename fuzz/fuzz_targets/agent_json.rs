//! The JSON of collectd and of Datadog's two versions: accounting, and what serde_json cannot read is refused.
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
            assert!(kept.is_err() || is_json || data.iter().filter(|&&byte| matches!(byte, b'[' | b'{')).count() > 100);
        }
        (collectd.trim(), datadog.trim());
    });
});

//! Line protocol: accounting, and a body that is sent twice in one gives its lines twice.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::protocol::influx::{Influx, Options, Precision};
use std::cell::RefCell;

thread_local! {
    static DECODER: RefCell<Influx> = RefCell::new(Influx::new(BOUNDS));
}

fuzz_target!(|data: &[u8]| {
    let precisions = [
        Precision::Nanoseconds,
        Precision::Microseconds,
        Precision::Milliseconds,
        Precision::Seconds,
        Precision::Minutes,
        Precision::Hours,
    ];
    let (choice, body) = data.split_first().unwrap_or((&0, b""));
    let tag = (choice & 0x80 != 0).then_some((&b"db"[..], &b"telegraf"[..]));
    let options = Options { precision: precisions[usize::from(choice & 0x7f) % precisions.len()], tag };
    DECODER.with_borrow_mut(|influx| {
        let once = decode(body, |sink| influx.decode(body, &options, sink));
        let fresh = decode(body, |sink| Influx::new(BOUNDS).decode(body, &options, sink));
        assert_eq!(once, fresh, "what a decoder keeps between bodies changes nothing");
        let Ok(once) = once else { return };
        // A string that is not closed goes on in the second half.
        if once.decoded.rejected() == 0 {
            let twice = [body, b"\n", body].concat();
            let twice = decode(&twice, |sink| influx.decode(&twice, &options, sink));
            twice.expect("each half is a body").assert_twice(&once);
        }
        influx.trim();
    });
});

//! Text exposition, of Prometheus and of OpenMetrics, with and without the labels of a push gateway's path: accounting,
//! and a body without comments that is sent twice in one gives its lines twice. The same with metric families in
//! protobuf.
#![no_main]

use fuzz::{BOUNDS, decode};
use libfuzzer_sys::fuzz_target;
use metric::protocol::metric_family::MetricFamilies;
use metric::protocol::text::{Format, Options, Text, group_labels};
use std::cell::RefCell;

thread_local! {
    static DECODER: RefCell<Text> = RefCell::new(Text::new(BOUNDS));
}

fuzz_target!(|data: &[u8]| {
    // A path before the body, where there is one.
    let (path, body) = match data.strip_prefix(b"/metrics/") {
        Some(rest) => {
            let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            (&data[..end + b"/metrics/".len()], rest.get(end + 1..).unwrap_or_default())
        }
        None => (&b""[..], data),
    };
    let labels = std::str::from_utf8(path).ok().and_then(|path| group_labels(path).ok()).unwrap_or_default();
    for (index, (name, _)) in labels.iter().enumerate() {
        assert!(!labels[..index].iter().any(|(other, _)| other == name), "a grouping label twice");
    }
    DECODER.with_borrow_mut(|text| {
        for format in [Format::Prometheus, Format::OpenMetrics] {
            let options = Options { format, labels: &labels };
            let once = decode(body, |sink| text.decode(body, &options, sink));
            let fresh = decode(body, |sink| Text::new(BOUNDS).decode(body, &options, sink));
            assert_eq!(once, fresh, "what a decoder keeps between bodies changes nothing");
            let Ok(once) = once else { continue };
            if format == Format::Prometheus && !body.contains(&b'#') {
                let twice = [body, b"\n", body].concat();
                let twice = decode(&twice, |sink| text.decode(&twice, &options, sink));
                twice.expect("each half is a body").assert_twice(&once);
            }
        }
        text.trim();
    });
    let mut families = MetricFamilies::new(BOUNDS);
    let once = decode(body, |sink| families.decode(body, &labels, sink));
    let Ok(once) = once else { return };
    let twice = [body, body].concat();
    let twice = decode(&twice, |sink| families.decode(&twice, &labels, sink));
    twice.expect("each half is a body").assert_twice(&once);
});

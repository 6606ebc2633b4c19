//! Bodies of collectd and Datadog cost no allocation once their decoder has seen one like them: counted by the
//! allocator of this binary.

use std::hint::black_box;

use metric::protocol::collectd::Collectd;
use metric::protocol::datadog::Datadog;
use metric::{Bounds, LineSink};
use testkit::allocations::{CountingAllocator, allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Calls `decode` twice and returns the allocations of the second time, and the lines.
fn allocations_when_warm(mut decode: impl FnMut(&mut LineSink<'_>)) -> (u64, u32) {
    let mut out = vec![0; 1024 * 1024];
    decode(&mut LineSink::new(&mut out, 0));
    let before = allocations();
    let mut sink = LineSink::new(&mut out, 0);
    decode(&mut sink);
    let metrics = black_box(sink.decoded()).metrics;
    (allocations() - before, metrics)
}

#[test]
fn value_lists_of_collectd_allocate_nothing() {
    let list = r#"{"values":[1,null,3.5],"dstypes":["gauge","derive","counter"],"dsnames":["a","b","c"],"time":1.5,
        "host":"a\"b","plugin":"p","plugin_instance":"x","type":"t\\","type_instance":"","meta":{"a":[1]}}"#;
    // One that gets into the cache, from a host after the other.
    let cached = |host| {
        let list = r#"{"values":[1,2.5],"dstypes":["gauge","gauge"],"dsnames":["a","b"],"time":1.5,"host":"h","#;
        format!(r#"{}"plugin":"p","type":"t"}}"#, list.replace(r#""h""#, &format!("\"h{host}\"")))
    };
    let lists: Vec<_> = (0..100).flat_map(|host| [list.to_owned(), cached(host), cached(host + 1)]).collect();
    let body = format!("[{}]", lists.join(","));
    let mut decoder = Collectd::new(Bounds::default());
    let (allocations, metrics) = allocations_when_warm(|sink| decoder.decode(body.as_bytes(), sink).unwrap());
    assert_eq!((allocations, metrics), (0, 600));
}

#[test]
fn series_of_datadog_allocate_nothing() {
    let one = r#"{"metric":"m","points":[[1,2],[1.5,null]],"type":"count","host":"h\"","tags":["a:b","a:c","d"]}"#;
    let two = r#"{"metric":"m","points":[{"timestamp":1,"value":2}],"type":1,"resources":[{"type":"pod","name":"p"}]}"#;
    let body = |series| format!(r#"{{"series":[{}]}}"#, vec![series; 100].join(","));
    let mut decoder = Datadog::new(Bounds::default());
    let (one, two) = (body(one), body(two));
    assert_eq!(allocations_when_warm(|sink| decoder.decode_v1(one.as_bytes(), sink).unwrap()), (0, 100), "version 1");
    assert_eq!(allocations_when_warm(|sink| decoder.decode_v2(two.as_bytes(), sink).unwrap()), (0, 100), "version 2");
    // resources=1 {type=1, name=2}, metric=2, tags=3, points=4 {value=1, timestamp=2}, type=5.
    let series = b"\x0a\x08\x0a\x03pod\x12\x01p\x12\x01m\x1a\x03a:b\x22\x0b\x09\0\0\0\0\0\0\xf0\x3f\x10\x01\x28\x01";
    let mut payload = Vec::new();
    for _ in 0..100 {
        payload.extend([0x0a, u8::try_from(series.len()).unwrap()]);
        payload.extend(series);
    }
    assert_eq!(
        allocations_when_warm(|sink| decoder.decode_v2_protobuf(&payload, sink).unwrap()),
        (0, 100),
        "version 2 as protobuf"
    );
}

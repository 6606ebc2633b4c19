//! A decoder with its cache stores what one without it does, whatever bodies came before.

use super::*;
use crate::limits::SERIES_CACHED_MAX;

/// One without a cache.
fn reference(bounds: Bounds) -> Text {
    let mut text = Text::new(bounds);
    text.cached.turn_off();
    text
}

/// Lines of few series in many spellings, and some that are none.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let name = proptest::sample::select(vec!["m", "m_total", "m_bucket", "m_created", "n:a", "", "{\"q\",", "a.b"]);
    let label = prop_oneof![
        6 => proptest::sample::select(vec![
            "a=\"1\"", "a=\"2\"", "b=\"}\"", "b=\"{,\"", "le=\"1.0\"", "le=\"1\"", "job=\"j\"", "e=\"\"",
        ]).prop_map(str::to_owned),
        4 => "instance=\"[a-z0-9:\\\\ é]{0,20}\"",
        1 => proptest::sample::select(vec![
            "a=\"\\\"\"", " instance = \"x\" ", "\"instance\"=\"x\"", "x_instance=\"y\"", "__name__=\"n\"", "\"q\"",
            "a=\"1", "instance=\"x\"instance=\"y\"", "\u{e9}=\"1\"",
        ]).prop_map(str::to_owned),
    ];
    let behind = proptest::sample::select(vec![
        " 1",
        " 1",
        " 2.5e3",
        " -0",
        " NaN",
        " +Inf",
        " 1e999",
        " 01",
        "1",
        "  1",
        " 1 ",
        "\t1",
        " 1\r",
        " 1 1000",
        " 1 -5",
        " 1 1.5",
        " 1 99999999999999999",
        " 1 1000 ",
        " 1 # {a=\"b\"} 1",
        " 1 5 # {} 2 3",
        "",
        " ",
        " x",
        " 1 x",
    ]);
    let line =
        (name, proptest::collection::vec(label, 0..4), 0..4_u8, behind).prop_map(|(name, labels, form, behind)| {
            let labels = labels.join(",");
            match form {
                0 => format!("{name}{behind}"),
                1 => format!("{name} {{{labels}}}{behind}"),
                _ => format!("{name}{{{labels}}}{behind}"),
            }
        });
    let comment = proptest::sample::select(vec![
        "# TYPE m counter",
        "# TYPE m histogram",
        "# TYPE m_total gauge",
        "# TYPE n:a summary",
        "# HELP m x",
        "",
        "# EOF",
    ]);
    proptest::collection::vec(prop_oneof![8 => line, 1 => comment.prop_map(str::to_owned)], 1..12)
}

/// A body, the labels of its request, and whether it is OpenMetrics.
type Request = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, bool);

/// Bodies of lines that come again in other places, with the labels of their requests, and cut or changed somewhere.
fn bodies() -> impl Strategy<Value = Vec<Request>> {
    let labels = proptest::sample::select(vec![
        vec![],
        vec![("job", "j")],
        vec![("job", "k\"")],
        vec![("job", "")],
        vec![("job", "j"), ("instance", "i")],
        vec![("a", "x"), ("e", "")],
        vec![("bad", "much too long for the bound of tags")],
    ]);
    lines().prop_flat_map(move |lines| {
        let body = proptest::collection::vec(0..lines.len(), 1..16);
        let change = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), any::<bool>()));
        let body = (body, labels.clone(), any::<bool>(), change).prop_map(move |(order, labels, is_open, change)| {
            let mut body = order.iter().map(|&line| format!("{}\n", lines[line])).collect::<String>().into_bytes();
            if is_open {
                body.extend_from_slice(b"# EOF\n");
            }
            if let Some((place, byte, is_cut)) = change {
                let place = place.index(body.len());
                if is_cut { body.truncate(place) } else { body[place] = byte }
            }
            let labels = labels.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
            (body, labels.collect(), is_open)
        });
        proptest::collection::vec(body, 1..8)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn a_cached_series_is_read_as_without_the_cache(bodies in bodies(), is_narrow: bool) {
        let mut bounds = Bounds::default();
        if is_narrow {
            bounds = Bounds { name_bytes_limit: 6, tags_limit: 2, tag_bytes_limit: 8, ..bounds };
        }
        let (mut cached, mut reference) = (Text::new(bounds), reference(bounds));
        for (body, labels, is_open) in bodies {
            let format = if is_open { Format::OpenMetrics } else { Format::Prometheus };
            let options = Options { format, labels: &labels };
            let expected = decode_with(&mut reference, &body, &options);
            let decoded = decode_with(&mut cached, &body, &options);
            prop_assert_eq!(decoded, expected, "{}", String::from_utf8_lossy(&body));
        }
    }
}

fn same(cached: &mut Text, reference: &mut Text, body: &str, options: &Options<'_>) -> Decoding {
    let decoded = decode_with(cached, body.as_bytes(), options);
    assert_eq!(decoded, decode_with(reference, body.as_bytes(), options), "{body}");
    decoded
}

#[test]
fn a_full_cache_still_reads_every_series() {
    let (mut cached, mut reference) = (Text::new(Bounds::default()), reference(Bounds::default()));
    for round in 0..4 {
        let body: String =
            (0..SERIES_CACHED_MAX + 500).map(|index| format!("m{index}{{instance=\"i{round}\"}} {round}\n")).collect();
        let (_, lines, _) = same(&mut cached, &mut reference, &body, &PROMETHEUS);
        assert_eq!(lines.len(), SERIES_CACHED_MAX + 500);
    }
    let kept = cached.cached.kept_bytes();
    assert!(kept > SERIES_CACHED_MAX * 480 && kept < SERIES_CACHED_MAX * 520, "{kept}");
    cached.trim();
    assert_eq!(cached.cached.kept_bytes(), kept);
}

#[test]
fn the_type_of_a_cached_series_is_that_of_its_body() {
    let (mut cached, mut reference) = (Text::new(Bounds::default()), reference(Bounds::default()));
    for (kind, expected) in [("counter", "counter"), ("gauge", "gauge"), ("counter", "counter"), ("", "untyped")] {
        let body = format!("# TYPE m {kind}\nm{{a=\"1\"}} 1\nm 2\nm{{a=\"1\",instance=\"x\"}} 3\n");
        let (_, lines, _) = same(&mut cached, &mut reference, &body, &PROMETHEUS);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.contains(&format!("\"type\":\"{expected}\""))));
    }
}

#[test]
fn the_labels_of_a_request_are_those_of_its_lines() {
    let (mut cached, mut reference) = (Text::new(Bounds::default()), reference(Bounds::default()));
    let body = "m{a=\"1\",instance=\"x\"} 1\nm{} 1\nm 1\n";
    for round in 0..3 {
        for (key, value) in [("job", "j"), ("job", "k"), ("a", "2"), ("instance", "i"), ("instance", "")] {
            let labels = [(key.as_bytes().to_vec(), format!("{value}{round}").into_bytes())];
            let options = Options { format: Format::Prometheus, labels: &labels };
            let (_, lines, _) = same(&mut cached, &mut reference, body, &options);
            assert!(lines.iter().all(|line| line.contains(&format!("\"{key}\":\"{value}{round}\""))));
        }
    }
    // Labels that do not fit with those of the line are found out before a line is written.
    let long = [(b"job".to_vec(), vec![b'x'; 4_000])];
    for bytes in [10, 1_048_000, 1_048_570] {
        let labels = [(b"long".to_vec(), vec![b'y'; bytes]), long[0].clone()];
        let options = Options { format: Format::Prometheus, labels: &labels[..1 + usize::from(bytes == 10)] };
        let mut out = vec![0; 8 << 20];
        let mut counts = Vec::new();
        for text in [&mut cached, &mut reference] {
            let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
            text.decode(body.as_bytes(), &options, &mut sink).unwrap();
            counts.push((sink.decoded().metrics, sink.decoded().rejected));
        }
        assert_eq!(counts[0], counts[1]);
    }
}

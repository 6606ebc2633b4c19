mod cache;

use super::*;
use crate::limits::JSON_DEPTH_MAX;
use crate::{Decoded, Line, Rejected};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const ARRIVAL_MS: i64 = 1_795_838_680_000;

fn decode(body: &[u8]) -> Result<(Vec<String>, Decoded), DecodeError> {
    let mut out = vec![0; 256 * 1024];
    let mut sink = LineSink::new(&mut out, ARRIVAL_MS);
    Collectd::new(Bounds::default()).decode(body, &mut sink)?;
    let decoded = sink.decoded();
    let text = String::from_utf8(out[..decoded.bytes].to_vec()).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert!(lines.iter().all(|line| Line::parse(line.as_bytes()).is_ok()), "{lines:?}");
    Ok((lines, decoded))
}

/// A body of collectd 5.12 with two value lists.
const CAPTURED: &str = concat!(
    r#"[{"values":[0.27,null,0.05],"dstypes":["gauge","gauge","gauge"],"dsnames":["shortterm","midterm","longterm"],"#,
    r#""time":1795838679.455,"interval":1.000,"host":"a1","plugin":"load","plugin_instance":"","type":"load","#,
    r#""type_instance":""},{"values":[18446744073709551615,-3],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"#,
    r#""time":1795838679.456,"interval":1.000,"host":"a1","plugin":"interface","plugin_instance":"eth0","#,
    r#""type":"if_octets","type_instance":"x","meta":{"network:received":true,"a":{"b":[1]}}}]"#
);

#[test]
fn captured_value_lists_become_lines() {
    let (lines, decoded) = decode(CAPTURED.as_bytes()).unwrap();
    let load = r#""type":"gauge","tags":{"host":"a1"}}"#;
    let interface = r#""type":"counter","tags":{"host":"a1","plugin_instance":"eth0","type_instance":"x"}}"#;
    assert_eq!(
        lines,
        [
            ("39.455", "collectd_load_load_shortterm", "0.27", load),
            ("39.455", "collectd_load_load_longterm", "0.05", load),
            ("39.456", "collectd_interface_if_octets_rx", "18446744073709551615", interface),
            ("39.456", "collectd_interface_if_octets_tx", "-3", interface),
        ]
        .map(|(second, name, value, rest)| format!(
            r#"{{"timestamp":"2026-11-28T04:04:{second}Z","name":"{name}","value":{value},{rest}"#
        ))
    );
    assert_eq!((decoded.metrics, decoded.rejected(), decoded.skipped[Skip::Null as usize]), (4, 0, 1));
}

#[test]
fn each_type_has_its_kind() {
    let body = json!([{
        "values": [1, 2, 3, 4, 5], "dstypes": ["gauge", "derive", "counter", "absolute", "other"],
        "dsnames": ["a", "b", "c", "d", "e"], "time": 1_795_838_679, "plugin": "p", "type": "t",
    }]);
    let (lines, decoded) = decode(body.to_string().as_bytes()).unwrap();
    let kinds: Vec<_> = lines.iter().map(|line| line.split(r#""type":""#).nth(1).unwrap()).collect();
    assert_eq!(
        kinds,
        [r#"gauge","tags":{}}"#, r#"counter","tags":{}}"#, r#"counter","tags":{}}"#, r#"gauge","tags":{}}"#]
    );
    assert!(lines[0].contains("04:04:39.000Z"), "{}", lines[0]);
    assert_eq!(decoded.first_rejected, Some(Rejected::new(Reject::Syntax, 0)));
}

/// A good value list with some members replaced, or removed by `()`.
fn list_with(members: &[(&str, Json)]) -> Json {
    let mut list = json!({"values": [1, 2], "dstypes": ["gauge", "gauge"], "dsnames": ["a", "b"],
        "time": 1_795_838_679.5, "interval": 10.0, "host": "h",
        "plugin": "p", "plugin_instance": "", "type": "t", "type_instance": ""});
    for (name, value) in members {
        list[name] = value.clone();
    }
    list
}

#[test]
fn a_list_that_cannot_be_stored_is_rejected_alone() {
    for (members, reason, rejected) in [
        (vec![("values", json!([1]))], Reject::Syntax, 1),
        (vec![("values", json!([1, 2, 3]))], Reject::Syntax, 3),
        (vec![("dstypes", json!(["gauge"]))], Reject::Syntax, 2),
        (vec![("dsnames", json!([]))], Reject::Syntax, 2),
        (vec![("values", json!([]))], Reject::Syntax, 1),
        (vec![("values", json!([])), ("dstypes", json!([])), ("dsnames", json!([]))], Reject::Syntax, 1),
        (vec![("values", json!({}))], Reject::Syntax, 1),
        (vec![("host", json!(1))], Reject::Syntax, 2),
        (vec![("time", json!("now"))], Reject::Syntax, 2),
        (vec![("time", json!(1e18))], Reject::Timestamp, 2),
        (vec![("plugin", json!(""))], Reject::Name, 2),
        (vec![("type", Json::Null)], Reject::Name, 2),
        (vec![("plugin", json!("x".repeat(255)))], Reject::Name, 2),
        (vec![("dsnames", json!(["", 1]))], Reject::Name, 2),
        (vec![("values", json!(["1", true]))], Reject::Value, 2),
        (vec![("values", json!([null, [1]]))], Reject::Value, 1),
        (vec![("host", json!("x".repeat(1024 * 1024 + 1)))], Reject::Tags, 2),
    ] {
        let body = json!([list_with(&[]), list_with(&members), list_with(&[])]).to_string();
        let (lines, decoded) = decode(body.as_bytes()).unwrap();
        assert_eq!((lines.len(), decoded.rejected()), (4, rejected), "{members:?}");
        assert_eq!(decoded.first_rejected, Some(Rejected::new(reason, 1)), "{members:?}");
    }
    let (lines, decoded) = decode(br#"[1,"a",null,{},[],{"x":1}]"#).unwrap();
    assert_eq!((lines.len(), decoded.rejected[Reject::Syntax as usize]), (0, 6));
}

#[test]
fn spaces_in_front_of_a_value_change_nothing() {
    let list = list_with(&[]).to_string();
    for name in ["values", "time", "host", "type"] {
        let spaced = list_with(&[("host", json!("i")), ("values", json!([3, 4]))]).to_string();
        let spaced = spaced.replace(&format!("\"{name}\":"), &format!("\"{name}\": \n"));
        let (lines, decoded) = decode(format!("[{list},{spaced},{list}]").as_bytes()).unwrap();
        assert_eq!((lines.len(), decoded.rejected()), (6, 0), "{spaced}");
    }
}

#[test]
fn an_infinite_value_is_rejected() {
    let body = CAPTURED.replace("0.27", "1e999");
    let (lines, decoded) = decode(body.as_bytes()).unwrap();
    assert_eq!((lines.len(), decoded.first_rejected), (3, Some(Rejected::new(Reject::Value, 0))));
}

#[test]
fn a_list_without_time_has_the_time_of_arrival() {
    let (lines, _) = decode(json!([list_with(&[("time", Json::Null)])]).to_string().as_bytes()).unwrap();
    assert!(lines[0].contains("04:04:40.000Z"), "{}", lines[0]);
}

#[test]
fn a_notification_is_skipped() {
    let body =
        br#"[{"labels":{"alertname":"collectd_cpu","instance":"h"},"annotations":{"summary":"s"},"startsAt":"2026"}]"#;
    let (lines, decoded) = decode(body).unwrap();
    assert_eq!((lines.len(), decoded.rejected(), decoded.skipped[Skip::Metadata as usize]), (0, 0, 1));
}

#[test]
fn a_body_of_another_protocol_is_malformed() {
    for body in [
        "",
        " ",
        "{}",
        "1",
        "[",
        "[{",
        "[{}",
        "[{}]]",
        "[{},]",
        "{\"metrics\":[]}",
        "[{\"values\":[01]}]",
        "\u{feff}[]",
    ] {
        assert!(matches!(decode(body.as_bytes()), Err(DecodeError::Malformed { .. })), "{body}");
    }
    for end in 0..CAPTURED.len() {
        let Err(DecodeError::Malformed { byte, .. }) = decode(&CAPTURED.as_bytes()[..end]) else { panic!("{end}") };
        assert!(byte <= end);
    }
    assert_eq!(decode(b" [ ] ").unwrap().1.metrics, 0);
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth| format!(r#"[{{"meta":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    assert!(decode(nested(JSON_DEPTH_MAX - 2).as_bytes()).is_ok());
    for depth in [JSON_DEPTH_MAX - 1, 1_000_000] {
        assert!(matches!(decode(nested(depth).as_bytes()), Err(DecodeError::Malformed { .. })));
    }
    let values = format!(r#"[{{"values":[{}1]}}]"#, "1,".repeat(PROTOCOL_METRICS_MAX));
    assert_eq!(decode(values.as_bytes()).unwrap_err(), DecodeError::TooManyMetrics);
}

#[test]
fn memory_of_a_large_body_is_freed() {
    let mut decoder = Collectd::new(Bounds::default());
    let body = format!(r#"[{{"values":[{}1]}}]"#, "1,".repeat(PROTOCOL_METRICS_MAX - 1));
    decoder.decode(body.as_bytes(), &mut LineSink::new(&mut [], ARRIVAL_MS)).unwrap();
    assert!(decoder.kept_bytes() > SERIES_KEPT_BYTES_MAX);
    decoder.trim();
    assert!(decoder.kept_bytes() <= 2 * SERIES_KEPT_BYTES_MAX);
}

/// Members of a value list in the order of `keys`, as text.
fn spelled(list: &Json, keys: &[usize], escaped: bool) -> String {
    let members: Vec<_> = list.as_object().unwrap().iter().collect();
    let ordered = keys.iter().map(|&index| members[index]);
    let spelled = ordered.map(|(name, value)| {
        let name = if escaped { name.replace('t', "\\u0074") } else { name.clone() };
        format!("\"{name}\" : {value}")
    });
    format!("{{ {} }}", spelled.collect::<Vec<_>>().join(" , "))
}

/// A float that `serde_json` reads back exactly.
fn eighths(eighths: i32) -> Json {
    Json::from(f64::from(eighths) / 8.0)
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![any::<i64>().prop_map(Json::from), any::<i32>().prop_map(eighths), Just(Json::Null)]
}

prop_compose! {
    fn list()(
        values in prop::collection::vec(value(), 1..4),
        host in ".{0,6}",
        plugin in "[a-zé\"]{1,6}",
        kind in "[a-z\n]{1,6}",
        instance in "[a-z]{0,3}",
        seconds in 0..4_000_000_000_i64,
        types in prop::collection::vec(0..4_usize, 4),
    ) -> Json {
        let types = types.iter().take(values.len()).map(|&kind| ["gauge", "derive", "counter", "absolute"][kind]);
        let names: Vec<_> = (0..values.len()).map(|index| format!("n{index}")).collect();
        json!({
            "values": values, "dstypes": types.collect::<Vec<_>>(), "dsnames": names, "time": seconds, "interval": 1,
            "host": host, "plugin": plugin, "plugin_instance": instance, "type": kind, "type_instance": "",
            "meta": {"k": [null, {}]},
        })
    }
}

/// The lines of `lists`, by way of `serde_json`.
fn reference(lists: &[Json]) -> Vec<Json> {
    let mut lines = Vec::new();
    for list in lists {
        let text = |name: &str| list[name].as_str().unwrap();
        let mut tags = serde_json::Map::new();
        for tag in ["host", "plugin_instance", "type_instance"].into_iter().filter(|tag| !text(tag).is_empty()) {
            tags.insert(tag.to_owned(), list[tag].clone());
        }
        for (index, value) in
            list["values"].as_array().unwrap().iter().enumerate().filter(|(_, value)| !value.is_null())
        {
            let name = list["dsnames"][index].as_str().unwrap();
            let counter = matches!(list["dstypes"][index].as_str().unwrap(), "derive" | "counter");
            lines.push(json!({
                "name": format!("collectd_{}_{}_{name}", text("plugin"), text("type")), "value": value, "tags": tags,
                "type": if counter { "counter" } else { "gauge" },
            }));
        }
    }
    lines
}

proptest! {
    #[test]
    fn value_lists_are_those_of_the_reference(
        lists in prop::collection::vec(list(), 0..4),
        keys in Just((0..11).collect::<Vec<usize>>()).prop_shuffle(),
        escaped: bool,
    ) {
        let plain = serde_json::to_string(&lists).unwrap();
        let shuffled: Vec<_> = lists.iter().map(|list| spelled(list, &keys, escaped)).collect();
        let (lines, decoded) = decode(plain.as_bytes()).unwrap();
        let (lines_shuffled, decoded_shuffled) = decode(format!("[ {} ]", shuffled.join(" , ")).as_bytes()).unwrap();
        prop_assert_eq!(&lines, &lines_shuffled);
        prop_assert_eq!(decoded, decoded_shuffled);
        let seen: Vec<Json> = lines.iter().map(|line| {
            let mut line: Json = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("timestamp");
            line
        }).collect();
        prop_assert_eq!(seen, reference(&lists));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic(
        at in 0..CAPTURED.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..3),
        cut in 0..3_usize,
    ) {
        let mut body = CAPTURED.as_bytes().to_vec();
        let end = (at + cut).min(body.len());
        body.splice(at..end, bytes);
        if let Ok((lines, decoded)) = decode(&body) {
            prop_assert_eq!(lines.len(), decoded.metrics as usize);
        }
    }
}

/// Value lists in JSON that differ in few of their members: in a value, in the order, or by a member too many or too
/// few.
fn lists_alike() -> impl Strategy<Value = Vec<String>> {
    const MEMBERS: [(&str, &[&str]); 9] = [
        ("values", &["[1]", "[1.5]", "[1.55]", "[null]", "[1,2]", "7", "[\"x\"]"]),
        ("dstypes", &["[\"gauge\"]", "[\"derive\"]", "[\"other\"]", "[\"gauge\",\"derive\"]"]),
        ("dsnames", &["[\"a\"]", "[\"b\"]", "[\"\"]", "[\"a\",\"b\"]", "[ \"a\" ]"]),
        ("time", &["1.5", "1.55", "2", "null", "1e99", "\"x\""]),
        ("host", &["\"h\"", "\"hh\"", "\"h\\u0020\"", "\"\"", "null", "1"]),
        ("plugin", &["\"p\"", "\"q\"", "\"\""]),
        ("type", &["\"t\"", "\"u\"", "\"\\\"\""]),
        ("type_instance", &["\"\"", "\"i\"", "\"\u{e9}\"", "true"]),
        ("labels", &["{}", "[1,{\"host\":\"x\"}]"]),
    ];
    let member = (0..MEMBERS.len(), any::<u8>());
    let change = prop_oneof![
        4 => member.clone().prop_map(|(at, other)| (0, at, other)),
        1 => (1..5_u8, member).prop_map(|(kind, (at, other))| (kind, at, other)),
    ];
    let list = prop::collection::vec(change, 0..3);
    prop::collection::vec(list, 1..6).prop_map(|lists| {
        let mut members: Vec<_> =
            MEMBERS[..8].iter().map(|(name, values)| (format!("\"{name}\":"), values[0])).collect();
        let mut spelled = Vec::new();
        for changes in lists {
            let before = members.clone();
            for (kind, at, other) in changes {
                let (name, values) = MEMBERS[at];
                let value = values[usize::from(other) % values.len()];
                let at = members.iter().position(|member| member.0.contains(name)).unwrap_or(0);
                match kind {
                    1 => members.push((format!("\"{name}\" : "), value)),
                    2 if members.len() > 1 => drop(members.remove(at)),
                    3 => members.swap(0, at),
                    4 => members[at].0 = members[at].0.replace('t', "\\u0074"),
                    _ => members[at].1 = value,
                }
            }
            let list: Vec<_> = members.iter().map(|(name, value)| format!("{name}{value}")).collect();
            spelled.push(format!("{{{}}}", list.join(",")));
            // What is odd does not last.
            if members.len() != before.len() {
                members = before;
            }
        }
        spelled
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_list_is_read_the_same_behind_any_other(lists in lists_alike()) {
        let together = decode(format!("[{}]", lists.join(",")).as_bytes());
        let mut apart = Vec::new();
        let (mut rejected, mut skipped) = ([0; Reject::COUNT], [0; Skip::COUNT]);
        for list in &lists {
            let (lines, decoded) = decode(format!("[{list}]").as_bytes()).unwrap();
            apart.extend(lines);
            rejected.iter_mut().zip(decoded.rejected).for_each(|(sum, count)| *sum += count);
            skipped.iter_mut().zip(decoded.skipped).for_each(|(sum, count)| *sum += count);
        }
        let (together, decoded) = together.unwrap();
        prop_assert_eq!(together, apart);
        prop_assert_eq!((decoded.rejected, decoded.skipped), (rejected, skipped));
    }

    #[test]
    fn damage_behind_a_list_is_found_as_alone(lists in lists_alike(), at: prop::sample::Index, byte in "[\"{}:,1e]") {
        // The same list before the damaged one, or one that has nothing in common with it.
        let mut damaged = lists[0].clone().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte.as_bytes()[0];
        let behind = |first: &str| {
            let body = [b"[", first.as_bytes(), b",", &damaged, b"]"].concat();
            decode(&body).map(|(lines, _)| lines.last().cloned())
        };
        let other = format!("{{{}}}", " ".repeat(lists[0].len() - 2));
        match (behind(&lists[0]), behind(&other)) {
            (Ok(_), Ok(_)) => {}
            (alike, apart) => prop_assert_eq!(alike, apart),
        }
    }
}

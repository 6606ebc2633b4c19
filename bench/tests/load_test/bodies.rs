//! Contents of requests: any bytes, compressed bodies, and texts that differ from request to request.

use crate::harness::{Floor, OK, program, read_request, received, recording, report, run, server};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufReader, Read, Write},
    process::Output,
};

fn load(port: u16, path: &str, arguments: &[&str]) -> Output {
    let url = format!("http://127.0.0.1:{port}{path}");
    program().args(["--url", &url, "--format", "json"]).args(arguments).output().unwrap()
}

#[test]
fn a_file_is_sent_byte_for_byte() {
    let (port, requests) = recording();
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..=255).chain(*b"\r\n\r\n{{seq}}{{no}}\0").collect();
    fs::write(file.path(), &bytes).unwrap();
    let body = format!("@{}", file.path().display());
    let output = load(port, "/", &["-c", "2", "-n", "3", "--body", &body]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for request in received(&requests, 6) {
        assert_eq!(request.body, bytes);
        assert!(request.head.contains("\r\nContent-Type: application/octet-stream\r\n"), "{}", request.head);
    }
    load(port, "/", &["-c", "1", "-n", "1", "--body", &body, "--content-type", "image/png"]);
    let request = received(&requests, 1).remove(0);
    assert!(request.head.contains("\r\nContent-Type: image/png\r\n"), "{}", request.head);
}

#[test]
fn each_request_over_all_connections_has_a_number() {
    let (port, requests) = recording();
    let body = r#"{"id":{{seq}},"dice":{{rand 1 6}},"open":"{{{{","big":{{rand}}}"#;
    let arguments = ["-c", "7", "-n", "20", "-t", "2", "--pipeline", "2", "--body", body, "-H", "X-Id: a{{seq}}z"];
    let output = load(port, "/items/{{seq}}?r={{rand 5 5}}", &arguments);
    let found = report(&output);
    assert_eq!((&found["successes"], output.status.code()), (&json!(140), Some(0)), "{found}");
    let (mut numbers, mut bigs) = (BTreeSet::new(), BTreeSet::new());
    for request in received(&requests, 140) {
        let document: Value = serde_json::from_str(request.text()).unwrap_or_else(|error| panic!("{error}"));
        let number = document["id"].as_u64().unwrap();
        assert!(request.head.starts_with(&format!("POST /items/{number}?r=5 HTTP/1.1\r\n")), "{}", request.head);
        assert!(request.head.contains(&format!("\r\nX-Id: a{number}z\r\n")), "{}", request.head);
        assert!((1..=6).contains(&document["dice"].as_u64().unwrap()));
        assert_eq!(document["open"], "{{");
        numbers.insert(number);
        bigs.insert(document["big"].as_u64().unwrap());
    }
    assert_eq!(numbers, (0..140).collect(), "unique, from zero, without a gap");
    assert_eq!(bigs.len(), 140, "every random number is another");
}

#[test]
fn lines_of_a_file_are_templates_too() {
    let (port, requests) = recording();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), b"cpu value={{seq}}\n\xff{{rand 3 3}}\n").unwrap();
    let path = file.path().display().to_string();
    let output = load(port, "/", &["-c", "1", "-n", "2", "--body-file", &path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let bodies: Vec<_> = received(&requests, 2).into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [&b"cpu value=0"[..], b"\xff3"]);
}

#[test]
fn compressed_bodies_are_what_they_were() {
    let (port, requests) = recording();
    let text = "cpu value=1\n".repeat(500);
    for coding in ["gzip", "zstd"] {
        let output = load(port, "/", &["-c", "1", "-n", "2", "--body", &text, "--compress", coding]);
        assert_eq!(report(&output)["setup"]["compress"], coding, "{output:?}");
        for request in received(&requests, 2) {
            assert!(request.head.contains(&format!("\r\nContent-Encoding: {coding}\r\n")), "{}", request.head);
            assert!(request.body.len() < text.len() / 10);
            let mut back = Vec::new();
            if coding == "gzip" {
                flate2::read::GzDecoder::new(&request.body[..]).read_to_end(&mut back).unwrap();
            } else {
                back = zstd::bulk::decompress(&request.body, text.len()).unwrap();
            }
            assert_eq!(back, text.as_bytes());
        }
    }
}

#[test]
fn compressed_batches_count_their_metrics() {
    let floor = Floor::start("auto");
    let output = run(floor.port, "2 10 --batch 30 --compress gzip");
    assert_eq!((report(&output)["metrics_acknowledged"].clone(), output.status.code()), (json!(600), Some(0)));
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    for (arguments, says) in [
        (&["--body", "{{sequence}}"][..], "{{sequence}} is not known: there are {{seq}}, {{rand}}, {{rand FROM TO}}"),
        (&["--body", "{{seq"], "a {{ has no }}"),
        (&["-H", "X: {{rand 2 1}}"], "2 is more than 1"),
        (&["--body", "{{seq}}", "--compress", "zstd"], "would be measured as latency of the server"),
        (&["--compress", "gzip", "-H", "Content-Encoding: br"], "leave the header out"),
        (&["--method", "GET", "--compress", "gzip"], "these requests have no body"),
        (&["--content-type", "png"], "TYPE/SUBTYPE"),
        (&["--body", "x", "--seed", "2"], "here it does nothing"),
        (&["--body", "@/nonexistent"], "/nonexistent: No such file"),
    ] {
        let output = load(1, "/", &[&["-c", "1", "-n", "1"], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn other_bodies_are_not_comparable() {
    let port = server(|mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while read_request(&mut reader) && stream.write_all(OK.as_bytes()).is_ok() {}
    });
    let directory = tempfile::tempdir().unwrap();
    let earlier = directory.path().join("earlier.json");
    let usual = ["-c", "1", "-n", "2", "--body", "text"];
    fs::write(&earlier, load(port, "/", &usual).stdout).unwrap();
    let baseline = earlier.display().to_string();
    for (arguments, says) in [
        (&["-c", "1", "-n", "2", "--body", "{{seq}}"][..], "templates false there, true here"),
        (&["-c", "1", "-n", "2", "--body", "text", "--compress", "gzip"], "compress null there, \"gzip\" here"),
        (&["-c", "1", "-n", "2", "--body", "text", "--content-type", "a/b"], "\"a/b\" here"),
        (&["-c", "1", "-n", "2", "--body", "text2"], "body_bytes 4.0 there, 5.0 here"),
    ] {
        let output = load(port, "/", &[arguments, &["--baseline", &baseline]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {said}");
        assert!(said.contains("not comparable") && said.contains(says), "{arguments:?}: {said}");
    }
    let same = load(port, "/", &[&usual[..], &["--baseline", &baseline]].concat());
    assert_eq!(same.status.code(), Some(0), "{same:?}");
}

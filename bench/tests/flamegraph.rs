//! `flamegraph` on texts that perf recorded: stacks are folded, summed up, timed and drawn as they were.
#![expect(clippy::unwrap_used, reason = "all of it is test, the parts outside #[test] functions too")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
};

/// Seven samples of a server under load: parser, head of a request (twice, at two addresses), limiter, writev, pwrite,
/// send.
const CPU_CLOCK: &str = include_str!("data/cpu_clock.txt");
/// A writer (11) and a reactor (12) leave their cores and come back.
const SCHED: &str = include_str!("data/sched.txt");

fn flamegraph(arguments: &[&str], input: &str) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_flamegraph"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (process.stdin.take().unwrap(), input.to_owned());
    // It may end without reading: a broken pipe is its right.
    let writing = thread::spawn(move || stdin.write_all(input.as_bytes()).is_ok());
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    output
}

/// Runs the program, which must succeed, and returns its standard output.
fn printed(arguments: &[&str], input: &str) -> String {
    let output = flamegraph(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, which must fail, and returns its error text.
fn refused(arguments: &[&str], input: &str) -> String {
    let output = flamegraph(arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn folded() -> String {
    printed(&["collapse"], CPU_CLOCK)
}

/// Folded stacks in a file, for `diff` takes two.
fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Red, green and blue of the frame whose name begins so.
fn colour(svg: &str, name: &str) -> [u8; 3] {
    let frame = &svg[svg.find(&format!("<title>{name}")).unwrap_or_else(|| panic!("no frame {name} in {svg}"))..];
    let fill = &frame[frame.find("fill=\"rgb(").unwrap() + "fill=\"rgb(".len()..];
    let parts: Vec<u8> = fill[..fill.find(')').unwrap()].split(',').map(|part| part.trim().parse().unwrap()).collect();
    parts.try_into().unwrap()
}

#[test]
fn stacks_are_folded_from_the_thread_to_the_innermost_frame() {
    let folded = folded();
    let lines: Vec<&str> = folded.lines().collect();
    let reactor = "reactor-0;metricstream::server::start::{{closure}};metricstream::shard::state::State::receive;\
        http1::connection::Connection<T>::advance;";
    // One function at two addresses is one stack.
    assert!(
        lines.contains(
            &format!(
                "{reactor}http1::head::parse;httparse::Request::parse_with_config_and_uninit_headers;\
                 httparse::parse_headers_iter_uninit 2"
            )
            .as_str()
        ),
        "{folded}"
    );
    assert!(
        lines.contains(
            &format!(
                "{reactor}http1::connection::Connection<T>::complete;\
                 <metricstream::service::Service as http1::connection::Service>::serve;\
                 metric::encode::BatchEncoder::encode;metric::parser::Parser::step 1"
            )
            .as_str()
        ),
        "{folded}"
    );
    // What lies below the thread's own code, and beyond the copied part of its stack, is left out.
    assert!(!folded.contains("start_thread") && !folded.contains("short_backtrace") && !folded.contains("unknown"));
    assert!(lines.iter().any(|line| line.starts_with("writer;__GI___writev;entry_SYSCALL_64_after_hwframe_[k];")));
    let samples: u64 = lines.iter().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!((samples, lines.len()), (7, 6));
    assert!(lines.is_sorted());
}

#[test]
fn each_sample_of_the_table_is_of_the_innermost_module() {
    let table = printed(&["modules"], &folded());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["reactor-0", "5", "71.4", "%"],
            vec!["http", "2", "28.6", "%"],
            vec!["kernel,", "called", "by", "reactor", "1", "14.3", "%"],
            vec!["parser", "1", "14.3", "%"],
            vec!["limiter", "1", "14.3", "%"],
            vec!["writer", "2", "28.6", "%"],
            vec!["kernel,", "called", "by", "other", "2", "28.6", "%"],
        ],
        "{table}"
    );
}

#[test]
fn reactor_parser_and_writer_have_colours_of_their_own() {
    let folded = folded() + "writer;log::writer::Writer<F>::run 3\n";
    let svg = printed(&["draw", "--title", "Under load", "--min-width", "0"], &folded);
    assert!(svg.starts_with("<?xml") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("Under load") && svg.contains("reactor blue, http green, parser red"));
    let [red, green, blue] = colour(&svg, "reactor::uring::queue::Queue::enter");
    assert!(blue > green && green > red, "the reactor is blue");
    let [red, green, blue] = colour(&svg, "metric::parser::Parser::step");
    assert!(red > 2 * green.min(blue), "the parser is red");
    let [red, green, blue] = colour(&svg, "log::writer::Writer&lt;F&gt;::run");
    assert!(red.abs_diff(green) < 40 && blue < green / 2, "the writer is yellow");
    let [red, green, blue] = colour(&svg, "tcp_sendmsg");
    assert!(red == green && green == blue, "the kernel is grey");
    assert_eq!(
        svg,
        printed(&["draw", "--title", "Under load", "--min-width", "0"], &folded),
        "a picture is reproducible"
    );
}

#[test]
fn frames_that_are_too_narrow_are_left_out() {
    let folded = "thread;wide 999\nthread;narrow 1\n";
    assert!(printed(&["draw", "--min-width", "0"], folded).contains("<title>narrow"));
    assert!(!printed(&["draw", "--min-width", "1"], folded).contains("<title>narrow"));
}

#[test]
fn a_difference_is_red_for_more_and_blue_for_less() {
    let directory = tempfile::tempdir().unwrap();
    let before = file(&directory, "before", "thread;parse 50\nthread;send 50\n");
    // Twice the samples, of which a larger share is parsing: sending has become less although its count is higher.
    let after = file(&directory, "after", "thread;parse 140\nthread;send 60\n");
    let svg = printed(&["diff", before.to_str().unwrap(), after.to_str().unwrap(), "--title", "Two"], "");
    let [red, _, blue] = colour(&svg, "parse");
    assert!(red > blue && svg.contains("+20.00%"), "{svg}");
    let [red, _, blue] = colour(&svg, "send");
    assert!(blue > red && svg.contains("-20.00%"), "{svg}");
    let [red, green, blue] = colour(&svg, "thread");
    assert!(red == green && green == blue);
}

#[test]
fn a_wholly_new_caller_is_red_in_a_difference() {
    let directory = tempfile::tempdir().unwrap();
    let before = file(&directory, "before", "reactor;epoll_wait;schedule 536\nreactor;parse 464\n");
    let after = file(&directory, "after", "reactor;io_uring_enter;sock_sendmsg;tcp 536\nreactor;parse 464\n");
    let (before, after) = (before.to_str().unwrap(), after.to_str().unwrap());
    let svg = printed(&["diff", before, after], "");
    for new in ["io_uring_enter", "sock_sendmsg", "tcp"] {
        let [red, green, blue] = colour(&svg, new);
        assert!(red > green + 100 && green == blue, "{new}");
        assert!(svg.contains(&format!("<title>{new} (536 samples, 53.60%; +53.60%, was 0.00%)")), "{svg}");
    }
    assert_eq!(colour(&svg, "parse"), [255, 255, 255]);
    assert!(svg.contains(">io_uring_enter</text>"), "a label is the name alone");
    assert!(!svg.contains("<title>epoll_wait"), "what is gone has no width after");
    let svg = printed(&["diff", before, after, "--widths", "before"], "");
    let [red, _, blue] = colour(&svg, "epoll_wait");
    assert!(blue > red + 100 && !svg.contains("<title>io_uring_enter"), "{svg}");
    let table = printed(&["changes", before, after], "");
    assert!(table.contains("+53.60 %     0.00 ->  53.60 %  io_uring_enter  new"), "{table}");
    assert!(table.contains("-53.60 %    53.60 ->   0.00 %  epoll_wait  gone"), "{table}");
    assert!(!table.contains("parse") && !table.contains("reactor"), "{table}");
}

#[test]
fn a_thread_blocked_all_the_time_is_drawn_off_cpu() {
    let directory = tempfile::tempdir().unwrap();
    let stack = "\t[<0>] futex_wait_queue+0x60/0x90\n\t[<0>] __x64_sys_futex+0x7f/0x1a0\n";
    let asleep = file(&directory, "asleep", &format!("13 S group commit\n{stack}14 R busy\n11 S writer\n"));
    let snapshot = ["--snapshot", asleep.to_str().unwrap(), "--seconds", "2"];
    // Without one event of it in the recording, nor of any other.
    let folded = printed(&[&["offcpu", "--threads", "13,14"], &snapshot[..]].concat(), "");
    assert_eq!(folded, "group commit;__x64_sys_futex_[k];futex_wait_queue_[k];[blocked] 2000000\n");
    // The writer ran when the recording began, whatever it did before: its first event says so.
    let with = printed(&[&["offcpu", "--threads", "11,12,13"], &snapshot[..]].concat(), SCHED);
    let without = printed(&["offcpu", "--threads", "11,12", "--seconds", "2"], SCHED);
    assert!(with.contains("futex_wait_queue_[k];[blocked] 2000000\n"), "{with}");
    assert_eq!(
        with.lines().filter(|line| !line.starts_with("group")).collect::<Vec<_>>(),
        without.lines().collect::<Vec<_>>()
    );
    assert!(
        refused(&["offcpu", "--threads", "1", "--snapshot", asleep.with_file_name("none").to_str().unwrap()], "")
            .contains("No such")
    );
}

#[test]
fn the_title_of_a_picture_ends_with_its_samples() {
    let svg = printed(&["draw", "--title", "MetricsStream 1a2b3c4, load -c 64"], "a;f 40\na;g 2\n");
    assert!(svg.contains(">MetricsStream 1a2b3c4, load -c 64, 42 samples<"), "{svg}");
}

#[test]
fn blocked_and_waiting_for_a_core_differ_by_colour() {
    let svg = printed(&["draw", "--palette", "waiting", "--unit", "us"], "a;f;[blocked] 5\na;f;[waits for a core] 5\n");
    let [red, _, blue] = colour(&svg, "[blocked]");
    assert!(blue > red + 50);
    let [red, _, blue] = colour(&svg, "[waits for a core]");
    assert!(red > blue + 50);
    assert!(svg.contains("10 us"), "the sum stands in the title");
}

#[test]
fn a_program_without_symbols_makes_no_picture() {
    let stack = |object: &str, symbol: &str| {
        format!("srv 7 1.0: cpu-clock:\n\t 99 {symbol} ({object})\n\t 12 __poll+0x4 (/lib/libc.so.6)\n\n")
    };
    let named = stack("/srv/server", "work+0x4");
    for object in ["/srv/server", "/srv/server (deleted)"] {
        let unnamed = stack(object, "[unknown]");
        let message = refused(&["collapse"], &(unnamed.repeat(2) + &named));
        assert!(message.contains("67 %") && message.contains(object), "{message}");
        let output = flamegraph(&["collapse"], &(unnamed + &named.repeat(9)));
        assert!(output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().contains("10 %"), "a few are a warning");
    }
}

#[test]
fn time_off_a_core_is_blocked_until_the_wakeup_and_then_waits() {
    let folded = printed(&["offcpu", "--threads", "11,12"], SCHED);
    let writer = "writer;log::writer::Writer<F>::sleep;__poll;do_sys_poll_[k];schedule_[k];__schedule_[k]";
    let reactor = "reactor-0;reactor::uring::queue::Queue";
    assert_eq!(
        folded.lines().collect::<Vec<_>>(),
        [
            format!("{reactor}::enter;syscall;io_cqring_wait_[k];schedule_[k];__schedule_[k];[blocked] 200"),
            format!("{reactor}::enter;syscall;io_cqring_wait_[k];schedule_[k];__schedule_[k];[waits for a core] 50"),
            // Pushed off while it could have gone on; a wake-up of who is awake changes nothing.
            format!(
                "{reactor}::flush_full;irqentry_exit_to_user_mode_[k];schedule_[k];__schedule_[k];[waits for a core] 300"
            ),
            // 400 to the first wake-up, and 100 from its second sleep to the end of the recording.
            format!("{writer};[blocked] 500"),
            format!("{writer};[waits for a core] 10"),
        ]
    );
    let svg = printed(&["draw", "--palette", "waiting", "--unit", "us"], &folded);
    let [red, green, blue] = colour(&svg, "[blocked]");
    assert!(blue > red && blue > green && svg.contains("us, "));
}

#[test]
fn threads_that_are_not_followed_are_not_counted() {
    let folded = printed(&["offcpu", "--threads", "12"], SCHED);
    assert!(folded.lines().count() == 3 && folded.lines().all(|line| line.starts_with("reactor-0;")), "{folded}");
}

#[test]
fn an_object_that_cannot_be_looked_up_keeps_the_names_of_perf() {
    let text = "server 7 1.000000: cpu-clock:\n\t 1234 work+0x4 (/nonexistent/server)\n\n";
    let output = flamegraph(&["collapse", "--inline"], text);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "server;work 1\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nonexistent/server"));
}

#[test]
fn frames_without_a_name_have_that_of_their_object() {
    let text = "server 7 1.000000: cpu-clock:\n\tffffffff81000130 [unknown] ([kernel.kallsyms])\n\t 99 [unknown] (/srv/libx.so)\n";
    assert_eq!(printed(&["collapse"], text), "server;[libx.so];[kernel.kallsyms]_[k] 1\n");
}

#[test]
fn a_recording_without_stacks_makes_no_picture() {
    assert_eq!(printed(&["collapse"], ""), "");
    let directory = tempfile::tempdir().unwrap();
    let (empty, torn) = (file(&directory, "empty", ""), file(&directory, "torn", "thread;parse\n"));
    for command in ["draw", "modules"] {
        assert!(refused(&[command], "").contains("no stack"));
        assert!(refused(&[command], "thread;parse\n").contains("not a folded stack"));
    }
    for (path, message) in [(&empty, "no stack"), (&torn, "not a folded stack")] {
        let stderr = refused(&["diff", path.to_str().unwrap(), path.to_str().unwrap()], "");
        assert!(stderr.contains(message) && stderr.contains(path.to_str().unwrap()), "{stderr}");
    }
}

use super::*;
use crate::query_pool::{Sharer, delivery::Render, response_channel::Taken};
use crossbeam_channel::unbounded;
use rate::{ClientKey, ClientKeys};
use std::sync::Mutex;
use wake::{Doorbell, mailbox::mailbox};

/// Engine that a test commands, query by query: it reports each query, and waits for the command.
struct CommandedEngine {
    queries: Sender<(String, usize)>,
    command: Receiver<Command>,
}

enum Command {
    Respond(usize),
    Refuse,
    WaitForCancel,
    /// The query's, and then until this.
    WaitForDeadline(Instant),
}

const CONTENT_TYPE: &str = "text/plain";

/// So many bytes, which take as much memory.
struct Bytes(usize);

impl Render for Bytes {
    fn append_next(&mut self, out: &mut Vec<u8>) -> bool {
        let bytes = self.0.min(1_000);
        out.resize(out.len() + bytes, b'x');
        self.0 -= bytes;
        bytes > 0
    }

    fn held_bytes(&self) -> usize {
        self.0
    }
}

impl Engine for CommandedEngine {
    fn evaluate(&self, query: &RawQuery, share: &Share<'_>) -> Result<Prepared, Failure> {
        self.queries.send((query.parameters.to_string(), share.threads)).unwrap();
        let refused = |outcome| Failure::Refused {
            outcome,
            error: unavailable(),
            text: "as commanded".into(),
            fields: Box::default(),
        };
        match self.command.recv().unwrap() {
            Command::Respond(bytes) => {
                Ok(Prepared { content_type: CONTENT_TYPE, fields: Box::default(), body: Box::new(Bytes(bytes)) })
            }
            Command::Refuse => Err(refused(Outcome::Unavailable)),
            Command::WaitForCancel => {
                while !share.cancelled.load(Ordering::Relaxed) {
                    thread::sleep(LOOK_EVERY);
                }
                Err(Failure::Cancelled)
            }
            Command::WaitForDeadline(until) => {
                thread::sleep(share.deadline.max(until).saturating_duration_since(Instant::now()));
                Err(refused(Outcome::TimedOut))
            }
        }
    }
}

/// A pool whose engine a test commands, and a reactor's end of it.
struct Bench {
    pool: Pool,
    entrance: QuerySubmitter,
    messages: wake::mailbox::Receiver<crate::shard::ShardMessage>,
    status: Arc<QueryStatus>,
    queries: Receiver<(String, usize)>,
    command: Sender<Command>,
    keys: ClientKeys,
}

/// Bytes that unread responses may hold.
const UNREAD_BYTES_MAX: usize = 256 * limits::MIB;

fn bench(threads: usize, timeout: Duration) -> Bench {
    let (query_sender, queries) = unbounded();
    let (command, command_receiver) = unbounded();
    let (sender, messages) = mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::new(Doorbell::new().unwrap()));
    let status = Arc::new(QueryStatus::new(threads));
    let pool = Pool::start(PoolSetup {
        threads,
        cores: crate::config::allowed_cores().unwrap(),
        yields: true,
        timeout,
        write_timeout: 60 * LONG,
        unread_bytes_max: UNREAD_BYTES_MAX,
        draining: Arc::default(),
        engine: CommandedEngine { queries: query_sender, command: command_receiver },
        status: Arc::clone(&status),
    })
    .unwrap();
    let entrance = pool.submitter(Arc::new(sender));
    Bench { pool, entrance, messages, status, queries, command, keys: ClientKeys::new() }
}

const LONG: Duration = Duration::from_secs(60);
/// Asleep: the pool's threads yield to everybody who is awake.
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl Bench {
    fn submit(&self, name: &str, head_only: bool) -> Result<Reader, HttpError> {
        self.submit_as("somebody", name, head_only)
    }

    fn submit_as(&self, client: &str, name: &str, head_only: bool) -> Result<Reader, HttpError> {
        let sharer = Sharer::proven(self.keys.authorization(client.as_bytes()));
        self.submit_for(sharer, name, head_only)
    }

    fn submit_for(&self, sharer: Sharer, name: &str, head_only: bool) -> Result<Reader, HttpError> {
        let query = query(sharer, name, head_only);
        self.entrance.submit(Box::new(query), Token::new(0, 0)).map_err(|(error, _)| error)
    }

    /// The next query that is begun, and how many threads it may use.
    fn begun(&self) -> (String, usize) {
        self.queries.recv_timeout(LONG).expect("a query is begun")
    }

    /// Runs a query of this client whose response has so many bytes, of which nothing is read.
    fn unread(&self, client: &str, bytes: usize) -> Reader {
        let reader = self.submit_as(client, "large", false).unwrap();
        assert_eq!(self.begun().0, "large");
        self.command.send(Command::Respond(bytes)).unwrap();
        reader
    }

    /// Waits until so many responses are put aside.
    fn wait_for_unread(&self, count: u64) {
        let end = Instant::now() + LONG;
        while self.status.unread() != count {
            assert!(Instant::now() < end, "waited in vain for {count} unread: {:?}", self.status);
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the count of what ended so is `count`.
    fn wait(&self, outcome: Outcome, count: u64) {
        let end = Instant::now() + LONG;
        while self.status.ended(outcome) != count {
            assert!(Instant::now() < end, "waited in vain for {outcome:?}: {:?}", self.status);
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn query(sharer: Sharer, name: &str, head_only: bool) -> RawQuery {
    RawQuery {
        sharer,
        path: "/query".into(),
        parameters: name.into(),
        has_form: false,
        accept: None,
        accept_encoding: None,
        head_only,
    }
}

/// More than the queue of one response takes.
const LARGE: usize = 3 * limits::PIECES_WAITING_MAX * http1::limits::PIECE_BYTES_MAX;

/// All parts of a response, each waited for.
fn parts(reader: &Reader) -> Vec<ResponseEvent> {
    let end = Instant::now() + LONG;
    let mut parts = Vec::new();
    loop {
        match reader.take() {
            Taken::Event(part) => parts.push(part),
            Taken::Nothing => thread::sleep(LOOK_EVERY),
            Taken::Ended => return parts,
        }
        assert!(Instant::now() < end, "no end: {parts:?}");
    }
}

#[test]
fn what_fits_into_a_piece_is_one_part_and_more_is_many() {
    let bench = bench(1, LONG);
    let max = http1::limits::PIECE_BYTES_MAX;
    for (bytes, pieces) in [(0, 1), (1, 1), (max, 1), (max + 1, 2), (2 * max, 2), (5 * max + 7, 6)] {
        let reader = bench.submit("q", false).unwrap();
        bench.command.send(Command::Respond(bytes)).unwrap();
        let parts = parts(&reader);
        let content = |part: &ResponseEvent| match part {
            ResponseEvent::Whole { body, .. } | ResponseEvent::Piece(body) | ResponseEvent::Last(body) => {
                body.content().len()
            }
            ResponseEvent::Head { .. } => 0,
            ResponseEvent::Refused { .. } => panic!("refused"),
        };
        assert_eq!(parts.iter().map(content).sum::<usize>(), bytes);
        if pieces == 1 {
            assert!(
                matches!(parts[..], [ResponseEvent::Whole { content_type: CONTENT_TYPE, .. }]),
                "{bytes}: {parts:?}"
            );
        } else {
            let [ResponseEvent::Head { content_type: CONTENT_TYPE, .. }, between @ .., ResponseEvent::Last(last)] =
                &parts[..]
            else {
                panic!("{bytes}: {parts:?}")
            };
            assert!(
                between.iter().all(|part| matches!(part, ResponseEvent::Piece(piece) if piece.is_full())),
                "{bytes}"
            );
            assert!(between.len() == pieces - 1 && !last.content().is_empty(), "{bytes}");
        }
    }
    bench.wait(Outcome::Completed, 6);
    assert_eq!(bench.status.pieces.load(Ordering::Relaxed), 13);
    assert_eq!(bench.status.body_bytes.load(Ordering::Relaxed), (9 * max + 9) as u64);
}

#[test]
fn head_has_a_head_only() {
    let bench = bench(1, LONG);
    let reader = bench.submit("q", true).unwrap();
    bench.command.send(Command::Respond(1_000_000)).unwrap();
    assert!(matches!(parts(&reader)[..], [ResponseEvent::Head { content_type: CONTENT_TYPE, .. }]));
    bench.wait(Outcome::Completed, 1);
}

#[test]
fn a_refusal_is_passed_on() {
    let bench = bench(1, LONG);
    let reader = bench.submit("q", false).unwrap();
    bench.command.send(Command::Refuse).unwrap();
    let parts_of_refusal = parts(&reader);
    let [ResponseEvent::Refused { error, text, .. }] = &parts_of_refusal[..] else { panic!("{parts_of_refusal:?}") };
    assert_eq!((*error, text.as_str()), (unavailable(), "as commanded"));
    bench.wait(Outcome::Unavailable, 1);
}

#[test]
fn queries_are_refused_while_too_many_wait() {
    const SHARE: usize = limits::QUERIES_WAITING_MAX / 2;
    let bench = bench(1, LONG);
    let running = bench.submit_as("c", "first", false).unwrap();
    assert_eq!(bench.begun().0, "first");
    let of = |client| (0..SHARE).map(move |_| client);
    let mut waiting: Vec<Reader> = of("a").map(|client| bench.submit_as(client, "more", false).unwrap()).collect();
    assert!(matches!(bench.submit_as("a", "late", false), Err(HttpError::RateLimited { retry_after_s: 1.. })));
    waiting.extend(of("b").map(|client| bench.submit_as(client, "more", false).unwrap()));
    assert!(matches!(bench.submit_as("c", "late", false), Err(HttpError::Unavailable { retry_after_s: 1.., .. })));
    assert_eq!((bench.status.waiting(), bench.status.running()), (limits::QUERIES_WAITING_MAX as u64, 1));
    for _ in 0..=waiting.len() {
        bench.command.send(Command::Respond(1)).unwrap();
    }
    waiting.iter().chain([&running]).for_each(|reader| assert_eq!(parts(reader).len(), 1));
    bench.wait(Outcome::Completed, 1 + waiting.len() as u64);
    assert_eq!((bench.status.ended(Outcome::Full), bench.status.ended(Outcome::OverShare)), (1, 1));
    assert_eq!((bench.status.waiting(), bench.status.running()), (0, 0));
    assert_eq!(bench.status.received(), waiting.len() as u64 + 3);
}

#[test]
fn lanes_take_turns_and_nobody_has_all_threads() {
    let bench = bench(4, LONG);
    // Two threads are one client's share, whatever else it requests.
    let _of_one: Vec<Reader> = (0..20).map(|_| bench.submit_as("one", "one", false).unwrap()).collect();
    for _ in 0..2 {
        assert_eq!(bench.begun().0, "one");
    }
    let _of_two: Vec<Reader> = (0..2).map(|_| bench.submit_as("two", "two", false).unwrap()).collect();
    for _ in 0..2 {
        assert_eq!(bench.begun().0, "two");
    }
    let _of_three = bench.submit_as("three", "three", false).unwrap();
    assert!(bench.queries.is_empty());
    // With each thread that is free the next lane has its turn.
    // Whichever queries three commands reach, `three` is begun by the third; `two` has no more, so not each command
    // begins one.
    (0..3).for_each(|_| bench.command.send(Command::Respond(1)).unwrap());
    while bench.begun().0 != "three" {}
    for _ in 0..40 {
        bench.command.send(Command::Respond(1)).unwrap();
    }
    bench.wait(Outcome::Completed, 23);
}

#[test]
fn invented_names_get_no_turns_of_others() {
    let bench = bench(1, LONG);
    let address = bench.keys.authorization(b"address");
    let named = |name: u32| Sharer { client: bench.keys.authorization(&name.to_le_bytes()), source: address };
    let _of_names: Vec<Reader> = (0..20).map(|name| bench.submit_for(named(name), "named", false).unwrap()).collect();
    assert_eq!(bench.begun().0, "named");
    let _of_two: Vec<Reader> = (0..2).map(|_| bench.submit_as("two", "two", false).unwrap()).collect();
    // All of the names came before them.
    for next in ["named", "two", "named", "two", "named"] {
        bench.command.send(Command::Respond(1)).unwrap();
        assert_eq!(bench.begun().0, next);
    }
    for _ in 0..20 {
        bench.command.send(Command::Respond(1)).unwrap();
    }
    bench.wait(Outcome::Completed, 22);
}

#[test]
fn invented_names_do_not_have_all_threads() {
    let bench = bench(4, LONG);
    let address = bench.keys.authorization(b"address");
    let named = |name: u32| Sharer { client: bench.keys.authorization(&name.to_le_bytes()), source: address };
    let _of_names: Vec<Reader> = (0..20).map(|name| bench.submit_for(named(name), "named", false).unwrap()).collect();
    for _ in 0..3 {
        assert_eq!(bench.begun().0, "named");
    }
    let _of_two = bench.submit_as("two", "two", false).unwrap();
    assert_eq!(bench.begun().0, "two", "a thread is left for it");
    for _ in 0..21 {
        bench.command.send(Command::Respond(1)).unwrap();
    }
    bench.wait(Outcome::Completed, 21);
}

/// One thread, and more readers who do not read than there are threads anywhere.
#[test]
fn readers_who_do_not_read_hold_no_thread() {
    let bench = bench(1, LONG);
    let unread: Vec<Reader> = (0..20).map(|_| bench.unread("slow", LARGE)).collect();
    bench.wait_for_unread(20);
    let reader = bench.submit_as("slow", "quick", false).unwrap();
    bench.command.send(Command::Respond(1)).unwrap();
    assert_eq!(parts(&reader).len(), 1);
    assert_eq!(bench.status.running(), 20);
    for reader in &unread {
        let read = parts(reader);
        let bytes = |part: &ResponseEvent| match part {
            ResponseEvent::Piece(piece) | ResponseEvent::Last(piece) => piece.content().len(),
            _ => 0,
        };
        assert_eq!(read.iter().map(bytes).sum::<usize>(), LARGE);
        assert!(matches!(read.last(), Some(ResponseEvent::Last(_))));
    }
    bench.wait(Outcome::Completed, 21);
    assert_eq!((bench.status.unread(), bench.status.running()), (0, 0));
}

#[test]
fn unread_responses_are_bounded() {
    let bench = bench(1, LONG);
    let share = limits::RESPONSES_UNREAD_MAX / 2;
    let refused = |client: &str, bytes: usize| {
        let parts = parts(&bench.unread(client, bytes));
        let [ResponseEvent::Refused { error, .. }] = parts[..] else { panic!("{client}: {parts:?}") };
        error
    };
    let mut unread: Vec<Reader> = (0..share).map(|_| bench.unread("one", LARGE)).collect();
    assert!(matches!(refused("one", LARGE), HttpError::RateLimited { .. }));
    unread.extend((0..share).map(|_| bench.unread("two", LARGE)));
    assert!(matches!(refused("three", LARGE), HttpError::Unavailable { .. }));
    // A response of one piece is not kept.
    assert_eq!(parts(&bench.unread("one", 1)).len(), 1);
    drop(unread);
    bench.wait(Outcome::Cancelled, 2 * share as u64);
    // Bytes count as well.
    let large = bench.unread("one", UNREAD_BYTES_MAX / 2);
    assert!(matches!(refused("one", LARGE), HttpError::RateLimited { .. }));
    drop(large);
    bench.wait(Outcome::Cancelled, 2 * share as u64 + 1);
    assert!(parts(&bench.unread("one", LARGE)).len() > 1);
    bench.wait_for_unread(0);
}

/// The count includes queries that hold nothing but a place.
#[test]
fn queries_are_refused_when_too_many_are_open() {
    let bench = bench(1, LONG);
    let mut open: Vec<Reader> = Vec::new();
    while open.len() < limits::QUERIES_OPEN_MAX {
        let reader = bench.submit("q", false).unwrap();
        bench.begun();
        bench.command.send(Command::Respond(1)).unwrap();
        open.push(reader);
    }
    bench.wait(Outcome::Completed, open.len() as u64);
    assert!(matches!(bench.submit("q", false), Err(HttpError::Unavailable { .. })));
    drop(open);
    while bench.messages.take().is_some() {}
    bench.command.send(Command::Respond(1)).unwrap();
    assert_eq!(parts(&bench.submit("q", false).unwrap()).len(), 1);
}

#[test]
fn a_query_without_a_reader_stops_or_never_starts() {
    let bench = bench(1, LONG);
    let running = bench.submit("running", false).unwrap();
    assert_eq!(bench.begun().0, "running");
    bench.command.send(Command::WaitForCancel).unwrap();
    drop(bench.submit("waiting", false).unwrap());
    drop(running);
    bench.wait(Outcome::Cancelled, 2);
    assert!(bench.queries.is_empty(), "the second was begun");
}

#[test]
fn a_reader_that_goes_in_the_middle_of_a_response_ends_it() {
    let bench = bench(1, LONG);
    for is_parked in [true, false] {
        let reader = bench.unread("q", LARGE);
        if is_parked {
            bench.wait_for_unread(1);
        } else {
            while !matches!(reader.take(), Taken::Event(_)) {
                thread::sleep(LOOK_EVERY);
            }
        }
        drop(reader);
        bench.wait(Outcome::Cancelled, 1 + u64::from(!is_parked));
    }
    bench.wait_for_unread(0);
}

#[test]
fn a_query_times_out_while_it_waits_or_runs() {
    let bench = bench(1, Duration::from_secs(2));
    let running = bench.submit("running", false).unwrap();
    assert_eq!(bench.begun().0, "running");
    let waiting = bench.submit("waiting", false).unwrap();
    // The second came later, and so is its deadline: until it has passed too, the thread must not be free.
    bench.command.send(Command::WaitForDeadline(Instant::now() + Duration::from_secs(2))).unwrap();
    let [refused, late] = [running, waiting].map(|reader| parts(&reader));
    assert!(matches!(&refused[..], [ResponseEvent::Refused { .. }]));
    let [ResponseEvent::Refused { error: HttpError::Unavailable { .. }, text, .. }] = &late[..] else {
        panic!("{late:?}")
    };
    assert!(text.contains("2s"), "{text}");
    bench.wait(Outcome::TimedOut, 2);
    assert!(bench.queries.is_empty(), "the second was begun");
}

#[test]
fn idle_threads_help_and_come_back() {
    let bench = bench(3, LONG);
    let first = bench.submit("first", false).unwrap();
    assert_eq!(bench.begun().1, 3, "it is alone");
    let second = bench.submit("second", false).unwrap();
    assert_eq!(bench.begun().1, 1, "it has its own thread");
    (0..2).for_each(|_| bench.command.send(Command::Respond(1)).unwrap());
    [first, second].iter().for_each(|reader| assert_eq!(parts(reader).len(), 1));
    bench.wait(Outcome::Completed, 2);
    // A response that is being read keeps nobody from scanning.
    let _third = bench.unread("third", LARGE);
    bench.wait_for_unread(1);
    let _fourth = bench.submit("fourth", false).unwrap();
    assert_eq!(bench.begun().1, 3);
    bench.command.send(Command::Respond(1)).unwrap();
}

#[test]
fn it_ends_with_its_last_submitter() {
    let Bench { pool, entrance, command, .. } = bench(2, LONG);
    drop(entrance);
    assert!(pool.stop());
    assert!(command.send(Command::Refuse).is_err(), "the engine is gone too");
}

/// Each thread finds its core and its nice value by itself.
#[test]
fn threads_settle_on_their_cores() {
    struct Cores(Mutex<Sender<Vec<usize>>>);
    impl Engine for Cores {
        fn evaluate(&self, _: &RawQuery, _: &Share<'_>) -> Result<Prepared, Failure> {
            self.0.lock().unwrap().send(crate::config::allowed_cores().unwrap()).unwrap();
            Ok(Prepared { content_type: CONTENT_TYPE, fields: Box::default(), body: Box::new(Bytes(0)) })
        }
    }
    let core = *crate::config::allowed_cores().unwrap().last().unwrap();
    let (sender, cores) = bounded(1);
    let (mailbox, _mail) = mailbox(8, Arc::new(Doorbell::new().unwrap()));
    let pool = Pool::start(PoolSetup {
        threads: 1,
        cores: vec![core],
        yields: false,
        timeout: LONG,
        write_timeout: LONG,
        unread_bytes_max: 0,
        draining: Arc::default(),
        engine: Cores(Mutex::new(sender)),
        status: Arc::new(QueryStatus::new(1)),
    })
    .unwrap();
    let query = query(Sharer::proven(ClientKey::default()), "", false);
    let _reader = pool.submitter(Arc::new(mailbox)).submit(Box::new(query), Token::new(0, 0)).unwrap();
    assert_eq!(cores.recv_timeout(LONG).unwrap(), [core]);
}

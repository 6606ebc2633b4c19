use super::*;
use crate::pipe::Taken;
use crossbeam_channel::unbounded;
use reactor::{Doorbell, mailbox::mailbox};
use std::sync::Mutex;

/// Answers as it is told to, query by query: says that it was asked, and waits for word.
struct Told {
    asked: Sender<(String, usize)>,
    word: Receiver<Word>,
}

enum Word {
    Answer(usize),
    Refuse,
    WaitForCancel,
    /// The query's, and then until this.
    WaitForDeadline(Instant),
    BeginAndFail,
}

const CONTENT_TYPE: &str = "text/plain";

impl Engine for Told {
    fn answer(&self, asked: &Asked, share: &Share<'_>, body: &mut Body<'_>) -> Result<(), Failure> {
        self.asked.send((asked.parameters.to_string(), share.threads)).unwrap();
        let refused = |outcome| Failure::Refused { outcome, error: unavailable(), text: "told to".into() };
        match self.word.recv().unwrap() {
            Word::Answer(bytes) => {
                if body.begin(CONTENT_TYPE) {
                    body.write(&vec![b'x'; bytes]).map_err(Failure::Gone)?;
                }
                Ok(())
            }
            Word::Refuse => Err(refused(Outcome::Unavailable)),
            Word::WaitForCancel => {
                while !share.cancelled.load(Ordering::Relaxed) {
                    thread::sleep(LOOK_EVERY);
                }
                Err(Failure::Cancelled)
            }
            Word::WaitForDeadline(until) => {
                thread::sleep(share.deadline.max(until).saturating_duration_since(Instant::now()));
                Err(refused(Outcome::TimedOut))
            }
            Word::BeginAndFail => {
                assert!(body.begin(CONTENT_TYPE));
                body.write(&vec![b'x'; 2 * limits::PIECE_BYTES_MAX]).map_err(Failure::Gone)?;
                Err(refused(Outcome::Unavailable))
            }
        }
    }
}

/// A pool whose engine is told what to do, and a reactor's end of it.
struct Bench {
    pool: Pool,
    entrance: Entrance,
    mail: mailbox::Receiver<Mail>,
    status: Arc<QueryStatus>,
    asked: Receiver<(String, usize)>,
    word: Sender<Word>,
}

fn bench(threads: usize, timeout: Duration) -> Bench {
    let (asked_sender, asked) = unbounded();
    let (word, word_receiver) = unbounded();
    let (sender, mail) = mailbox(limits::MAILBOX_MESSAGES_MAX, Arc::new(Doorbell::new().unwrap()));
    let status = Arc::new(QueryStatus::new(threads));
    let pool = Pool::start(PoolSetup {
        threads,
        cores: crate::config::allowed_cores().unwrap(),
        yields: true,
        timeout,
        write_timeout: Duration::from_secs(60),
        engine: Told { asked: asked_sender, word: word_receiver },
        status: Arc::clone(&status),
    })
    .unwrap();
    let entrance = pool.entrance(sender);
    Bench { pool, entrance, mail, status, asked, word }
}

const LONG: Duration = Duration::from_secs(60);
/// Asleep: the pool's threads yield to everybody who is awake.
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl Bench {
    fn submit(&self, name: &str, head_only: bool) -> Result<Reader, HttpError> {
        let asked = Asked { path: "/query".into(), parameters: name.into(), accept: None, head_only };
        self.entrance.submit(Box::new(asked), Token::new(0, 0))
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

/// All parts of an answer, each waited for.
fn parts(reader: &Reader) -> Vec<Part> {
    let end = Instant::now() + LONG;
    let mut parts = Vec::new();
    loop {
        match reader.take() {
            Taken::Part(part) => parts.push(part),
            Taken::Nothing => thread::sleep(LOOK_EVERY),
            Taken::Ended => return parts,
        }
        assert!(Instant::now() < end, "no end: {parts:?}");
    }
}

#[test]
fn what_fits_into_a_piece_is_one_part_and_more_is_many() {
    let bench = bench(1, LONG);
    let max = limits::PIECE_BYTES_MAX;
    for (bytes, pieces) in [(0, 1), (1, 1), (max, 1), (max + 1, 2), (2 * max, 2), (5 * max + 7, 6)] {
        let reader = bench.submit("q", false).unwrap();
        bench.word.send(Word::Answer(bytes)).unwrap();
        let parts = parts(&reader);
        let content = |part: &Part| match part {
            Part::Whole { body, .. } | Part::Piece(body) | Part::Last(body) => body.content().len(),
            Part::Head { .. } => 0,
            Part::Refused { .. } => panic!("refused"),
        };
        assert_eq!(parts.iter().map(content).sum::<usize>(), bytes);
        if pieces == 1 {
            assert!(matches!(parts[..], [Part::Whole { content_type: CONTENT_TYPE, .. }]), "{bytes}: {parts:?}");
        } else {
            let [Part::Head { content_type: CONTENT_TYPE }, between @ .., Part::Last(last)] = &parts[..] else {
                panic!("{bytes}: {parts:?}")
            };
            assert!(between.iter().all(|part| matches!(part, Part::Piece(piece) if piece.is_full())), "{bytes}");
            assert!(between.len() == pieces - 1 && !last.content().is_empty(), "{bytes}");
        }
    }
    bench.wait(Outcome::Answered, 6);
    assert_eq!(bench.status.pieces.load(Ordering::Relaxed), 13);
    assert_eq!(bench.status.body_bytes.load(Ordering::Relaxed), (9 * max + 9) as u64);
}

#[test]
fn head_has_a_head_only() {
    let bench = bench(1, LONG);
    let reader = bench.submit("q", true).unwrap();
    bench.word.send(Word::Answer(1_000_000)).unwrap();
    assert!(matches!(parts(&reader)[..], [Part::Head { content_type: CONTENT_TYPE }]));
    bench.wait(Outcome::Answered, 1);
}

#[test]
fn a_refusal_is_passed_on_and_what_had_begun_is_cut_off() {
    let bench = bench(1, LONG);
    let reader = bench.submit("q", false).unwrap();
    bench.word.send(Word::Refuse).unwrap();
    let parts_of_refusal = parts(&reader);
    let [Part::Refused { error, text }] = &parts_of_refusal[..] else { panic!("{parts_of_refusal:?}") };
    assert_eq!((*error, text.as_str()), (unavailable(), "told to"));
    let reader = bench.submit("q", false).unwrap();
    bench.word.send(Word::BeginAndFail).unwrap();
    assert!(matches!(parts(&reader)[..], [Part::Head { .. }, Part::Piece(_)]), "no last piece, and the end");
    bench.wait(Outcome::Unavailable, 1);
    bench.wait(Outcome::CutOff, 1);
}

#[test]
fn queries_are_refused_when_too_many_wait_and_go_on_when_there_is_room() {
    let bench = bench(1, LONG);
    let running = bench.submit("first", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().0, "first");
    let waiting: Vec<Reader> = (0..limits::QUERIES_WAITING_MAX).map(|_| bench.submit("more", false).unwrap()).collect();
    let Err(HttpError::Unavailable { retry_after_s, .. }) = bench.submit("late", false) else { panic!("taken") };
    assert!(retry_after_s >= 1);
    assert_eq!((bench.status.waiting(), bench.status.running()), (limits::QUERIES_WAITING_MAX as u64, 1));
    for _ in 0..=waiting.len() {
        bench.word.send(Word::Answer(1)).unwrap();
    }
    waiting.iter().chain([&running]).for_each(|reader| assert_eq!(parts(reader).len(), 1));
    bench.wait(Outcome::Answered, 1 + waiting.len() as u64);
    assert_eq!(bench.status.ended(Outcome::Full), 1);
    assert_eq!((bench.status.waiting(), bench.status.running()), (0, 0));
    assert_eq!(bench.status.received(), waiting.len() as u64 + 2);
}

/// Answers that their clients do not take hold no thread up, but places.
#[test]
fn queries_are_refused_when_too_many_are_open() {
    let bench = bench(1, LONG);
    let open: Vec<Reader> = (0..limits::QUERIES_OPEN_MAX)
        .map(|_| {
            let reader = bench.submit("q", false).unwrap();
            bench.asked.recv().unwrap();
            bench.word.send(Word::Answer(1)).unwrap();
            reader
        })
        .collect();
    bench.wait(Outcome::Answered, open.len() as u64);
    assert!(bench.submit("q", false).is_err());
    drop(open);
    while bench.mail.take().is_some() {}
    bench.word.send(Word::Answer(1)).unwrap();
    assert_eq!(parts(&bench.submit("q", false).unwrap()).len(), 1);
}

#[test]
fn a_query_whose_reader_is_gone_stops_and_one_that_waits_is_never_begun() {
    let bench = bench(1, LONG);
    let running = bench.submit("running", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().0, "running");
    bench.word.send(Word::WaitForCancel).unwrap();
    drop(bench.submit("waiting", false).unwrap());
    drop(running);
    bench.wait(Outcome::Cancelled, 2);
    assert!(bench.asked.is_empty(), "the second was begun");
}

#[test]
fn a_reader_that_goes_in_the_middle_of_an_answer_ends_it() {
    let bench = bench(1, LONG);
    let reader = bench.submit("q", false).unwrap();
    // More than may wait: the thread is held up.
    bench.word.send(Word::Answer(2 * limits::PIECES_WAITING_MAX * limits::PIECE_BYTES_MAX)).unwrap();
    while !matches!(reader.take(), Taken::Part(_)) {
        thread::sleep(LOOK_EVERY);
    }
    drop(reader);
    bench.wait(Outcome::Cancelled, 1);
}

#[test]
fn a_query_that_waits_too_long_is_told_so_and_one_that_runs_knows_its_deadline() {
    let bench = bench(1, Duration::from_secs(2));
    let running = bench.submit("running", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().0, "running");
    let waiting = bench.submit("waiting", false).unwrap();
    // The second came later, and so is its deadline: until it has passed too, the thread must not be free.
    bench.word.send(Word::WaitForDeadline(Instant::now() + Duration::from_secs(2))).unwrap();
    let [refused, late] = [running, waiting].map(|reader| parts(&reader));
    assert!(matches!(&refused[..], [Part::Refused { .. }]));
    let [Part::Refused { error: HttpError::Unavailable { .. }, text }] = &late[..] else { panic!("{late:?}") };
    assert!(text.contains("2s"), "{text}");
    bench.wait(Outcome::TimedOut, 2);
    assert!(bench.asked.is_empty(), "the second was begun");
}

#[test]
fn idle_threads_help_and_come_back() {
    let bench = bench(3, LONG);
    let first = bench.submit("first", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().1, 3, "it is alone");
    let second = bench.submit("second", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().1, 1, "it has its own thread");
    (0..2).for_each(|_| bench.word.send(Word::Answer(1)).unwrap());
    [first, second].iter().for_each(|reader| assert_eq!(parts(reader).len(), 1));
    bench.wait(Outcome::Answered, 2);
    let third = bench.submit("third", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().1, 3);
    // An answer that is being read keeps nobody from scanning.
    bench.word.send(Word::Answer(2 * limits::PIECES_WAITING_MAX * limits::PIECE_BYTES_MAX)).unwrap();
    while !matches!(third.take(), Taken::Part(_)) {
        thread::sleep(LOOK_EVERY);
    }
    let _fourth = bench.submit("fourth", false).unwrap();
    assert_eq!(bench.asked.recv().unwrap().1, 3);
    bench.word.send(Word::Answer(1)).unwrap();
}

#[test]
fn it_ends_with_its_last_entrance() {
    let Bench { pool, entrance, word, .. } = bench(2, LONG);
    drop(entrance);
    assert!(pool.stop());
    assert!(word.send(Word::Refuse).is_err(), "the engine is gone too");
}

/// Where the threads run, and how much they yield, as they find it themselves.
#[test]
fn threads_settle_on_their_cores() {
    struct Cores(Mutex<Sender<Vec<usize>>>);
    impl Engine for Cores {
        fn answer(&self, _: &Asked, _: &Share<'_>, body: &mut Body<'_>) -> Result<(), Failure> {
            self.0.lock().unwrap().send(crate::config::allowed_cores().unwrap()).unwrap();
            body.begin(CONTENT_TYPE);
            Ok(())
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
        engine: Cores(Mutex::new(sender)),
        status: Arc::new(QueryStatus::new(1)),
    })
    .unwrap();
    let asked = Asked { path: "/query".into(), parameters: "".into(), accept: None, head_only: false };
    let _reader = pool.entrance(mailbox).submit(Box::new(asked), Token::new(0, 0)).unwrap();
    assert_eq!(cores.recv().unwrap(), [core]);
}

//! The log against files, pipes and sinks that misbehave.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;
use std::{fs, iter};

use serde_json::Value;

use super::record::tests::{bare, typical};
use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// What was written, for a sink in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes a few bytes, then fails in every way there is, and so on.
struct Moody(Memory, u32);

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1 += 1;
        match self.1 % 5 {
            0 => Err(io::ErrorKind::StorageFull.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => Err(io::ErrorKind::WouldBlock.into()),
            3 => Ok(0),
            _ => self.0.write(&bytes[..bytes.len().min(997)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ids() -> Ids {
    Ids::new().unwrap()
}

fn start(sink: impl Write + Send + 'static, capacity: usize) -> (Log, Ids) {
    let ids = ids();
    (Log::start((sink, ()), LastLine::Finished, capacity, ids.boot()).unwrap(), ids)
}

fn parse(bytes: &[u8]) -> Vec<Value> {
    assert_eq!(bytes.last(), Some(&b'\n'), "the last line is not finished");
    bytes
        .strip_suffix(b"\n")
        .unwrap()
        .split(|&byte| byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Checks that the lines are one whole run whose numbers are all accounted for, in order; returns
/// how many decisions there are and how many are missing.
fn audit(lines: &[Value]) -> (u64, u64) {
    let (first, rest) = lines.split_first().unwrap();
    let (last, rest) = rest.split_last().unwrap();
    assert_eq!((&first["type"], &last["type"]), (&"start".into(), &"end".into()));
    assert_eq!(first["boot"], last["boot"]);
    let (mut seq, mut decisions, mut missing) = (0, 0, 0);
    for line in rest {
        if line["type"] == "gap" {
            assert_eq!(line["from"], seq + 1, "{line}");
            assert_eq!(line["cause"], "queue_full");
            seq = line["to"].as_u64().unwrap();
            missing += seq + 1 - line["from"].as_u64().unwrap();
        } else {
            assert_eq!((&line["type"], &line["seq"]), (&"decision".into(), &(seq + 1).into()));
            seq += 1;
            decisions += 1;
        }
    }
    assert!(lines.iter().all(|line| line["v"] == 1 && line["ts"].is_string()));
    assert_eq!(last["last_seq"], seq);
    (decisions, missing)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Now::read().monotonic + PATIENCE;
    while !condition() {
        assert!(Now::read().monotonic < deadline, "never: {what}");
        thread::yield_now();
    }
}

#[test]
fn numbers_follow_each_other_whoever_appends() {
    let memory = Memory::default();
    let (log, ids) = start(memory.clone(), QUEUE_BYTES);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    log.append(&typical(&ids));
                }
            });
        }
    });
    let watcher = log.clone();
    log.shutdown(PATIENCE).unwrap();
    let lines = parse(&memory.0.lock().unwrap());
    assert_eq!(audit(&lines), (8_000, 0));
    let distinct: BTreeSet<&str> =
        lines.iter().filter_map(|line| line["decision_id"].as_str()).collect();
    assert_eq!(distinct.len(), 8_000);
    let health = watcher.health();
    assert_eq!((health.written, health.dropped, health.queued_bytes), (8_000, 0, 0));
    // After its end, the log counts what it can no longer take.
    watcher.append(&bare(&ids));
    assert_eq!(watcher.health().dropped, 1);
    assert_eq!(parse(&memory.0.lock().unwrap()).len(), lines.len());
}

#[test]
fn a_stalled_reader_costs_bounded_memory_and_the_gap_is_named() {
    const CAPACITY: usize = 300_000;
    let (reader, writer) = io::pipe().unwrap();
    let (log, ids) = start(writer, CAPACITY);
    let mut appended: u64 = 0;
    while log.health().dropped < 500 {
        log.append(&typical(&ids));
        appended += 1;
        assert!(log.health().queued_bytes <= CAPACITY);
        assert!(appended < 100_000, "nothing is ever dropped");
    }
    assert!(log.health().queued_bytes > CAPACITY - MAX_LINE, "the queue was not used");
    assert_eq!(log.health().error, None, "slow is not broken");

    // The gap comes without a further decision to bring it.
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            sender.send(serde_json::from_str::<Value>(&line.unwrap()).unwrap()).unwrap();
        }
    });
    let next = || lines.recv_timeout(PATIENCE).unwrap();
    // More than one, where the pipe took its first bytes only after the queue had been full.
    let mut missing = 0;
    let last = iter::repeat_with(next).find(|line| {
        let bound = |name: &str| line[name].as_u64().unwrap();
        let gap = line["type"] == "gap";
        missing += if gap { bound("to") + 1 - bound("from") } else { 0 };
        gap && bound("to") == appended
    });
    assert_eq!((last.is_some(), missing), (true, log.health().dropped));

    log.append(&typical(&ids));
    log.shutdown(PATIENCE).unwrap();
    assert_eq!(next()["seq"], appended + 1);
    assert_eq!(next()["last_seq"], appended + 1);
}

#[test]
fn a_reader_that_cannot_keep_up_gets_every_line_or_its_gap() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (log, ids) = start(writer, 40_000);
    let watcher = log.clone();
    let collected = thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..2_000).for_each(|_| log.append(&typical(&ids))));
        }
    });
    log.shutdown(PATIENCE).unwrap();
    let Health { written, dropped, .. } = watcher.health();
    assert_eq!(written + dropped, 8_000);
    drop(watcher);
    assert_eq!(audit(&parse(&collected.join().unwrap())), (written, dropped));
}

#[test]
fn a_sink_in_every_mood_gets_every_byte_once() {
    let memory = Memory::default();
    let (log, ids) = start(Moody(memory.clone(), 0), QUEUE_BYTES);
    for _ in 0..20 {
        log.append(&typical(&ids));
    }
    let watcher = log.clone();
    log.shutdown(PATIENCE).unwrap();
    assert_eq!(audit(&parse(&memory.0.lock().unwrap())), (20, 0));
    let health = watcher.health();
    assert!(health.errors > 5, "{health:?}");
    assert_eq!((health.written, health.error), (20, None));
}

#[test]
fn a_full_disk_is_visible_and_loses_nothing_by_itself() {
    let ids = ids();
    let sink = Sink::Path("/dev/full".into());
    let log = Log::open(&sink, QUEUE_BYTES, ids.boot(), ()).unwrap();
    for _ in 0..10 {
        log.append(&bare(&ids));
    }
    until("the error is visible", || log.health().error.is_some());
    until("it is tried again", || log.health().errors > 1);
    let health = log.health();
    assert!(health.error.as_deref().unwrap().contains("No space left"), "{health:?}");
    assert_eq!((health.written, health.dropped), (0, 0));
    let lost = log.shutdown(Duration::from_millis(30)).unwrap_err();
    assert!(lost.bytes > health.queued_bytes, "the end record is lost too");
    assert!(lost.to_string().contains("No space left"), "{lost}");
}

#[test]
fn a_reader_that_is_gone_is_an_error_that_can_be_seen() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (log, ids) = start(writer, QUEUE_BYTES);
    log.append(&bare(&ids));
    until("the error is visible", || log.health().error.is_some());
    assert!(log.health().error.unwrap().contains("Broken pipe"));
    assert!(log.shutdown(Duration::ZERO).is_err());
}

#[test]
fn a_stalled_reader_does_not_hold_up_the_end_for_ever() {
    let (_reader, writer) = io::pipe().unwrap();
    let (log, ids) = start(writer, QUEUE_BYTES);
    for _ in 0..1_000 {
        log.append(&typical(&ids));
    }
    let lost = log.shutdown(Duration::from_millis(30)).unwrap_err();
    assert!(lost.bytes > 0 && lost.cause.is_none(), "{lost:?}");
}

#[test]
fn a_named_pipe_without_a_reader_does_not_hold_up_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (sender, opened) = mpsc::channel();
    let (sink, boot) = (Sink::Path(path.clone()), ids().boot());
    thread::spawn(move || sender.send(Log::open(&sink, QUEUE_BYTES, boot, ())));
    let log = opened.recv_timeout(PATIENCE).unwrap().unwrap();
    let mut line = String::new();
    BufReader::new(File::open(path).unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"type\":\"start\""), "{line}");
    log.shutdown(PATIENCE).unwrap();
}

#[test]
fn files_are_private_appended_to_and_repaired_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("decisions.jsonl");
    let run = || {
        let ids = ids();
        let log = Log::open(&Sink::Path(path.clone()), QUEUE_BYTES, ids.boot(), ()).unwrap();
        log.append(&bare(&ids));
        log.shutdown(PATIENCE).unwrap();
        fs::read(&path).unwrap()
    };
    let first = run();
    assert_eq!(audit(&parse(&first)), (1, 0));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = run();
    assert_eq!(audit(&parse(second.strip_prefix(first.as_slice()).unwrap())), (1, 0));

    let crashed = [&first[..], b"{\"v\":1,\"seq\":2,\"ty"].concat();
    fs::write(&path, &crashed).unwrap();
    let third = run();
    let repaired = third.strip_prefix(crashed.as_slice()).unwrap().strip_prefix(b"\n").unwrap();
    assert_eq!(audit(&parse(repaired)), (1, 0));
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Sink::Path(dir.path().join("no/such/dir"));
    assert!(Log::open(&missing, QUEUE_BYTES, ids().boot(), ()).is_err());
}

#[test]
fn what_is_queued_is_written_even_if_nobody_shuts_the_log_down() {
    let memory = Memory::default();
    let (log, ids) = start(memory.clone(), QUEUE_BYTES);
    log.append(&bare(&ids));
    drop(log);
    let ended = || String::from_utf8_lossy(&memory.0.lock().unwrap()).contains("last_seq");
    until("the end is written", ended);
    assert_eq!(audit(&parse(&memory.0.lock().unwrap())), (1, 0));
}

#[test]
fn a_writer_that_dies_can_be_seen() {
    struct Fatal;
    impl Write for Fatal {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("part of the test");
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (log, ids) = start(Fatal, QUEUE_BYTES);
    until("the end is visible", || log.health().error.is_some());
    log.append(&bare(&ids));
    assert_eq!(log.health().error.as_deref(), Some("the writer's thread has ended"));
    assert!(log.shutdown(PATIENCE).is_err());
}

#[test]
fn diagnostics_tell_a_change_of_state_once() {
    /// Refuses the first five writes.
    struct Refusing(u32);
    impl Write for Refusing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 5 { Ok(bytes.len()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let ids = ids();
    let queue = Queue::new(0, LastLine::Finished, ids.boot(), Now::read());
    let mut body = Vec::new();
    typical(&ids).write(&mut body);
    for _ in 0..200 {
        queue.append(&body, Now::read());
    }
    queue.close(Now::read());
    let told = Memory::default();
    let writer = told.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || writer::run(&queue, &mut Refusing(0)));
    let told = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
    for message in ["cannot be written", "written again", "queue of the decision log is full"] {
        assert_eq!(told.matches(message).count(), 1, "{message}: {told}");
    }
    assert_eq!(queue.health().errors, 5);
}

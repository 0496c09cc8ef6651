//! The queue between those who decide and the one who writes: bounded in bytes, in order.
//!
//! Lines lie in blocks of a fixed size, which go back and forth between the two sides: adding a line
//! is a copy into the last block, and neither growth nor a burst moves or keeps more memory than the
//! bound. A sequence number is given under the lock under which its line is added, so the order of
//! the log is the order of the numbers. A line for which there is no room leaves its number in a gap,
//! and the gap goes before whatever is added next.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Health;
use super::id::Boot;
use super::line::push_number;
use super::record::{self, MAX_LINE};
use crate::clock::Now;

/// Also the most that is written in one call, so that a slow reader frees room bit by bit.
const BLOCK: usize = 64 * 1024;
/// Blocks kept for use again; more are given back to the system.
const SPARE: usize = 4;
/// What [`record::gap`] takes at most.
const GAP: usize = 192;
/// `{"v":1,"seq":18446744073709551615,`
const HEAD: usize = 34;
/// How long the writer lets lines gather, so that it is woken and writes once for many of them.
const GATHER: Duration = Duration::from_millis(5);
/// How many bytes are worth waking it before.
const GATHER_BYTES: usize = 4 * BLOCK;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// The writer waits on this.
    wake: Condvar,
    /// Those who wait for the writer's end wait on this.
    done: Condvar,
    capacity: usize,
    boot: Boot,
}

/// What the sink holds at its end when the log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastLine {
    /// A newline, or nothing at all.
    Finished,
    /// The beginning of a line: the process or the machine died.
    Unfinished,
}

/// Lines that are written together.
#[derive(Debug)]
pub(super) struct Block {
    /// The lines.
    pub(super) bytes: Vec<u8>,
    decisions: u64,
}

#[derive(Debug)]
struct State {
    full: VecDeque<Block>,
    /// The block to which lines are added.
    open: Block,
    spare: Vec<Vec<u8>>,
    /// Bytes in these blocks and in those that the writer has taken and not yet released.
    queued: usize,
    /// The last number given.
    seq: u64,
    /// Numbers whose lines were dropped and are not yet accounted for in the log.
    gap: Option<(u64, u64)>,
    written: u64,
    dropped: u64,
    errors: u64,
    error: Option<String>,
    phase: Phase,
    writer: Writer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The last line is in; the writer ends once all is written.
    Closed,
    /// Nobody waits for the rest any more; the writer ends.
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Waits for the first line.
    Idle,
    /// Waits for more lines.
    Gathering,
    /// Will look at the queue by itself.
    Busy,
    /// Is gone.
    Ended,
}

impl Queue {
    /// A queue that already holds the start record, after a newline if the sink's `last_line` lacks
    /// one. `capacity` is at least four lines.
    pub(super) fn new(capacity: usize, last_line: LastLine, boot: Boot, now: Now) -> Self {
        let mut state = State {
            full: VecDeque::new(),
            open: Block { bytes: Vec::with_capacity(BLOCK), decisions: 0 },
            spare: Vec::new(),
            queued: 0,
            seq: 0,
            gap: None,
            written: 0,
            dropped: 0,
            errors: 0,
            error: None,
            phase: Phase::Open,
            writer: Writer::Busy,
        };
        if last_line == LastLine::Unfinished {
            state.open.bytes.push(b'\n');
            state.queued += 1;
        }
        state.push_other(|out| record::start(out, now, boot));
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            done: Condvar::new(),
            capacity: capacity.max(4 * MAX_LINE),
            boot,
        }
    }

    /// Adds a decision, or its number to the gap. `body` is what [`record::Record::write`] wrote.
    pub(super) fn append(&self, body: &[u8], now: Now) {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            state.dropped += 1;
            return;
        }
        state.seq += 1;
        let seq = state.seq;
        let gap = if state.gap.is_some() { GAP } else { 0 };
        if state.queued + HEAD + body.len() + gap > self.capacity {
            state.dropped += 1;
            state.gap = Some((state.gap.map_or(seq, |(from, _)| from), seq));
            return;
        }
        state.push_gap(now);
        state.push_decision(seq, body);
        let wake = match state.writer {
            Writer::Idle => true,
            Writer::Gathering => state.queued >= GATHER_BYTES.min(self.capacity / 2),
            Writer::Busy | Writer::Ended => false,
        };
        if wake {
            state.writer = Writer::Busy;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for lines, and for a moment for more, and takes them. Empty: there will be no more.
    pub(super) fn take(&self) -> VecDeque<Block> {
        let mut state = self.lock();
        state.writer = Writer::Idle;
        state = self
            .wake
            .wait_while(state, |s| s.is_empty() && s.phase == Phase::Open)
            .unwrap_or_else(PoisonError::into_inner);
        state.writer = Writer::Gathering;
        state = self
            .wake
            .wait_timeout_while(state, GATHER, |s| {
                s.writer == Writer::Gathering && s.phase == Phase::Open
            })
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        state.writer = Writer::Busy;
        state.take()
    }

    /// Gives a written block back. Returns how many decisions have been dropped so far, and whether
    /// everything is written.
    pub(super) fn release(&self, mut block: Block, now: Now) -> (u64, bool) {
        let mut state = self.lock();
        state.queued -= block.bytes.len();
        state.written += block.decisions;
        state.error = None;
        if state.spare.len() < SPARE {
            block.bytes.clear();
            state.spare.push(block.bytes);
        }
        if state.queued + GAP <= self.capacity {
            state.push_gap(now);
        }
        (state.dropped, state.queued == 0)
    }

    /// Notes that a write failed. Returns whether that is news.
    pub(super) fn failed(&self, error: &str) -> bool {
        let mut state = self.lock();
        state.errors += 1;
        let news = state.error.as_deref() != Some(error);
        if news {
            state.error = Some(error.to_owned());
        }
        news
    }

    /// Lets time pass before a failed write is tried again, but not beyond the queue's closing.
    /// Returns whether to go on at all.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let state = self.lock();
        let phase = state.phase;
        let (state, _) = self
            .wake
            .wait_timeout_while(state, time, |s| s.phase == phase && phase != Phase::Abandoned)
            .unwrap_or_else(PoisonError::into_inner);
        state.phase != Phase::Abandoned
    }

    /// Adds the end record; what is appended from here on is dropped.
    pub(super) fn close(&self, now: Now) {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return;
        }
        state.phase = Phase::Closed;
        // Both may exceed the bound: there is nothing after them.
        state.push_gap(now);
        let (boot, last_seq) = (self.boot, state.seq);
        state.push_other(|out| record::end(out, now, boot, last_seq));
        drop(state);
        self.wake.notify_one();
    }

    /// Waits for the writer's end, and after `patience` tells it to give up.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let (mut state, _) = self
            .done
            .wait_timeout_while(self.lock(), patience, |s| s.writer != Writer::Ended)
            .unwrap_or_else(PoisonError::into_inner);
        let ended = state.writer == Writer::Ended;
        if !ended {
            state.phase = Phase::Abandoned;
            drop(state);
            self.wake.notify_one();
        }
        ended
    }

    /// Notes the writer's end.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        state.writer = Writer::Ended;
        if state.phase == Phase::Open {
            state.error = Some("the writer's thread has ended".to_owned());
        }
        drop(state);
        self.done.notify_all();
    }

    /// How the log does.
    pub(super) fn health(&self) -> Health {
        let state = self.lock();
        Health {
            written: state.written,
            dropped: state.dropped,
            errors: state.errors,
            queued_bytes: state.queued,
            error: state.error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push_decision(&mut self, seq: u64, body: &[u8]) {
        let block = self.block(HEAD + body.len());
        let before = block.bytes.len();
        block.bytes.extend_from_slice(b"{\"v\":1,\"seq\":");
        push_number(&mut block.bytes, seq);
        block.bytes.push(b',');
        block.bytes.extend_from_slice(body);
        block.decisions += 1;
        let added = block.bytes.len() - before;
        self.queued += added;
    }

    fn push_gap(&mut self, now: Now) {
        if let Some((from, to)) = self.gap.take() {
            self.push_other(|out| record::gap(out, now, from, to));
        }
    }

    /// Adds a line that is no decision. These are rare enough to be written under the lock.
    fn push_other(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut body = Vec::with_capacity(GAP);
        write(&mut body);
        let head = b"{\"v\":1,";
        let block = self.block(head.len() + body.len());
        block.bytes.extend_from_slice(head);
        block.bytes.extend_from_slice(&body);
        self.queued += head.len() + body.len();
    }

    /// The open block, or a new one if it has no room.
    fn block(&mut self, room: usize) -> &mut Block {
        if self.open.bytes.len() + room > BLOCK {
            let fresh = self.fresh();
            self.full.push_back(mem::replace(&mut self.open, fresh));
        }
        &mut self.open
    }

    fn fresh(&mut self) -> Block {
        let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
        Block { bytes, decisions: 0 }
    }

    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.bytes.is_empty()
    }

    fn take(&mut self) -> VecDeque<Block> {
        let mut blocks = mem::take(&mut self.full);
        if !self.open.bytes.is_empty() {
            let fresh = self.fresh();
            blocks.push_back(mem::replace(&mut self.open, fresh));
        }
        blocks
    }
}

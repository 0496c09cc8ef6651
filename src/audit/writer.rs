//! The thread that writes the log, and does not let go of a line before the system has taken it.
//!
//! Whatever it has to tell, it tells from its own thread: standard error may be stalled by the same
//! reader as the log, and no decision may wait for that.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use super::queue::{Block, Queue};
use crate::clock::Now;

/// A failed write is tried again after this, then after twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

struct Writer<'a> {
    queue: &'a Queue,
    sink: &'a mut dyn Write,
    failing: bool,
    dropping: bool,
    dropped: u64,
}

/// Tells the queue that the thread is at its end, however it came to it.
struct Ending<'a>(&'a Queue);

/// Writes what is queued until the queue is closed and empty, or abandoned.
pub(super) fn run(queue: &Queue, sink: &mut dyn Write) {
    let _ending = Ending(queue);
    let mut writer = Writer { queue, sink, failing: false, dropping: false, dropped: 0 };
    loop {
        let blocks = queue.take();
        if blocks.is_empty() {
            return;
        }
        for block in blocks {
            if !writer.write(&block.bytes) {
                return;
            }
            writer.release(block);
        }
    }
}

impl Writer<'_> {
    /// Writes all bytes, once each and in order, however often it takes. False: it was told to give
    /// up.
    fn write(&mut self, mut bytes: &[u8]) -> bool {
        let mut pause = FIRST_PAUSE;
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => self.failed("the sink takes no bytes"),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A reader that is slow, on a sink that somebody made non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => self.failed(&error.to_string()),
            }
            if !self.queue.pause(pause) {
                return false;
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        true
    }

    fn failed(&mut self, error: &str) {
        self.failing = true;
        if self.queue.failed(error) {
            tracing::error!(error, "the decision log cannot be written; its lines are kept");
        }
    }

    fn release(&mut self, block: Block) {
        let (dropped, empty) = self.queue.release(block, Now::read());
        if self.failing {
            self.failing = false;
            tracing::info!("the decision log is written again");
        }
        if dropped > self.dropped && !self.dropping {
            self.dropping = true;
            tracing::warn!("the queue of the decision log is full; decisions are missing from it");
        }
        if self.dropping && empty {
            self.dropping = false;
            tracing::info!(dropped, "the queue of the decision log is empty again");
        }
        self.dropped = dropped;
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}

//! The compiled policy: immutable, complete, and all that one request sees.
//!
//! A [`Snapshot`] is built once for each version of the files and swapped as a whole, so that no
//! request ever sees half an edit. Nothing here can be invalid: `compile` is the only way in. No
//! serde, no I/O.

pub mod glob;
pub mod key;
pub mod locate;
pub mod raw;
pub mod rule;

use crate::denial::Window;

/// How many requests one caller may make in each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// In any 60 seconds.
    pub minute: Limit,
    /// In any 3,600 seconds.
    pub hour: Limit,
}

/// How many requests one window allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Not counted at all (-1 in the file, or the window left out).
    Unlimited,
    /// At most this many; 0 denies all.
    AtMost(u32),
}

impl Limits {
    /// No limit in either window.
    pub const UNLIMITED: Self = Self { minute: Limit::Unlimited, hour: Limit::Unlimited };

    /// The limit of one window.
    pub const fn of(&self, window: Window) -> Limit {
        match window {
            Window::Minute => self.minute,
            Window::Hour => self.hour,
        }
    }
}

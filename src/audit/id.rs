//! Decision ids: what ties a response, a line of the log and a trace together.
//!
//! An id is shown to callers, so it must not tell them how many decisions there are. Its first half
//! is drawn at random when the process starts. Its second half is a counter, encrypted: a block
//! cipher is a bijection, so no id comes twice, and without its key the ids say nothing about their
//! order. The cipher is Speck64/128 (Beaulieu et al., "The SIMON and SPECK Families of Lightweight
//! Block Ciphers", 2013), because it is as small as a good hash and has published test vectors.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;

const ROUNDS: usize = 27;

/// Makes decision ids, from any number of threads, without a lock.
pub struct Ids {
    boot: Boot,
    counter: AtomicU64,
    round_keys: [u32; ROUNDS],
}

/// One decision: 32 lower-case hexadecimal digits, the first 16 being the [`Boot`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; 32]);

/// One run of the process: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Boot([u8; 16]);

impl Ids {
    /// Draws the run's random half and the key. Fails if the system has no random numbers.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut boot = [0; 16];
        HEXLOWER.encode_mut(&getrandom::u64()?.to_be_bytes(), &mut boot);
        let key = [getrandom::u32()?, getrandom::u32()?, getrandom::u32()?, getrandom::u32()?];
        Ok(Self { boot: Boot(boot), counter: AtomicU64::new(0), round_keys: expand(key) })
    }

    /// The next id: no other call on this value returns the same one.
    pub fn next(&self) -> DecisionId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut id = [0; 32];
        let (boot, rest) = id.split_at_mut(16);
        boot.copy_from_slice(&self.boot.0);
        HEXLOWER.encode_mut(&encrypt(&self.round_keys, count).to_be_bytes(), rest);
        DecisionId(id)
    }

    /// The half that all ids of this run share.
    pub const fn boot(&self) -> Boot {
        self.boot
    }
}

impl DecisionId {
    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        // Only digits are ever written into it.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Boot {
    /// The 16 digits.
    pub fn as_str(&self) -> &str {
        // Only digits are ever written into it.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Ids {
    // The key stays out: with it, an id is a count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ids").field("boot", &self.boot).finish_non_exhaustive()
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One round on the two halves of a block.
const fn round(x: u32, y: u32, key: u32) -> (u32, u32) {
    let x = x.rotate_right(8).wrapping_add(y) ^ key;
    (x, y.rotate_left(3) ^ x)
}

/// The key schedule. The key's words stand from the least significant to the most.
fn expand([mut key, mut a, mut b, mut c]: [u32; 4]) -> [u32; ROUNDS] {
    let mut keys = [0; ROUNDS];
    for (slot, count) in keys.iter_mut().zip(0..) {
        *slot = key;
        let (next, next_key) = round(a, key, count);
        (a, b, c, key) = (b, c, next, next_key);
    }
    keys
}

fn encrypt(keys: &[u32; ROUNDS], block: u64) -> u64 {
    // Each half fits.
    let high = u32::try_from(block >> 32).unwrap_or(0);
    let low = u32::try_from(block & u64::from(u32::MAX)).unwrap_or(0);
    let (x, y) = keys.iter().fold((high, low), |(x, y), &key| round(x, y, key));
    (u64::from(x) << 32) | u64::from(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_cipher_is_the_published_one() {
        let keys = expand([0x0302_0100, 0x0b0a_0908, 0x1312_1110, 0x1b1a_1918]);
        assert_eq!(encrypt(&keys, 0x3b72_6574_7475_432d), 0x8c6f_a548_454e_028b);
    }

    #[test]
    fn ids_are_distinct_across_threads_and_share_the_boot_half() {
        let ids = Ids::new().unwrap();
        let made: Vec<DecisionId> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5_000).map(|_| ids.next()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 20_000);
        for id in &made {
            assert_eq!(id.as_str().len(), 32);
            assert!(id.as_str().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            assert!(id.as_str().starts_with(ids.boot().as_str()));
        }
    }

    #[test]
    fn neighbours_differ_in_about_half_of_their_bits() {
        let ids = Ids::new().unwrap();
        let made: Vec<u64> = (0..1_001)
            .map(|_| u64::from_str_radix(&ids.next().as_str()[16..], 16).unwrap())
            .collect();
        let bits: u32 = made.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
        assert!((31_000..33_000).contains(&bits), "{bits} of 64,000");
    }

    #[test]
    fn two_runs_have_nothing_in_common() {
        let (one, two) = (Ids::new().unwrap(), Ids::new().unwrap());
        assert_ne!(one.boot(), two.boot());
        assert_ne!(one.next().as_str()[16..], two.next().as_str()[16..]);
    }

    #[test]
    fn debug_shows_no_key() {
        let ids = Ids::new().unwrap();
        assert_eq!(format!("{ids:?}"), format!("Ids {{ boot: {}, .. }}", ids.boot()));
    }
}

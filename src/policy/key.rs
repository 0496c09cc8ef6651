//! The table of API keys: found by the SHA-256 of what was sent, in little memory for each.
//!
//! No key's text is kept. What many keys share (roles, tenants, scopes, dates, networks) is stored
//! once and named by number; identifiers stand end to end in one string. A key so costs about 100
//! bytes however many fields it has, and dropping the table is a handful of frees.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Limit, Limits, Tier};

/// SHA-256 of a credential.
pub type Digest = [u8; 32];

/// All keys of one snapshot.
pub struct Keys {
    by_digest: HashMap<Digest, Slot, BuildHasherDefault<DigestHasher>>,
    entries: Vec<Entry>,
    ids: String,
    roles: Vec<Box<str>>,
    tenants: Vec<Box<str>>,
    scopes: Vec<Box<[Box<str>]>>,
    validity: Vec<Validity>,
    networks: Vec<Networks>,
    tiers: Vec<Tier>,
    /// Where a number leads to no tier: nothing is allowed.
    nothing: Tier,
    /// Where a number leads to no networks: nobody is in them.
    nowhere: Networks,
}

/// One value of a key: an entry has up to two, so that it can be rotated without a gap.
#[derive(Clone, Copy)]
struct Slot {
    entry: u32,
    validity: u32,
}

struct Entry {
    id: (u32, u16),
    enabled: bool,
    tier: u16,
    role: u32,
    tenant: u32,
    scopes: u32,
    validity: u32,
    networks: u32,
    /// Of everything that the file says about the key, to tell what an edit changed.
    fingerprint: u64,
}

/// When something is good: from `not_before` on, until just before `expires_at`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Validity {
    /// Seconds since 1970.
    pub not_before: Option<i64>,
    /// Seconds since 1970.
    pub expires_at: Option<i64>,
}

impl Validity {
    /// Good at no time.
    const NEVER: Self = Self { not_before: Some(i64::MAX), expires_at: Some(i64::MIN) };
}

/// Where a key may be used from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Networks {
    /// Anywhere: the key names no networks.
    Any,
    /// From these alone.
    Listed(Box<[IpNet]>),
}

impl Networks {
    /// Whether this address is one of them. An unknown address is in no network.
    pub fn contain(&self, address: Option<IpAddr>) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(networks) => address
                .is_some_and(|address| networks.iter().any(|network| network.contains(&address))),
        }
    }
}

/// A key of the table.
#[derive(Clone, Copy)]
pub struct Key<'s> {
    keys: &'s Keys,
    entry: &'s Entry,
}

/// What the compiler knows of one key.
#[derive(Debug, Hash)]
pub struct NewKey<'a> {
    /// The identifier, unique in the file.
    pub id: &'a str,
    /// One or two digests, each with dates of its own.
    pub values: &'a [(Digest, Validity)],
    /// `enabled`
    pub enabled: bool,
    /// Place in the tiers given to [`Builder::new`].
    pub tier: u16,
    /// `role`
    pub role: Option<&'a str>,
    /// `tenant`
    pub tenant: Option<&'a str>,
    /// `scopes`
    pub scopes: &'a [Box<str>],
    /// The dates of the whole key.
    pub validity: Validity,
    /// `allowed_cidrs`
    pub networks: Networks,
}

impl Keys {
    /// The key with this digest, and the dates of the value that was found.
    pub fn find(&self, digest: &Digest) -> Option<(Key<'_>, Validity)> {
        let slot = self.by_digest.get(digest)?;
        Some((self.entry(slot.entry)?, self.validity(slot.validity)))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key, in file order.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        self.entries.iter().map(|entry| Key { keys: self, entry })
    }

    /// A number that leads nowhere is good at no time.
    fn validity(&self, index: u32) -> Validity {
        at(&self.validity, index).copied().unwrap_or(Validity::NEVER)
    }

    fn entry(&self, index: u32) -> Option<Key<'_>> {
        at(&self.entries, index).map(|entry| Key { keys: self, entry })
    }
}

impl<'s> Key<'s> {
    /// The key's identifier.
    pub fn id(&self) -> &'s str {
        let (start, length) = self.entry.id;
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        self.keys.ids.get(start..start.saturating_add(length.into())).unwrap_or("")
    }

    /// Whether the key is switched on.
    pub fn enabled(&self) -> bool {
        self.entry.enabled
    }

    /// The tier that counts its requests.
    pub fn tier(&self) -> &'s Tier {
        self.keys.tiers.get(usize::from(self.entry.tier)).unwrap_or(&self.keys.nothing)
    }

    /// The key's role.
    pub fn role(&self) -> Option<&'s str> {
        pick(&self.keys.roles, self.entry.role).map(|text| &**text)
    }

    /// The tenant that the key belongs to.
    pub fn tenant(&self) -> Option<&'s str> {
        pick(&self.keys.tenants, self.entry.tenant).map(|text| &**text)
    }

    /// The scopes granted to the key.
    pub fn scopes(&self) -> &'s [Box<str>] {
        pick(&self.keys.scopes, self.entry.scopes).map_or(&[], |scopes| &**scopes)
    }

    /// The dates of the whole key.
    pub fn validity(&self) -> Validity {
        self.keys.validity(self.entry.validity)
    }

    /// The networks that the key may be used from.
    pub fn networks(&self) -> &'s Networks {
        at(&self.keys.networks, self.entry.networks).unwrap_or(&self.keys.nowhere)
    }

    /// Whether a client at this address may use the key. An unknown address is in no network.
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        self.networks().contain(client)
    }

    /// Changes whenever anything about the key does.
    pub fn fingerprint(&self) -> u64 {
        self.entry.fingerprint
    }
}

fn at<T>(table: &[T], index: u32) -> Option<&T> {
    usize::try_from(index).map_or(None, |index| table.get(index))
}

/// In tables of what a key may lack, 0 is "none" and counting begins at 1.
fn pick<T>(table: &[T], index: u32) -> Option<&T> {
    index.checked_sub(1).and_then(|index| at(table, index))
}

/// Collects keys into a table.
pub struct Builder {
    keys: Keys,
    roles: HashMap<Box<str>, u32>,
    tenants: HashMap<Box<str>, u32>,
    scopes: HashMap<Box<[Box<str>]>, u32>,
    validity: HashMap<Validity, u32>,
    networks: HashMap<Networks, u32>,
}

/// Two keys have one value.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// The identifier of the key that had the value first; `None` where it is the new one itself.
    pub by: Option<String>,
    /// Which of the new key's values it is.
    pub value: usize,
}

impl Builder {
    /// An empty table for about `capacity` keys, with the tiers that they name by place.
    pub fn new(capacity: usize, tiers: Vec<Tier>) -> Self {
        let keys = Keys {
            by_digest: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            entries: Vec::with_capacity(capacity),
            ids: String::new(),
            roles: Vec::new(),
            tenants: Vec::new(),
            scopes: Vec::new(),
            validity: Vec::new(),
            networks: Vec::new(),
            tiers,
            nowhere: Networks::Listed(Box::default()),
            nothing: Tier {
                name: "".into(),
                limits: Limits { minute: Limit::AtMost(0), hour: Limit::AtMost(0) },
            },
        };
        Self {
            keys,
            roles: HashMap::new(),
            tenants: HashMap::new(),
            scopes: HashMap::new(),
            validity: HashMap::new(),
            networks: HashMap::new(),
        }
    }

    /// Adds a key.
    ///
    /// # Errors
    /// One of its values is already another key's, or its own other value.
    pub fn add(&mut self, key: &NewKey<'_>) -> Result<(), Taken> {
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        let mut number = |validity| place(&mut self.keys.validity, &mut self.validity, validity);
        let whole = number(key.validity);
        let slots: Vec<(Digest, u32)> =
            key.values.iter().map(|(digest, validity)| (*digest, number(*validity))).collect();
        let entry = Entry {
            id: (count(self.keys.ids.len()), u16::try_from(key.id.len()).unwrap_or(u16::MAX)),
            enabled: key.enabled,
            tier: key.tier,
            role: intern_text(&mut self.keys.roles, &mut self.roles, key.role),
            tenant: intern_text(&mut self.keys.tenants, &mut self.tenants, key.tenant),
            scopes: match key.scopes {
                [] => 0,
                some => place(&mut self.keys.scopes, &mut self.scopes, some.into()) + 1,
            },
            validity: whole,
            networks: place(&mut self.keys.networks, &mut self.networks, key.networks.clone()),
            fingerprint: hasher.finish(),
        };
        let number = count(self.keys.entries.len());
        self.keys.ids.push_str(key.id);
        self.keys.entries.push(entry);
        for (value, (digest, validity)) in slots.into_iter().enumerate() {
            let slot = Slot { entry: number, validity };
            if let Some(first) = self.keys.by_digest.insert(digest, slot) {
                let other = self.keys.entry(first.entry).filter(|_| first.entry != number);
                return Err(Taken { by: other.map(|key| key.id().to_owned()), value });
            }
        }
        Ok(())
    }

    /// The finished table.
    pub fn finish(mut self) -> Keys {
        self.keys.by_digest.shrink_to_fit();
        self.keys.entries.shrink_to_fit();
        self.keys.ids.shrink_to_fit();
        self.keys
    }
}

fn intern_text(
    table: &mut Vec<Box<str>>,
    index: &mut HashMap<Box<str>, u32>,
    text: Option<&str>,
) -> u32 {
    match text {
        None => 0,
        Some(text) => match index.get(text) {
            Some(&number) => number + 1,
            None => place(table, index, text.into()) + 1,
        },
    }
}

/// The value's place in the table, where it is put if it is not there yet.
fn place<T: Clone + Eq + Hash>(table: &mut Vec<T>, index: &mut HashMap<T, u32>, value: T) -> u32 {
    if let Some(&number) = index.get(&value) {
        return number;
    }
    let number = count(table.len());
    table.push(value.clone());
    index.insert(value, number);
    number
}

/// The loader caps files far below four thousand million of anything, so this never saturates.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Takes the first eight bytes of a digest as they are: SHA-256 has mixed them already, and who
/// sends a credential chooses which bucket is looked into but not what stands in it.
#[derive(Debug, Default)]
pub struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.len())
    }
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Builder({:?})", self.keys)
    }
}

//! A name server for the tests: every name is 127.0.0.1 unless a test says otherwise.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::oneshot;

use super::http2::runtime;

/// Types of records (RFC 1035 section 3.2.2, RFC 3596).
const A: u16 = 1;
const AAAA: u16 = 28;

/// What there is to say about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Its addresses. None: the name does not exist.
    Addresses(Vec<IpAddr>),
    /// Whoever asks waits for an answer that does not come.
    Silent,
}

impl Name {
    pub(crate) fn is(addresses: &[&str]) -> Self {
        Self::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }
}

#[derive(Default)]
struct Zone {
    names: HashMap<String, Name>,
    asked: Vec<String>,
}

/// A name server on a port of its own, on UDP.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _stop: oneshot::Sender<()>,
}

impl Dns {
    pub(crate) fn start() -> Self {
        let socket = runtime().block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let (stop, stopped) = oneshot::channel();
        let answers = Arc::clone(&zone);
        runtime().spawn(async move {
            tokio::select! {
                _dropped = stopped => {}
                () = serve(socket, &answers) => {}
            }
        });
        Self { address, zone, _stop: stop }
    }

    /// From now on. Who has an answer already keeps it for a second.
    pub(crate) fn set(&self, name: &str, what: Name) {
        lock(&self.zone).names.insert(name.to_owned(), what);
    }

    /// How often a name has been asked for, types of records apart.
    pub(crate) fn asked(&self, name: &str) -> usize {
        lock(&self.zone).asked.iter().filter(|asked| *asked == name).count()
    }

    /// Every name that was asked for, in order.
    pub(crate) fn all_asked(&self) -> Vec<String> {
        lock(&self.zone).asked.clone()
    }
}

fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: UdpSocket, zone: &Mutex<Zone>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = answer(&query[..length], zone) {
            // Whoever is gone needs no answer.
            let _sent = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to one question; `None` for what is no question, and for silent names.
fn answer(query: &[u8], zone: &Mutex<Zone>) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().unwrap());
    let question = query.get(12..end + 4)?;
    let known = {
        let mut zone = lock(zone);
        zone.asked.push(name.clone());
        zone.names.get(&name).cloned()
    };
    let localhost = || Name::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
    let Name::Addresses(addresses) = known.unwrap_or_else(localhost) else { return None };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) if kind == A => Some(address.octets().to_vec()),
            IpAddr::V6(address) if kind == AAAA => Some(address.octets().to_vec()),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .collect();
    let mut answer = query.get(..2)?.to_vec();
    // An authoritative answer, recursion wanted and had; 3 is "no such name".
    answer.extend([0x85, if addresses.is_empty() { 0x83 } else { 0x80 }]);
    answer.extend([0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    answer.extend(question);
    for record in records {
        // The name of the question, the type, class IN, one second.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 1]);
        answer.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        answer.extend(record);
    }
    Some(answer)
}

/// The name of the first question, in lower case, and the place after it.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut place = 12;
    loop {
        let length = usize::from(*query.get(place)?);
        place += 1;
        if length == 0 {
            return Some((labels.join("."), place));
        }
        let label = query.get(place..place + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        place += length;
    }
}

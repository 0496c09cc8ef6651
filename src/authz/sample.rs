//! `CheckRequest`s that Envoy did not send: for `explain`, for table cases, for tests and benches.

use super::decode::RULE_EXTENSION;
use super::wire::Writer;

/// One HTTP request, as Envoy would describe it.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The HTTP method.
    pub method: String,
    /// `Host` or `:authority`.
    pub host: String,
    /// The request target, with its query.
    pub path: String,
    /// Header names in lower case, and their values.
    pub headers: Vec<(String, String)>,
    /// The address of the TCP peer.
    pub source_ip: Option<String>,
    /// The name in the client's verified certificate.
    pub principal: Option<String>,
    /// The rule that the route names.
    pub rule: Option<String>,
    /// Whether Envoy's filter has `encode_raw_headers: true`.
    pub raw_headers: bool,
}

impl Sample {
    /// Reads a header as it is written on a line, `name: value`, into its lower-case name and its
    /// value. `None` where it is no such line: say so without repeating it, since it may be a key.
    pub fn header(line: &str) -> Option<(String, String)> {
        let (name, value) = line.split_once(':')?;
        let token = |b: u8| b.is_ascii_graphic() && b != b':';
        if name.is_empty() || !name.bytes().all(token) {
            return None;
        }
        Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    }

    /// The bytes of the `CheckRequest`.
    pub fn encode(&self) -> Vec<u8> {
        let mut request = Writer::with_capacity(512);
        request.message(1, |attributes| {
            attributes.message(1, |peer| {
                if let Some(address) = &self.source_ip {
                    peer.message(1, |address_message| {
                        address_message.message(1, |socket| socket.text(2, address));
                    });
                }
                if let Some(principal) = &self.principal {
                    peer.text(4, principal);
                }
            });
            attributes.message(4, |request| request.message(2, |http| self.http(http)));
            if let Some(rule) = &self.rule {
                attributes.message(10, |entry| {
                    entry.text(1, RULE_EXTENSION);
                    entry.text(2, rule);
                });
            }
        });
        request.finish()
    }

    fn http(&self, http: &mut Writer) {
        http.text(2, &self.method);
        let pseudo = [(":method", &self.method), (":path", &self.path), (":authority", &self.host)];
        let all = pseudo
            .into_iter()
            .chain(self.headers.iter().map(|(name, value)| (name.as_str(), value)));
        if self.raw_headers {
            http.message(13, |map| {
                for (name, value) in all {
                    map.message(1, |header| {
                        header.text(1, name);
                        header.text(3, value);
                    });
                }
            });
        } else {
            for (name, value) in all {
                http.message(3, |entry| {
                    entry.text(1, name);
                    entry.text(2, value);
                });
            }
        }
        http.text(4, &self.path);
        http.text(5, &self.host);
    }
}

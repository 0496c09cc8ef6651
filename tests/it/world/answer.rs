//! A request and its answer, the same for HTTP/1.1, HTTP/2 and gRPC.

use serde_json::Value;

/// What to send. Header names and values go out as they are written here.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Over HTTP/2 alone.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: "gateway.test".to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A unary gRPC call with one empty message.
    pub(crate) fn grpc(target: &str) -> Self {
        let request = Self::new("POST", target).header("content-type", "application/grpc");
        request.header("te", "trailers").body([0; 5])
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }
}

/// What came back. Header names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header that must not be there twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice: {self:?}");
        value.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON; of a gRPC answer, its one message.
    pub(crate) fn json(&self) -> Value {
        let grpc = self.header("content-type") == Some("application/grpc");
        let bytes = if grpc { self.body.get(5..).unwrap_or_default() } else { &self.body };
        serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The gRPC status: a trailer, or a header where there is nothing but the status.
    pub(crate) fn grpc_status(&self) -> Option<u32> {
        let mut all = self.trailers.iter().chain(&self.headers);
        let (_, status) = all.find(|(name, _)| name == "grpc-status")?;
        Some(status.parse().unwrap())
    }

    /// The values of a header as the upstream received it: empty when it did not. For an answer
    /// that the demo upstream gave; anything else fails the test.
    pub(crate) fn upstream_header(&self, name: &str) -> Vec<String> {
        let echo = self.json();
        let headers = echo["headers"].as_object();
        let headers = headers.unwrap_or_else(|| panic!("not the upstream's answer: {self:?}"));
        let values = headers.get(name).and_then(Value::as_array).into_iter().flatten();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }
}

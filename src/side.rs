//! The two proxies that ask.

/// Which of the two proxies asks. The socket that a check comes on fixes it; nothing that a caller
/// can write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The proxy before our own API: who may call us.
    Gateway,
    /// The proxy before the outside world: what our agents may call.
    Egress,
}

impl Side {
    /// Both sides.
    pub const ALL: [Self; 2] = [Self::Gateway, Self::Egress];

    /// The side's name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Egress => "egress",
        }
    }
}

//! Rules: which requests they select, and what they then require.
//!
//! `hosts` and `paths` select, the first match in file order decides, and failing what it requires
//! is a denial, never the next rule. Rules with the same `hosts` and `paths` stand together in one
//! [`Selector`], each answering for its own methods.

use std::collections::HashMap;

use super::glob::Glob;

/// All rules of one snapshot, in file order.
#[derive(Debug)]
pub struct Rules {
    selectors: Vec<Selector>,
    /// Where a rule stands: (selector, rule within it).
    by_id: HashMap<Box<str>, (usize, usize)>,
}

/// Rules that select the same requests.
#[derive(Debug)]
pub struct Selector {
    /// `None` selects every host.
    pub hosts: Option<Box<[Glob]>>,
    /// Never empty.
    pub paths: Box<[Glob]>,
    /// Never empty; no method is in two of them.
    pub rules: Vec<Rule>,
}

/// What is required of a selected request.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Unique in the file.
    pub id: Box<str>,
    /// The methods that this rule answers for.
    pub methods: Methods,
    /// Whether a credential is asked for at all.
    pub auth: Auth,
    /// Any of these; `None` asks for no role.
    pub roles: Option<Box<[Box<str>]>>,
    /// Any of these; `None` asks for no tenant.
    pub tenants: Option<Box<[Box<str>]>>,
    /// All of these.
    pub scopes: Box<[Box<str>]>,
    /// Whether the rule is only watched.
    pub mode: Mode,
    /// The headers that are ours to read and to remove; `None` takes the gateway's.
    pub credential_headers: Option<CredentialHeaders>,
    /// Which otherwise ambiguous escapes a path may carry.
    pub allow_encoded: Escapes,
}

/// Whether a rule asks who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Auth {
    /// No credential is read, nothing is counted.
    None,
    /// A valid API key.
    Key,
}

/// Whether a rule's requirements are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They are.
    Enforce,
    /// What methods, roles, tenants, scopes and limits would deny is logged, and passes.
    /// Authentication is never waived.
    Shadow,
}

/// Percent-escapes that are refused unless a rule opts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Escapes {
    /// `%2F`
    pub slash: bool,
    /// `%25`
    pub percent: bool,
}

/// The names, in lower case, of the headers in which a credential may stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CredentialHeaders(pub Box<[Box<str>]>);

/// A set of HTTP methods. Methods are case-sensitive (RFC 9110 section 9.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Methods(Box<[Box<str>]>);

/// What the rules have to say to a request.
#[derive(Clone, Copy, Debug)]
pub enum Selected<'s> {
    /// This rule decides.
    Rule(&'s Rule),
    /// Rules cover the host and path, and none of them the method. The first of them that asks for
    /// a credential speaks for all; `shadow` where every one of them is only watched.
    NoMethod {
        /// The rule that speaks for its selector.
        rule: &'s Rule,
        /// Whether the missing method is only logged.
        shadow: bool,
    },
    /// No rule covers this host and path.
    Nothing,
    /// The route names a rule that does not exist, or that does not cover this request.
    Unknown,
}

impl Rules {
    /// The rules, in the order in which their selectors decide.
    pub fn new(selectors: Vec<Selector>) -> Self {
        let mut by_id = HashMap::new();
        for (s, selector) in selectors.iter().enumerate() {
            for (r, rule) in selector.rules.iter().enumerate() {
                by_id.insert(rule.id.clone(), (s, r));
            }
        }
        Self { selectors, by_id }
    }

    /// The selectors in order.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Which rule decides about a request. `named` is the rule that the route names, if it does.
    pub fn select(
        &self,
        named: Option<&str>,
        host: &str,
        path: &str,
        method: &str,
    ) -> Selected<'_> {
        let Some(id) = named else {
            return match self.selectors.iter().find(|selector| selector.covers(host, path)) {
                Some(selector) => selector.rule_for(method),
                None => Selected::Nothing,
            };
        };
        let place = self.by_id.get(id).and_then(|&(s, r)| {
            let selector = self.selectors.get(s)?;
            Some((selector, selector.rules.get(r)?))
        });
        match place {
            Some((selector, rule)) if selector.covers(host, path) => {
                if rule.methods.contains(method) {
                    Selected::Rule(rule)
                } else {
                    Selected::NoMethod { rule, shadow: rule.mode == Mode::Shadow }
                }
            }
            Some(_) | None => Selected::Unknown,
        }
    }
}

impl Selector {
    /// Whether the host and the path are among those selected.
    pub fn covers(&self, host: &str, path: &str) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|glob| glob.matches_host(host)))
            && self.paths.iter().any(|glob| glob.matches_path(path))
    }

    fn rule_for(&self, method: &str) -> Selected<'_> {
        if let Some(rule) = self.rules.iter().find(|rule| rule.methods.contains(method)) {
            return Selected::Rule(rule);
        }
        let asks = self.rules.iter().find(|rule| rule.auth == Auth::Key);
        match asks.or(self.rules.first()) {
            Some(rule) => Selected::NoMethod {
                rule,
                shadow: self.rules.iter().all(|rule| rule.mode == Mode::Shadow),
            },
            None => Selected::Nothing,
        }
    }
}

impl<'s> Selected<'s> {
    /// The rule that speaks for the request, where there is one.
    pub fn rule(&self) -> Option<&'s Rule> {
        match *self {
            Self::Rule(rule) | Self::NoMethod { rule, shadow: _ } => Some(rule),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

impl Methods {
    /// What a rule without `methods` allows; with `auth: "none"` also HEAD and OPTIONS.
    pub fn standard(auth: Auth) -> Self {
        let all: &[&str] = match auth {
            Auth::Key => &["GET", "POST", "PUT", "DELETE", "PATCH"],
            Auth::None => &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"],
        };
        Self(all.iter().map(|&method| method.into()).collect())
    }

    /// These methods.
    ///
    /// # Errors
    /// Says what is wrong with one of them: TRACE and CONNECT are never allowed.
    pub fn parse(method: &str) -> Result<Box<str>, String> {
        if matches!(method, "TRACE" | "CONNECT") {
            return Err(format!("{method} is never allowed"));
        }
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err("expected an HTTP method in capital letters".to_owned());
        }
        Ok(method.into())
    }

    /// A set of methods that [`Methods::parse`] has passed.
    pub fn new(methods: Box<[Box<str>]>) -> Self {
        Self(methods)
    }

    /// Whether the method is in the set.
    pub fn contains(&self, method: &str) -> bool {
        self.0.iter().any(|known| **known == *method)
    }

    /// The methods, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|method| &**method)
    }
}

impl Escapes {
    /// Whether every escape found is one of those allowed.
    pub fn within(self, allowed: Self) -> bool {
        (allowed.slash || !self.slash) && (allowed.percent || !self.percent)
    }
}

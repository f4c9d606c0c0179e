//! Relying party ids and origins (WebAuthn L3 sections 5.1.3 and 7.1): which origin may use which id.
//! Used by the client before it asks and by the enclave whenever it is given client data.

use crate::limits::RP_ID_MAX;
use public_suffix::{DEFAULT_PROVIDER, EffectiveTLDProvider};

/// A valid domain that may be a relying party id: no address, no public suffix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RpId(String);

/// Why an id or an origin was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpError {
    #[error("the relying party id is not a domain name in lower-case ASCII")]
    NotADomain,
    #[error("the relying party id is an IP address")]
    Address,
    #[error("the relying party id is a public suffix")]
    PublicSuffix,
    #[error("the origin is not of the form https://host[:port] (http only for localhost)")]
    BadOrigin,
    #[error("the origin may not use this relying party id")]
    Foreign,
}

impl RpId {
    /// Takes a registrable domain or one below it, or `localhost`.
    pub fn parse(text: &str) -> Result<RpId, RpError> {
        if is_address(text) {
            return Err(RpError::Address);
        }
        if !is_domain(text) {
            return Err(RpError::NotADomain);
        }
        if text != "localhost" && DEFAULT_PROVIDER.effective_tld_plus_one(text).is_err() {
            return Err(RpError::PublicSuffix);
        }
        Ok(RpId(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses an origin whose host is neither this id nor a subdomain of it.
    pub fn allows(&self, origin: &Origin) -> Result<(), RpError> {
        let host = origin.host.as_str();
        let inside =
            host == self.0 || host.strip_suffix(self.0.as_str()).is_some_and(|rest| rest.ends_with('.'));
        if inside { Ok(()) } else { Err(RpError::Foreign) }
    }
}

/// A web origin in its serialised form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host: String,
}

impl Origin {
    /// Takes `https` with a domain, and `http` with `localhost` or a name below it.
    pub fn parse(text: &str) -> Result<Origin, RpError> {
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(RpError::BadOrigin),
        };
        let (host, port) = match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let default = if secure { "443" } else { "80" };
        let port_ok = port.is_none_or(|port| {
            port.parse::<u16>().is_ok_and(|number| number.to_string() == port) && port != default
        });
        let local = host == "localhost" || host.ends_with(".localhost");
        if !port_ok || is_address(host) || !is_domain(host) || !(secure || local) {
            return Err(RpError::BadOrigin);
        }
        Ok(Origin { text: text.to_owned(), host: host.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The domain alone.
    pub fn host(&self) -> &str {
        &self.host
    }
}

fn is_domain(text: &str) -> bool {
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    (1..=RP_ID_MAX).contains(&text.len()) && text.split('.').all(label_ok)
}

/// IPv6 in brackets, or a host whose last label is a number, which the URL standard reads as IPv4.
fn is_address(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()));
    text.starts_with('[')
        || text.contains(':') && text.parse::<core::net::IpAddr>().is_ok()
        || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
        || hexadecimal
}

//! A TLS certificate and its key, before or while a service has them.

use super::{Check, private};
use keyferry_device::clock::now_ms;
use keyferry_device::documents::rfc3339;
use keyferry_server::http::{EXPIRY_WARNING, Pair, TlsFiles, load_tls};
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use std::path::Path;

const PAIR: &str = "tls-pair";
const EXPIRY: &str = "tls-expiry";
const NAMES: &str = "tls-names";

pub(super) fn checks(certificates: &Path, key: &Path, server: Option<&str>) -> Vec<Check> {
    let files = TlsFiles { certificates: certificates.to_path_buf(), key: key.to_path_buf() };
    let pair = match load_tls(&files) {
        Ok(pair) => pair,
        Err(error) => {
            return vec![Check::bad(
                PAIR,
                error.to_string(),
                "put a certificate chain and the key that belongs to it in place, both in PEM",
            )];
        }
    };
    let mut checks = vec![Check::ok(PAIR, "certificate and key belong together"), expiry(&pair)];
    // A group of readers is usual for such a key; the world is not.
    match crate::platform::mode(key) {
        Ok(mode) if mode & 0o007 == 0 => checks.push(Check::ok("tls-key", "the key is not for everybody")),
        _ => checks.push(private("tls-key", key, "the key")),
    }
    checks.extend(server.and_then(|server| names(&pair, server)));
    checks
}

fn expiry(pair: &Pair) -> Check {
    let Some(not_after) = pair.not_after else {
        return Check::warn(
            EXPIRY,
            "the certificate's end cannot be read",
            "look it up with openssl x509 -enddate",
        );
    };
    let end = rfc3339(not_after.saturating_mul(1000));
    let new = "put a new pair in place of the files; a running service takes it within seconds";
    match not_after.checked_sub(now_ms() / 1000) {
        None | Some(0) => Check::bad(EXPIRY, format!("the certificate ended at {end}"), new),
        Some(left) if left <= EXPIRY_WARNING.as_secs() => {
            Check::warn(EXPIRY, format!("the certificate ends in {} days, at {end}", left / 86_400), new)
        }
        Some(_) => Check::ok(EXPIRY, format!("the certificate lasts until {end}")),
    }
}

fn names(pair: &Pair, server: &str) -> Option<Check> {
    let (_, rest) = server.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    let fits = ParsedCertificate::try_from(&pair.leaf).and_then(|leaf| {
        let name = ServerName::try_from(host).map_err(|_| rustls::Error::General("no name".to_owned()))?;
        verify_server_name(&leaf, &name)
    });
    Some(match fits {
        Ok(()) => Check::ok(NAMES, format!("the certificate is for {host}")),
        Err(_) => Check::bad(
            NAMES,
            format!("the certificate is not for {host}: every client refuses it there"),
            format!("get a certificate that names {host}, or use the name that it has"),
        ),
    })
}

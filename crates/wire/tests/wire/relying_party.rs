//! Relying party ids and origins: tables of what is taken, what is refused and why.

use keyferry_wire::relying_party::{Origin, RpError, RpId};

#[test]
fn domains_are_relying_party_ids() {
    let long_label = format!("{}.example.com", "a".repeat(63));
    let longest = format!("{}.com", ["a"; 125].join("."));
    assert_eq!(longest.len(), 253);
    for good in [
        "example.com",
        "login.example.com",
        "a.b.c.example.co.uk",
        "example.co.uk",
        "user.github.io",
        "localhost",
        "app.localhost",
        "xn--bcher-kva.example",
        "xn--fiqs8s.xn--fiqs8s",
        "1.example.com",
        "0x7f000001.com",
        "under_score.example.com",
        "a--b.example.com",
        "www.ck",
        long_label.as_str(),
        longest.as_str(),
    ] {
        assert_eq!(RpId::parse(good).map(|id| id.as_str().to_owned()), Ok(good.to_owned()), "{good}");
    }
}

#[test]
fn addresses_are_no_relying_party_ids() {
    for address in [
        "127.0.0.1",
        "192.168.1.1",
        "0.0.0.0",
        "255.255.255.255",
        "1",
        "2130706433",
        "127.1",
        "0x7f000001",
        "0x7f.0.0.1",
        "0x7f.1",
        "0x",
        "1.2.3.0x",
        "017700000001",
        "0177.0.0.1",
        "256.256.256.256",
        "example.127",
        "example.0x1",
        "::1",
        "[::1]",
        "[2001:db8::1]",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "[",
    ] {
        assert_eq!(RpId::parse(address), Err(RpError::Address), "{address}");
    }
}

#[test]
fn public_suffixes_are_no_relying_party_ids() {
    for suffix in [
        "com",
        "uk",
        "co.uk",
        "github.io",
        "io",
        "org",
        "de",
        "ck",
        "any.ck",
        "appspot.com",
        "blogspot.com",
        "s3.amazonaws.com",
        "xn--fiqs8s",
        "intranet",
        "local",
    ] {
        assert_eq!(RpId::parse(suffix), Err(RpError::PublicSuffix), "{suffix}");
    }
}

#[test]
fn anything_else_is_no_domain() {
    let long_label = format!("{}.example.com", "a".repeat(64));
    let too_long = format!("{}.com", ["a"; 125].join(".") + "a");
    for bad in [
        "",
        ".",
        "example.com.",
        "localhost.",
        ".example.com",
        "example..com",
        "Example.com",
        "EXAMPLE.COM",
        "LOCALHOST",
        "b\u{fc}cher.example",
        "example\u{3002}com",
        "ex ample.com",
        " example.com",
        "example.com ",
        "example.com\n",
        "exam\0ple.com",
        "-example.com",
        "example-.com",
        "https://example.com",
        "example.com:443",
        "example.com/path",
        "user@example.com",
        "*.example.com",
        "0X7F000001.com.",
        long_label.as_str(),
        too_long.as_str(),
    ] {
        assert_eq!(RpId::parse(bad), Err(RpError::NotADomain), "{bad:?}");
    }
}

#[test]
fn web_origins_are_taken_as_they_are_serialised() {
    for (good, host) in [
        ("https://example.com", "example.com"),
        ("https://login.example.com", "login.example.com"),
        ("https://example.com:8443", "example.com"),
        ("https://example.com:80", "example.com"),
        ("https://example.com:65535", "example.com"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://github.io", "github.io"),
        ("https://intranet", "intranet"),
        ("https://localhost", "localhost"),
        ("https://localhost:8443", "localhost"),
        ("http://localhost", "localhost"),
        ("http://localhost:8080", "localhost"),
        ("http://localhost:443", "localhost"),
        ("http://app.localhost:3000", "app.localhost"),
    ] {
        let origin = Origin::parse(good).unwrap();
        assert_eq!((origin.as_str(), origin.host()), (good, host));
    }
}

#[test]
fn other_origins_are_refused() {
    for bad in [
        "",
        "null",
        "example.com",
        "//example.com",
        "http://example.com",
        "http://example.com:8080",
        "http://localhost.example.com",
        "http://notlocalhost",
        "http://127.0.0.1",
        "http://127.0.0.1:8080",
        "https://127.0.0.1",
        "https://0x7f000001",
        "https://2130706433",
        "https://[::1]",
        "https://[::1]:8443",
        "https://[2001:db8::1]",
        "HTTPS://example.com",
        "Https://example.com",
        "https://Example.com",
        "https://EXAMPLE.COM",
        "https://b\u{fc}cher.example",
        "https://example.com/",
        "https://example.com/path",
        "https://example.com?query",
        "https://example.com#fragment",
        "https://example.com.",
        "https://example.com.:8443",
        "https://localhost.",
        "https://.example.com",
        "https://example..com",
        "https://",
        "https://:443",
        "https://example.com:",
        "https://example.com:443",
        "http://localhost:80",
        "https://example.com:0443",
        "https://example.com:+8443",
        "https://example.com:-1",
        "https://example.com:65536",
        "https://example.com:8443:8443",
        "https://example.com:8443/",
        "https://example.com:port",
        "https://example.com: 8443",
        "https://user@example.com",
        "https://user:pass@example.com",
        "https://example.com@evil.example",
        "https://example.com\\@evil.example",
        "https://example.com%2f.evil.example",
        "https://exa mple.com",
        " https://example.com",
        "https://example.com ",
        "https://example.com\n",
        "https://example.com\0",
        "ftp://example.com",
        "ws://localhost",
        "wss://example.com",
        "file:///etc/passwd",
        "chrome-extension://abcdefghijklmnop",
        "android:apk-key-hash:AAAA",
        "https:example.com",
        "https:/example.com",
        "https:///example.com",
    ] {
        assert_eq!(Origin::parse(bad), Err(RpError::BadOrigin), "{bad:?}");
    }
}

#[test]
fn an_origin_may_use_its_own_domain_and_those_above_it() {
    for (origin, id) in [
        ("https://example.com", "example.com"),
        ("https://example.com:8443", "example.com"),
        ("https://login.example.com", "example.com"),
        ("https://a.b.c.example.com:444", "b.c.example.com"),
        ("https://shop.example.co.uk", "example.co.uk"),
        ("https://user.github.io", "user.github.io"),
        ("http://localhost:3000", "localhost"),
        ("http://app.localhost", "localhost"),
        ("http://app.localhost", "app.localhost"),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        assert_eq!(RpId::parse(id).unwrap().allows(&Origin::parse(origin).unwrap()), Ok(()), "{origin} {id}");
    }
}

#[test]
fn a_foreign_origin_may_not_use_the_id() {
    for (origin, id) in [
        ("https://evil.example", "example.com"),
        ("https://evilexample.com", "example.com"),
        ("https://example.com.evil.example", "example.com"),
        ("https://example.co", "example.com"),
        ("https://example.com", "login.example.com"),
        ("https://other.example.com", "login.example.com"),
        ("https://other.github.io", "user.github.io"),
        ("https://github.io", "user.github.io"),
        ("https://example.com", "localhost"),
        ("http://localhost:3000", "example.com"),
        ("http://localhost:3000", "app.localhost"),
        ("https://mylocalhost", "localhost"),
        ("https://xn--bcher-kva.example", "bcher.example"),
    ] {
        let refused = RpId::parse(id).unwrap().allows(&Origin::parse(origin).unwrap());
        assert_eq!(refused, Err(RpError::Foreign), "{origin} {id}");
    }
}

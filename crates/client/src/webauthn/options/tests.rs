use super::*;
use keyferry_wire::command::CredProtect;
use serde_json::{Value, json};

const ORIGIN: &str = "https://login.example.com";

fn create() -> Value {
    json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": "AQID", "name": "ada", "displayName": "Ada"},
        "challenge": "AAECAwQFBgc",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -257}],
        "excludeCredentials": [
            {"type": "public-key", "id": "AAAAAAAAAAAAAAAAAAAAAA"},
            {"type": "public-key", "id": "AAAA"},
        ],
        "authenticatorSelection": {"userVerification": "required", "residentKey": "required"},
        "extensions": {"credProps": true},
        "attestation": "direct",
    })
}

fn get() -> Value {
    json!({"challenge": "AAECAwQFBgc", "rpId": "example.com"})
}

fn parse_create(json: &Value) -> Result<CreateRequest, Refusal> {
    CreateRequest::parse(json.to_string().as_bytes(), ORIGIN)
}

fn parse_get(json: &Value) -> Result<GetRequest, Refusal> {
    GetRequest::parse(json.to_string().as_bytes(), ORIGIN)
}

#[test]
fn good_options_are_read_bare_or_wrapped() {
    for json in [create(), json!({"publicKey": create()})] {
        let request = parse_create(&json).unwrap();
        assert_eq!(request.rp_id.as_str(), "example.com");
        assert_eq!(request.algorithms, [-7, -257]);
        assert_eq!(request.exclude, [CredentialId([0; 16])], "an id of another length cannot be ours");
        assert_eq!(request.user_verification, UserVerification::Required);
        assert!(request.extensions.cred_props);
    }
}

/// Each bad creation: what is changed, the code, the DOMException.
#[test]
fn bad_creation_options_are_refused_as_a_browser_would() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change, Code, &str); 24] = [
        ("no challenge", |j| j["challenge"] = Value::Null, Code::BadOptions, "TypeError"),
        ("empty challenge", |j| j["challenge"] = json!(""), Code::BadOptions, "TypeError"),
        ("challenge is no text", |j| j["challenge"] = json!([1]), Code::BadOptions, "TypeError"),
        ("challenge is no base64url", |j| j["challenge"] = json!("+/+/"), Code::BadOptions, "EncodingError"),
        ("padded base64url", |j| j["challenge"] = json!("AA=="), Code::BadOptions, "EncodingError"),
        ("challenge too long", |j| j["challenge"] = json!("A".repeat(8192)), Code::BadOptions, "TypeError"),
        ("no rp", |j| j["rp"] = Value::Null, Code::BadOptions, "TypeError"),
        ("no rp.name", |j| j["rp"]["name"] = Value::Null, Code::BadOptions, "TypeError"),
        ("rp.id is no text", |j| j["rp"]["id"] = json!(1), Code::BadOptions, "TypeError"),
        ("no user", |j| j["user"] = Value::Null, Code::BadOptions, "TypeError"),
        ("no user.name", |j| j["user"]["name"] = Value::Null, Code::BadOptions, "TypeError"),
        ("no user.displayName", |j| j["user"]["displayName"] = Value::Null, Code::BadOptions, "TypeError"),
        ("no user.id", |j| j["user"]["id"] = Value::Null, Code::BadOptions, "TypeError"),
        ("empty user.id", |j| j["user"]["id"] = json!(""), Code::BadOptions, "TypeError"),
        (
            "user.id of 65 bytes",
            |j| j["user"]["id"] = json!(crate::base64url::encode(&[1; 65])),
            Code::BadOptions,
            "TypeError",
        ),
        ("no params", |j| j["pubKeyCredParams"] = Value::Null, Code::BadOptions, "TypeError"),
        (
            "alg is no number",
            |j| j["pubKeyCredParams"][0]["alg"] = json!("-7"),
            Code::BadOptions,
            "TypeError",
        ),
        (
            "unknown algorithms only",
            |j| j["pubKeyCredParams"] = json!([{"type": "public-key", "alg": -999}]),
            Code::BadOptions,
            "NotSupportedError",
        ),
        (
            "unknown types only",
            |j| j["pubKeyCredParams"] = json!([{"type": "password", "alg": -7}]),
            Code::BadOptions,
            "NotSupportedError",
        ),
        (
            "exclude without id",
            |j| j["excludeCredentials"] = json!([{"type": "public-key"}]),
            Code::BadOptions,
            "TypeError",
        ),
        (
            "another attachment",
            |j| j["authenticatorSelection"]["authenticatorAttachment"] = json!("cross-platform"),
            Code::BadOptions,
            "NotAllowedError",
        ),
        ("foreign rp.id", |j| j["rp"]["id"] = json!("example.org"), Code::Origin, "SecurityError"),
        ("public suffix", |j| j["rp"]["id"] = json!("com"), Code::Origin, "SecurityError"),
        ("address as rp.id", |j| j["rp"]["id"] = json!("127.0.0.1"), Code::Origin, "SecurityError"),
    ];
    for (what, change, code, name) in cases {
        let mut json = create();
        change(&mut json);
        let refusal = parse_create(&json).map(|_| ()).expect_err(what);
        assert_eq!((refusal.code, refusal.name.as_deref()), (code, Some(name)), "{what}");
    }
}

#[test]
fn a_sibling_domain_that_only_ends_alike_is_foreign() {
    let json = create().to_string();
    let refusal = CreateRequest::parse(json.as_bytes(), "https://evilexample.com").unwrap_err();
    assert_eq!(refusal.code, Code::Origin);
}

#[test]
fn an_origin_without_tls_is_refused_but_for_localhost() {
    let json = json!({"challenge": "AAECAwQFBgc"}).to_string();
    for bad in ["http://example.com", "https://127.0.0.1", "example.com", "https://example.com/", "null"] {
        let refusal = GetRequest::parse(json.as_bytes(), bad).unwrap_err();
        assert_eq!((refusal.code, refusal.name.as_deref()), (Code::Origin, Some("SecurityError")), "{bad}");
    }
    let request = GetRequest::parse(json.as_bytes(), "http://localhost:8080").unwrap();
    assert_eq!(request.rp_id.as_str(), "localhost");
}

#[test]
fn without_an_rp_id_the_origins_host_is_meant() {
    let mut json = create();
    json["rp"]["id"] = Value::Null;
    assert_eq!(parse_create(&json).unwrap().rp_id.as_str(), "login.example.com");
}

#[test]
fn an_empty_list_of_algorithms_means_the_standards_default() {
    let mut json = create();
    json["pubKeyCredParams"] = json!([]);
    assert_eq!(parse_create(&json).unwrap().algorithms, [-7, -257]);
}

#[test]
fn a_list_of_foreign_credentials_allows_none_and_no_list_allows_any() {
    assert_eq!(parse_get(&get()).unwrap().allow, Allow::Any);
    let mut json = get();
    json["allowCredentials"] = json!([]);
    assert_eq!(parse_get(&json).unwrap().allow, Allow::Any);
    json["allowCredentials"] = json!([{"type": "public-key", "id": "AAAA"}]);
    assert_eq!(parse_get(&json).unwrap().allow, Allow::These(Vec::new()));
}

#[test]
fn unknown_values_of_user_verification_count_as_the_default() {
    let mut json = get();
    json["userVerification"] = json!("perhaps");
    assert_eq!(parse_get(&json).unwrap().user_verification, UserVerification::Preferred);
    json["userVerification"] = json!("discouraged");
    assert_eq!(parse_get(&json).unwrap().user_verification, UserVerification::Discouraged);
}

#[test]
fn long_names_are_cut_between_characters() {
    let mut json = create();
    json["user"]["name"] = json!("é".repeat(200));
    assert_eq!(parse_create(&json).unwrap().user_name, "é".repeat(128));
}

#[test]
fn what_is_no_options_object_is_refused() {
    for bad in ["", "[]", "null", "{", "{\"publicKey\":[]}", "\"x\""] {
        let refusal = GetRequest::parse(bad.as_bytes(), ORIGIN).unwrap_err();
        assert_eq!((refusal.code, refusal.name.as_deref()), (Code::BadOptions, Some("TypeError")), "{bad}");
    }
    let long = format!("{{\"challenge\":\"AAAA\",\"x\":\"{}\"}}", "x".repeat(70_000));
    assert!(GetRequest::parse(long.as_bytes(), ORIGIN).is_err());
}

fn with_extensions(mut json: Value, extensions: Value) -> Value {
    json["extensions"] = extensions;
    json
}

fn listing(ids: &[&str], extensions: Value) -> Value {
    let mut json = with_extensions(get(), extensions);
    json["allowCredentials"] = ids.iter().map(|id| json!({"type": "public-key", "id": id})).collect();
    json
}

#[test]
fn extensions_of_a_creation_are_read_and_unknown_ones_passed_over() {
    let asked = json!({
        "prf": {"eval": {"first": "AQ", "second": ""}}, "largeBlob": {"support": "required"},
        "credentialProtectionPolicy": "userVerificationRequired", "enforceCredentialProtectionPolicy": true,
        "appid": 7, "credBlob": [1],
    });
    let extensions = parse_create(&with_extensions(create(), asked)).unwrap().extensions;
    let salts = extensions.prf.unwrap().eval.unwrap();
    assert_eq!(salts.first, keyferry_crypto::hash::sha256(&[b"WebAuthn PRF\0", &[1]]));
    assert_eq!(salts.second, Some(keyferry_crypto::hash::sha256(&[b"WebAuthn PRF\0"])));
    assert!(extensions.large_blob && !extensions.cred_props);
    assert_eq!(extensions.cred_protect, Some(CredProtect::Required));
    let none = parse_create(&with_extensions(create(), json!({"prf": {}, "largeBlob": {}}))).unwrap();
    assert!(none.extensions.prf.unwrap().eval.is_none() && none.extensions.large_blob);
    assert!(none.extensions.cred_protect.is_none());
}

#[test]
fn bad_extensions_of_a_creation_are_refused_as_the_standard_says() {
    let cases = [
        (json!(7), "TypeError"),
        (json!({"credProps": 1}), "TypeError"),
        (json!({"prf": true}), "TypeError"),
        (json!({"prf": {"eval": {}}}), "TypeError"),
        (json!({"prf": {"eval": {"first": 1}}}), "TypeError"),
        (json!({"prf": {"eval": {"first": "+/=="}}}), "EncodingError"),
        (json!({"prf": {"eval": {"first": "AQ", "second": []}}}), "TypeError"),
        (json!({"prf": {"evalByCredential": {}}}), "NotSupportedError"),
        (json!({"prf": {"evalByCredential": {"AQ": {"first": "AQ"}}}}), "NotSupportedError"),
        (json!({"largeBlob": 1}), "TypeError"),
        (json!({"largeBlob": {"support": 1}}), "TypeError"),
        (json!({"largeBlob": {"read": true}}), "NotSupportedError"),
        (json!({"largeBlob": {"read": false}}), "NotSupportedError"),
        (json!({"largeBlob": {"write": "AQ"}}), "NotSupportedError"),
        (json!({"credentialProtectionPolicy": 3}), "TypeError"),
        (json!({"credentialProtectionPolicy": "strict"}), "TypeError"),
        (json!({"enforceCredentialProtectionPolicy": "yes"}), "TypeError"),
    ];
    for (extensions, name) in cases {
        let refusal = parse_create(&with_extensions(create(), extensions.clone())).unwrap_err();
        assert_eq!((refusal.code, refusal.name.as_deref()), (Code::BadOptions, Some(name)), "{extensions}");
    }
}

const OURS: &str = "AAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn the_prf_inputs_of_a_credential_come_before_those_for_all() {
    let prf = json!({"prf": {
        "eval": {"first": "AQ"}, "evalByCredential": {OURS: {"first": "Ag", "second": "Aw"}, "AAAA": {"first": "BA"}},
    }});
    let prf = parse_get(&listing(&[OURS, "AAAA"], prf)).unwrap().extensions.prf.unwrap();
    let salt = |input: u8| keyferry_crypto::prf::salt(&[input]);
    let own = prf.salts(&CredentialId([0; 16])).unwrap();
    assert_eq!((own.first, own.second), (salt(2), Some(salt(3))));
    let other = prf.salts(&CredentialId([1; 16])).unwrap();
    assert_eq!((other.first, other.second), (salt(1), None));
    let none = parse_get(&with_extensions(get(), json!({"prf": {}}))).unwrap().extensions.prf.unwrap();
    assert!(none.salts(&CredentialId([0; 16])).is_none());
}

#[test]
fn bad_extensions_of_a_sign_in_are_refused_as_the_standard_says() {
    let by = |key: &str| json!({"prf": {"evalByCredential": {key: {"first": "AQ"}}}});
    let long = crate::base64url::encode(&[1; 8193]);
    let cases = [
        (with_extensions(get(), by(OURS)), "NotSupportedError"),
        (listing(&[OURS], by("")), "SyntaxError"),
        (listing(&[OURS], by("AAAA====")), "SyntaxError"),
        (listing(&[OURS], by("+/+/")), "SyntaxError"),
        (listing(&[OURS], by("AAAA")), "SyntaxError"),
        (listing(&[OURS], json!({"prf": {"evalByCredential": {OURS: 1}}})), "TypeError"),
        (listing(&[OURS], json!({"prf": {"evalByCredential": {OURS: {}}}})), "TypeError"),
        (listing(&[OURS], json!({"prf": {"eval": {"first": "="}}})), "EncodingError"),
        (listing(&[OURS], json!({"largeBlob": {"support": "preferred"}})), "NotSupportedError"),
        (listing(&[OURS], json!({"largeBlob": {"read": true, "write": "AQ"}})), "NotSupportedError"),
        (listing(&[OURS], json!({"largeBlob": {"read": 1}})), "TypeError"),
        (listing(&[OURS], json!({"largeBlob": {"write": 1}})), "TypeError"),
        (listing(&[OURS], json!({"largeBlob": {"write": "="}})), "EncodingError"),
        (listing(&[OURS], json!({"largeBlob": {"write": long}})), "NotSupportedError"),
        (listing(&[OURS, "AAAA"], json!({"largeBlob": {"write": "AQ"}})), "NotSupportedError"),
        (with_extensions(get(), json!({"largeBlob": {"write": "AQ"}})), "NotSupportedError"),
    ];
    for (options, name) in cases {
        let refusal = parse_get(&options).unwrap_err();
        assert_eq!((refusal.code, refusal.name.as_deref()), (Code::BadOptions, Some(name)), "{options}");
    }
}

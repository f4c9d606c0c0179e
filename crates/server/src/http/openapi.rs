//! The HTTP interface as an OpenAPI 3.1 document, made from the table of routes and from the very errors that handlers
//! give. To document a route: its arm in [`operation`], without which nothing compiles.
//!
//! Bodies in CBOR are not described here: `x-cddl` names their rule in `docs/keyferry.cddl`.

use super::problem::Problem;
use super::routes::{Class, Handler, ROUTES, Route};
use crate::pump::Failure;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use keyferry_wire::door::Drop as Reason;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// 32 bytes as base64url without padding: the bits of the last character that say nothing are 0.
const BYTES_32: &str = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$";
const BYTES_8: &str = "^[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048]$";
/// C2SP tlog-tiles, in their one spelling.
const TILE_PATH: &str = "^(entries|[0-9]|[1-5][0-9]|6[0-3])(/x[0-9]{3})*/[0-9]{3}(\\.p/[1-9][0-9]{0,2})?$";

/// What a route does, as a reader of its document needs to know it.
struct Operation {
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    /// CDDL rule of the request's body.
    takes: Option<&'static str>,
    /// Whether it wants a device's access token.
    bearer: bool,
    gives: Vec<(StatusCode, Answer)>,
    /// Errors besides those of the guard, which every route has.
    problems: Vec<Problem>,
}

/// An answer that is no error.
struct Answer {
    what: &'static str,
    /// Media type and content; none where the connection goes on as another protocol.
    body: Option<(&'static str, Value)>,
    /// The value of a header that it always has.
    header: (&'static str, &'static str),
}

fn operation(handler: Handler) -> Operation {
    let of = |id, summary, gives| Operation {
        id,
        summary,
        parameters: Vec::new(),
        takes: None,
        bearer: false,
        gives: vec![(StatusCode::OK, gives)],
        problems: Vec::new(),
    };
    let account = || path("account", "The account's id.", json!({ "type": "string", "pattern": BYTES_32 }));
    let shard = || {
        path("shard", "A shard's number.", json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }))
    };
    let dropped = |reasons: &[Reason]| {
        let problems = reasons.iter().map(|reason| Problem::from(Failure::Dropped(*reason)));
        let own = [Problem::MEDIA_TYPE, Problem::NOT_SERVING];
        problems.chain(own).collect::<Vec<_>>()
    };
    match handler {
        Handler::Document => of("document", "This document.", json_of("The document", document_schema())),
        Handler::Health => {
            let mut health = of(
                "health",
                "Whether it serves, and what this deployment is.",
                json_of("It serves", health_schema("serving")),
            );
            let starting = json_of("No enclave serves yet", health_schema("starting"));
            health.gives.push((StatusCode::SERVICE_UNAVAILABLE, starting));
            health
        }
        Handler::Metrics => of(
            "metrics",
            "Figures for operators, in Prometheus' text format.",
            Answer { header: NO_STORE, ..text("Figures") },
        ),
        Handler::Status => Operation {
            problems: vec![Problem::NOT_SERVING],
            ..of("status", "What this deployment is, and its logs.", json_of("Status", status_schema()))
        },
        Handler::Evidence => Operation {
            problems: vec![Problem::NOT_SERVING],
            ..of("evidence", "Evidence of the enclave that serves.", cbor("Evidence"))
        },
        Handler::Sessions => Operation {
            takes: Some("SessionOpen"),
            problems: dropped(&[Reason::Version, Reason::Evidence, Reason::Frame, Reason::Starting]),
            ..of("openSession", "Noise message 1 to the enclave, message 2 back.", cbor("SessionOpened"))
        },
        Handler::Requests => Operation {
            takes: Some("RequestFrame"),
            problems: dropped(&[
                Reason::Version,
                Reason::Session,
                Reason::Frame,
                Reason::Store,
                Reason::Full,
            ]),
            ..of("request", "A sealed request to the enclave, its sealed reply back.", cbor("ReplyFrame"))
        },
        Handler::RouteOf => Operation {
            parameters: vec![account()],
            problems: vec![Problem::NOT_SERVING],
            ..of(
                "route",
                "Which shard and instance serve an account, whether or not it exists.",
                cbor("Route"),
            )
        },
        Handler::Sync => Operation {
            parameters: vec![
                account(),
                query("cursor", "Rows changed after this `vault_seq`.", 0),
                query("limit", "Rows of the page; more than 500 mean 500.", 100),
                query("seen", "Size of a checkpoint that the reader has seen.", 0),
            ],
            bearer: true,
            problems: vec![Problem::UNAUTHORIZED, Problem::INTERNAL],
            ..of("sync", "Passkey rows that changed since a cursor, with proof.", cbor("SyncPage"))
        },
        Handler::Audit => Operation {
            parameters: vec![
                account(),
                query("from", "Sequence number of the first entry.", 1),
                query("limit", "Entries of the page; more than 256 mean 256.", 100),
                query("seen", "Size of a checkpoint that the reader has seen.", 0),
            ],
            bearer: true,
            problems: vec![Problem::UNAUTHORIZED, Problem::INTERNAL],
            ..of("audit", "An account's ledger entries, with proof.", cbor("AuditPage"))
        },
        Handler::Live => Operation {
            parameters: vec![
                account(),
                query("seq", "The account's sequence number, as far as the listener knows it.", 0),
                query("vault_seq", "The vault's, as far as the listener knows it.", 0),
            ],
            bearer: true,
            gives: vec![(
                StatusCode::SWITCHING_PROTOCOLS,
                websocket("A WebSocket of binary messages, each a Hint"),
            )],
            problems: vec![Problem::UNAUTHORIZED, Problem::UPGRADE, Problem::LISTENERS, Problem::INTERNAL],
            ..of("live", "Tells of changes of an account as they come (RFC 6455).", cbor("Hint"))
        },
        Handler::Checkpoint => Operation {
            parameters: vec![shard()],
            problems: vec![Problem::NOT_FOUND, Problem::INTERNAL],
            ..of("checkpoint", "A log's newest published checkpoint, a signed note.", text("The checkpoint"))
        },
        Handler::Tile => Operation {
            parameters: vec![
                shard(),
                path(
                    "path",
                    "`L/N` or `entries/N`, partial with `.p/W` (C2SP tlog-tiles); its slashes may stand as they are.",
                    json!({ "type": "string", "pattern": TILE_PATH }),
                ),
            ],
            problems: vec![Problem::NOT_FOUND, Problem::INTERNAL],
            ..of("tile", "A tile or entry bundle of a log; it never changes.", octets("The tile"))
        },
    }
}

/// `GET /v1/openapi.json`.
pub(super) async fn openapi() -> Response {
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| document().to_string().into_bytes());
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], BYTES.as_slice()).into_response()
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in &ROUTES {
        let methods = paths.entry(route.template.replace("{*", "{")).or_default();
        methods.insert(route.method.as_str().to_lowercase(), described(route));
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Keyferry gateway",
            "version": "1",
            "description": INFO,
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "securitySchemes": { "access": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "base64url",
            "description": "The access token of a device of the account, which the enclave gave to it alone.",
        } } },
    })
}

const INFO: &str = "The gateway is believed in nothing: all that it says by itself is public, ciphertext, or proved to \
whoever reads it. docs/PROTOCOL.md is normative for what the bytes mean. Bodies of type application/cbor are \
deterministic CBOR by the rule of docs/keyferry.cddl that x-cddl names. Readers ignore members of JSON objects that \
they do not know. Whatever stands here for GET goes for HEAD. Another method is 405 with `Allow`, another path 404; \
what is no HTTP gets an empty answer. Rates are per address (an IPv6 /64 is one) and class of route; x-limits has each \
route's class, longest body and longest time.";

fn described(route: &Route) -> Value {
    let operation = operation(route.handler);
    let class = match route.class {
        Class::Session => "session",
        Class::Request => "request",
        Class::Read => "read",
        Class::Ledger => "ledger",
        Class::Live => "live",
        Class::Status => "status",
    };
    let mut out = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(&operation),
        "x-limits": { "class": class, "body_max": route.body_max, "seconds_max": route.time_max.as_secs() },
    });
    let mut put = |name: &str, value: Value| {
        if let Value::Object(object) = &mut out {
            object.insert(name.to_owned(), value);
        }
    };
    if !operation.parameters.is_empty() {
        put("parameters", json!(operation.parameters));
    }
    if let Some(rule) = operation.takes {
        put("requestBody", json!({ "required": true, "content": { "application/cbor": cddl(rule) } }));
    }
    if operation.bearer {
        put("security", json!([{ "access": [] }]));
    }
    out
}

/// By status: an answer, an error with its codes, or either.
fn responses(operation: &Operation) -> Value {
    let guard = [Problem::BAD_REQUEST, Problem::TOO_LARGE, Problem::RATE_LIMITED, Problem::TIMEOUT];
    let mut problems: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
    for problem in guard.iter().chain(&operation.problems) {
        problems.entry(problem.status().as_u16()).or_default().push(*problem);
    }
    let mut all: BTreeMap<String, Value> =
        problems.iter().map(|(status, problems)| (status.to_string(), refused(problems))).collect();
    for (status, answer) in &operation.gives {
        let error = all.remove(status.as_str());
        all.insert(status.as_str().to_owned(), answered(answer, error.as_ref()));
    }
    json!(all)
}

fn answered(answer: &Answer, error: Option<&Value>) -> Value {
    let (name, value) = answer.header;
    let header = json!({ "required": true, "schema": { "type": "string", "const": value } });
    let mut out = json!({ "description": answer.what, "headers": { name: header } });
    let Some((media_type, content)) = &answer.body else {
        return out;
    };
    out["content"] = json!({ *media_type: content });
    // One status for both: the answer is one of the two.
    if let Some(other) = error.and_then(|error| error.pointer("/content/application~1json/schema")) {
        out["content"][media_type]["schema"] = json!({ "oneOf": [content["schema"], other] });
    }
    out
}

fn refused(problems: &[Problem]) -> Value {
    let (mut codes, mut sentences): (Vec<_>, Vec<_>) =
        problems.iter().map(|problem| (problem.error(), problem.message())).unzip();
    for list in [&mut codes, &mut sentences] {
        list.sort_unstable();
        list.dedup();
    }
    let mut headers = json!({ "Cache-Control": { "required": true, "schema": { "const": "no-store" } } });
    for (name, value) in problems.iter().flat_map(|problem| problem.headers()) {
        headers[name] = json!({ "required": true, "schema": { "type": "string", "const": value } });
    }
    json!({
        "description": sentences.join("; or "),
        "headers": headers,
        "content": { "application/json": { "schema": object(&[
            ("error", json!({ "enum": codes })),
            ("message", json!({ "type": "string" })),
        ]) } },
    })
}

fn path(name: &str, what: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": what, "schema": schema })
}

fn query(name: &str, what: &str, default: u64) -> Value {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX, "default": default });
    json!({ "name": name, "in": "query", "required": false, "description": what, "schema": schema })
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

fn cddl(rule: &str) -> Value {
    json!({ "schema": {}, "x-cddl": rule })
}

fn cbor(rule: &'static str) -> Answer {
    Answer { what: rule, body: Some(("application/cbor", cddl(rule))), header: NO_STORE }
}

fn json_of(what: &'static str, schema: Value) -> Answer {
    Answer { what, body: Some(("application/json", json!({ "schema": schema }))), header: NO_STORE }
}

fn text(what: &'static str) -> Answer {
    let content = json!({ "schema": { "type": "string" } });
    Answer { what, body: Some(("text/plain", content)), header: ("Cache-Control", "no-cache") }
}

fn octets(what: &'static str) -> Answer {
    let forever = ("Cache-Control", "public, max-age=31536000, immutable");
    Answer { what, body: Some(("application/octet-stream", json!({ "schema": {} }))), header: forever }
}

fn websocket(what: &'static str) -> Answer {
    Answer { what, body: None, header: ("Upgrade", "websocket") }
}

/// An object that has these members; later versions may add others.
fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
    let properties: BTreeMap<_, _> = members.iter().cloned().collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn posture() -> Vec<(&'static str, Value)> {
    let level = json!({ "type": "integer", "minimum": 0, "maximum": 3 });
    vec![
        ("profile", json!({ "enum": ["try", "home", "confidential"] })),
        ("anchor_level", level.clone()),
        ("custody_level", level),
        ("stand_ins", json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true })),
    ]
}

fn health_schema(status: &str) -> Value {
    object(&[posture(), vec![("status", json!({ "const": status }))]].concat())
}

fn status_schema() -> Value {
    let shard = object(&[
        ("shard", json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX })),
        ("origin", json!({ "type": "string" })),
        ("size", json!({ "type": "integer", "minimum": 0 })),
        ("log_key", json!({ "type": "string", "pattern": "^[^+ ]+\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]+=*$" })),
    ]);
    let own = vec![
        ("version", json!({ "type": "string" })),
        ("name", json!({ "type": "string" })),
        ("shards", json!({ "type": "array", "minItems": 1, "items": shard })),
        ("instance", json!({ "type": "string", "pattern": BYTES_8 })),
    ];
    object(&[posture(), own].concat())
}

fn document_schema() -> Value {
    let some = || json!({ "type": "object" });
    object(&[
        ("openapi", json!({ "const": "3.1.1" })),
        ("info", some()),
        ("servers", json!({ "type": "array", "items": some() })),
        ("paths", some()),
        ("components", some()),
    ])
}

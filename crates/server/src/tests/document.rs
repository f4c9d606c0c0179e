//! Every answer that the gateway's tests get is one that the OpenAPI document has.

use super::Reply;
use crate::http::document;
use serde_json::Value;
use std::sync::LazyLock;

/// Status, media type, headers and members of an answer are those of the document.
#[track_caller]
pub(super) fn assert_documented(method: &str, path: &str, reply: &Reply) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(document);
    let path = path.split('?').next().unwrap();
    let what = format!("{method} {path} gave {}", reply.status);
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let Some((_, methods)) = paths.iter().find(|(template, _)| is_of(path, template)) else {
        return assert_eq!(reply.status, 404, "{what}");
    };
    let Some(operation) = methods.get(method.to_lowercase()) else {
        assert!(header(reply, "allow").is_some(), "{what}");
        return assert_eq!(reply.status, 405, "{what}");
    };
    let answer = operation["responses"].get(reply.status.to_string());
    let answer = answer.unwrap_or_else(|| panic!("{what}, which the document does not have"));
    for (name, described) in answer["headers"].as_object().unwrap() {
        let expected = described["schema"]["const"].as_str().unwrap();
        assert_eq!(header(reply, &name.to_lowercase()).as_deref(), Some(expected), "{what}: {name}");
    }
    let (media_type, content) = answer["content"].as_object().unwrap().iter().next().unwrap();
    let kind = header(reply, "content-type").unwrap_or_default();
    assert_eq!(kind.split(';').next().unwrap(), media_type, "{what}");
    if media_type == "application/json" {
        assert!(fits(&reply.json(), &content["schema"]), "{what}: {}", reply.json());
    }
}

fn header(reply: &Reply, name: &str) -> Option<String> {
    let mut lines = reply.head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
}

/// Whether a path is one of a template, whose last part may stand for several.
fn is_of(path: &str, template: &str) -> bool {
    let (mut given, mut wanted) = (path.split('/'), template.split('/').peekable());
    while let Some(part) = wanted.next() {
        match given.next() {
            Some(_) if part == "{path}" && wanted.peek().is_none() => return true,
            Some(found) if part == found || part.starts_with('{') && !found.is_empty() => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

/// The part of JSON Schema that the document uses, but stricter: a member that is not described does not fit, since
/// we are the ones who write it.
fn fits(value: &Value, schema: &Value) -> bool {
    let has = |word: &str| schema.get(word);
    if let Some(either) = has("oneOf") {
        return either.as_array().unwrap().iter().filter(|schema| fits(value, schema)).count() == 1;
    }
    if let Some(only) = has("const") {
        return value == only;
    }
    if let Some(words) = has("enum") {
        return words.as_array().unwrap().contains(value);
    }
    match has("type").and_then(Value::as_str) {
        Some("object") => {
            let Some(object) = value.as_object() else { return false };
            // The document itself is described by its readers' specification.
            let Some(members) = has("properties").and_then(Value::as_object) else { return true };
            object.len() == members.len()
                && members.iter().all(|(name, schema)| object.get(name).is_some_and(|it| fits(it, schema)))
        }
        Some("array") => {
            value.as_array().is_some_and(|items| items.iter().all(|it| fits(it, &schema["items"])))
        }
        Some("integer") => value.as_u64().is_some_and(|number| {
            schema["minimum"].as_u64() <= Some(number)
                && schema["maximum"].as_u64().is_none_or(|maximum| number <= maximum)
        }),
        Some("string") => value.is_string(),
        other => panic!("the test does not know {other:?}"),
    }
}

#[test]
fn an_answer_fits_its_own_template_alone() {
    assert!(is_of("/v1/log/0/tile/0/x001/000", "/v1/log/{shard}/tile/{path}"));
    assert!(is_of("/v1/log/0/checkpoint", "/v1/log/{shard}/checkpoint"));
    assert!(!is_of("/v1/log/0/checkpoint/more", "/v1/log/{shard}/checkpoint"));
    assert!(!is_of("/v1/log/0/tile", "/v1/log/{shard}/tile/{path}"));
    assert!(!is_of("/v1/route/", "/v1/route/{account}"));
}

#[test]
fn each_operation_has_a_name_of_its_own_and_a_success() {
    let document = document();
    let mut names = Vec::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|it| it.as_object().unwrap().values())
    {
        names.push(operation["operationId"].as_str().unwrap());
        let statuses: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
        assert!(statuses.iter().any(|status| status.starts_with('2') || status == "101"), "{operation}");
        for guard in ["400", "413", "429", "503"] {
            assert!(statuses.iter().any(|status| status == guard), "{operation}");
        }
    }
    assert_eq!(names.len(), crate::http::ROUTES.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), crate::http::ROUTES.len());
}

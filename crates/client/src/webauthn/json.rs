//! Reading WebAuthn JSON as a browser would: a missing or mistyped member is a TypeError, bad base64url an
//! EncodingError. A member that is `null` counts as absent.

use crate::base64url;
use keyferry_wire::refusal::{Code, Refusal};
use serde_json::Value;

/// Longest options that are read; relying parties send a few kilobytes.
const OPTIONS_MAX: usize = 64 * 1024;

pub(super) fn type_error(sentence: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadOptions, sentence)
}

/// A JSON object and its place in the options, for messages.
#[derive(Clone)]
pub(super) struct Object<'a> {
    value: &'a Value,
    path: String,
}

/// The options object, bare or as the member `publicKey`.
pub(super) fn parse(json: &[u8]) -> Result<Value, Refusal> {
    if json.len() > OPTIONS_MAX {
        return Err(type_error("the options are longer than 64 KiB"));
    }
    let mut value: Value =
        serde_json::from_slice(json).map_err(|_| type_error("the options are not JSON"))?;
    let inner = value.get_mut("publicKey").map(Value::take);
    Ok(inner.unwrap_or(value))
}

impl<'a> Object<'a> {
    pub(super) fn root(value: &'a Value) -> Result<Object<'a>, Refusal> {
        Object::of(value, String::new())
    }

    fn of(value: &'a Value, path: String) -> Result<Object<'a>, Refusal> {
        if value.is_object() {
            return Ok(Object { value, path });
        }
        let name = if path.is_empty() { "the options" } else { &path };
        Err(type_error(format!("{name} must be an object")))
    }

    fn member(&self, name: &str) -> Option<&'a Value> {
        self.value.get(name).filter(|value| !value.is_null())
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn missing(&self, name: &str) -> Refusal {
        type_error(format!("{} is missing", self.path(name)))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| type_error(format!("{} must be a string", self.path(name))))
    }

    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn required_bytes(&self, name: &str) -> Result<Vec<u8>, Refusal> {
        base64url::decode(self.required_text(name)?).ok_or_else(|| {
            type_error(format!("{} is not base64url without padding", self.path(name))).named("EncodingError")
        })
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, Refusal> {
        self.member(name).map(|_| self.required_bytes(name)).transpose()
    }

    /// Whether the member is there at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// A truth value; absent counts as false.
    pub(super) fn boolean(&self, name: &str) -> Result<bool, Refusal> {
        let Some(value) = self.member(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| type_error(format!("{} must be true or false", self.path(name))))
    }

    /// The members of a record whose values are objects.
    pub(super) fn entries(&self) -> Result<Vec<(&'a str, Object<'a>)>, Refusal> {
        let members = self.value.as_object().into_iter().flatten();
        members.map(|(name, value)| Ok((name.as_str(), Object::of(value, self.path(name))?))).collect()
    }

    pub(super) fn required_integer(&self, name: &str) -> Result<i64, Refusal> {
        let value = self.member(name).ok_or_else(|| self.missing(name))?;
        value.as_i64().ok_or_else(|| type_error(format!("{} must be an integer", self.path(name))))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<Object<'a>>, Refusal> {
        self.member(name).map(|value| Object::of(value, self.path(name))).transpose()
    }

    pub(super) fn required_object(&self, name: &str) -> Result<Object<'a>, Refusal> {
        self.object(name)?.ok_or_else(|| self.missing(name))
    }

    /// The objects of a list; absent where the member is.
    pub(super) fn objects(&self, name: &str) -> Result<Option<Vec<Object<'a>>>, Refusal> {
        let Some(value) = self.member(name) else { return Ok(None) };
        let list =
            value.as_array().ok_or_else(|| type_error(format!("{} must be a list", self.path(name))))?;
        let entry = |(index, value)| Object::of(value, format!("{}[{index}]", self.path(name)));
        list.iter().enumerate().map(entry).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn required_objects(&self, name: &str) -> Result<Vec<Object<'a>>, Refusal> {
        self.objects(name)?.ok_or_else(|| self.missing(name))
    }
}

//! CollectedClientData in the one serialisation that relying parties may parse without a JSON parser
//! (WebAuthn L3, 5.8.1.1).

use crate::base64url;
use keyferry_crypto::hash::sha256;
use keyferry_wire::Hash;
use keyferry_wire::relying_party::Origin;

/// The bytes that a relying party verifies, and their hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientData {
    json: Vec<u8>,
    hash: Hash,
}

impl ClientData {
    pub(super) fn create(challenge: &[u8], origin: &Origin) -> ClientData {
        ClientData::new("webauthn.create", challenge, origin)
    }

    pub(super) fn get(challenge: &[u8], origin: &Origin) -> ClientData {
        ClientData::new("webauthn.get", challenge, origin)
    }

    /// Never cross-origin: this client is asked by the top-level origin itself.
    fn new(kind: &str, challenge: &[u8], origin: &Origin) -> ClientData {
        let json = format!(
            r#"{{"type":{},"challenge":{},"origin":{},"crossOrigin":false}}"#,
            ccd_to_string(kind),
            ccd_to_string(&base64url::encode(challenge)),
            ccd_to_string(origin.as_str()),
        )
        .into_bytes();
        ClientData { hash: sha256(&[&json]), json }
    }

    pub fn json(&self) -> &[u8] {
        &self.json
    }

    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// CCDToString of the standard: quotes, with quote, backslash and control characters escaped.
fn ccd_to_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_data_is_what_the_standards_vector_shows() {
        let challenge =
            crate::testing::hex("39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408");
        let data = ClientData::get(&challenge, &Origin::parse("https://example.org").unwrap());
        let expected = crate::testing::hex(
            "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a\
             5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d70\
             6c652e6f7267222c2263726f73734f726967696e223a66616c73657d",
        );
        assert_eq!(data.json(), expected);
    }

    #[test]
    fn strings_are_escaped_as_the_standard_says() {
        assert_eq!(ccd_to_string("a\"b\\c\n\u{1f}é"), "\"a\\\"b\\\\c\\u000a\\u001fé\"");
    }
}

//! The PRF of a passkey: HMAC-SHA-256 under a secret of its own, as CTAP's hmac-secret computes it, over inputs that the
//! client has hashed as WebAuthn L3, 10.1.4 says. Both formats are fixed elsewhere, so neither uses our framing.

use crate::{hash::sha256, mac::Message};

/// Keeps a site's inputs apart from whatever else is done with hmac-secret (WebAuthn L3, 10.1.4).
const CONTEXT: &[u8] = b"WebAuthn PRF\0";

/// What a client makes of an input before it leaves the client: a salt that an authenticator takes.
pub fn salt(input: &[u8]) -> [u8; 32] {
    sha256(&[CONTEXT, input])
}

/// Evaluates one salt (CTAP 2.2, 12.7). `secret` is the passkey's CredRandomWithUV or CredRandomWithoutUV.
pub fn evaluate(secret: &[u8; 32], salt: &[u8; 32]) -> [u8; 32] {
    let (mut message, mut output) = (Message::with_capacity(salt.len()), [0; 32]);
    message.put(salt);
    message.tag(secret, &mut output);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    // WebAuthn L3, "Test Vectors", PRF: kept for ever, since sites encrypt with what this gives.
    #[test]
    fn salt_and_output_are_those_of_the_standard() {
        let input = hex("576562417574686e20505246207465737420766563746f727302");
        let secret = hex("437e065e723a98b2f08f39d8baf7c53ecb3c363c5e5104bdaaf5d5ca2e028154");
        let salt = salt(&input);
        assert_eq!(salt.to_vec(), hex("527413ebb48293772df30f031c5ac4650c7de14bf9498671ae163447b6a772b3"));
        let output = evaluate(&secret.try_into().unwrap(), &salt);
        assert_eq!(output.to_vec(), hex("3c33e07d202c3b029cc21f1722767021bf27d595933b3d2b6a1b9d5dddc77fae"));
    }
}

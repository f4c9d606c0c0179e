// A relying party on SimpleWebAuthn: one JSON command a line on stdin, one JSON answer a line on stdout.
// The same commands as in rp.py; byte strings are base64url. It keeps nothing: what it must remember comes with the
// command, as from a session or a database.
import { createInterface } from "node:readline";

// `cargo xtask setup` installs the packages beside the workspace, not beside this file.
const packages = new URL("../.peers/npm/node_modules/", import.meta.url);
const rp = await import(new URL("@simplewebauthn/server/esm/index.js", packages));

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64url"));
const text = (array) => Buffer.from(array).toString("base64url");

const commands = {
  async "registration-options"(ask) {
    return {
      options: await rp.generateRegistrationOptions({
        rpName: ask.rp_name,
        rpID: ask.rp_id,
        userName: ask.user_name,
        userID: bytes(ask.user_id),
        userDisplayName: ask.display_name,
        excludeCredentials: (ask.exclude ?? []).map((id) => ({ id })),
        // Without a choice, the library's own.
        ...(ask.algorithms && { supportedAlgorithmIDs: ask.algorithms }),
        authenticatorSelection: { residentKey: "required", userVerification: ask.user_verification },
      }),
    };
  },

  async "verify-registration"(ask) {
    const { verified, registrationInfo: info } = await rp.verifyRegistrationResponse({
      response: ask.response,
      expectedChallenge: ask.challenge,
      expectedOrigin: ask.origin,
      expectedRPID: ask.rp_id,
      requireUserVerification: ask.require_user_verification,
      ...(ask.algorithms && { supportedAlgorithmIDs: ask.algorithms }),
    });
    if (!verified) return { verified };
    return {
      verified,
      id: info.credential.id,
      public_key: text(info.credential.publicKey),
      counter: info.credential.counter,
      user_verified: info.userVerified,
      device_type: info.credentialDeviceType,
      backed_up: info.credentialBackedUp,
      format: info.fmt,
      aaguid: info.aaguid,
    };
  },

  async "authentication-options"(ask) {
    return {
      options: await rp.generateAuthenticationOptions({
        rpID: ask.rp_id,
        userVerification: ask.user_verification,
        allowCredentials: ask.allow?.map((id) => ({ id })),
      }),
    };
  },

  async "verify-authentication"(ask) {
    const { verified, authenticationInfo: info } = await rp.verifyAuthenticationResponse({
      response: ask.response,
      expectedChallenge: ask.challenge,
      expectedOrigin: ask.origin,
      expectedRPID: ask.rp_id,
      credential: { id: ask.id, publicKey: bytes(ask.public_key), counter: ask.counter },
      requireUserVerification: ask.require_user_verification,
    });
    if (!verified) return { verified };
    return {
      verified,
      id: info.credentialID,
      counter: info.newCounter,
      user_verified: info.userVerified,
      device_type: info.credentialDeviceType,
      backed_up: info.credentialBackedUp,
    };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const ask = JSON.parse(line);
    answer = await commands[ask.do](ask);
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}

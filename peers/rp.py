"""A relying party on py_webauthn: one JSON command a line on stdin, one JSON answer a line on stdout.

The same commands as in rp.mjs; byte strings are base64url. It keeps nothing: what it must remember comes with the
command, as from a session or a database.
"""

import json
import sys

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, options_to_json
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.generate_registration_options import default_supported_pub_key_algs


def descriptors(ids):
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(text)) for text in ids]


def algorithms(ask):
    """The relying party's choice; without one, the library's own."""
    chosen = ask.get("algorithms")
    return [COSEAlgorithmIdentifier(alg) for alg in chosen] if chosen else default_supported_pub_key_algs


def registration_options(ask):
    options = webauthn.generate_registration_options(
        supported_pub_key_algs=algorithms(ask),
        rp_id=ask["rp_id"],
        rp_name=ask["rp_name"],
        user_name=ask["user_name"],
        user_id=base64url_to_bytes(ask["user_id"]),
        user_display_name=ask["display_name"],
        exclude_credentials=descriptors(ask.get("exclude") or []),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement(ask["user_verification"]),
        ),
    )
    return {"options": json.loads(options_to_json(options))}


def verify_registration(ask):
    info = webauthn.verify_registration_response(
        credential=ask["response"],
        expected_challenge=base64url_to_bytes(ask["challenge"]),
        expected_rp_id=ask["rp_id"],
        expected_origin=ask["origin"],
        require_user_verification=ask["require_user_verification"],
        supported_pub_key_algs=algorithms(ask),
    )
    return {
        "verified": True,
        "id": bytes_to_base64url(info.credential_id),
        "public_key": bytes_to_base64url(info.credential_public_key),
        "counter": info.sign_count,
        "user_verified": info.user_verified,
        "device_type": DEVICE_TYPES[info.credential_device_type.value],
        "backed_up": info.credential_backed_up,
        "format": str(getattr(info.fmt, "value", info.fmt)),
        "aaguid": info.aaguid,
    }


def authentication_options(ask):
    allow = ask.get("allow")
    options = webauthn.generate_authentication_options(
        rp_id=ask["rp_id"],
        allow_credentials=None if allow is None else descriptors(allow),
        user_verification=UserVerificationRequirement(ask["user_verification"]),
    )
    return {"options": json.loads(options_to_json(options))}


def verify_authentication(ask):
    info = webauthn.verify_authentication_response(
        credential=ask["response"],
        expected_challenge=base64url_to_bytes(ask["challenge"]),
        expected_rp_id=ask["rp_id"],
        expected_origin=ask["origin"],
        credential_public_key=base64url_to_bytes(ask["public_key"]),
        credential_current_sign_count=ask["counter"],
        require_user_verification=ask["require_user_verification"],
    )
    return {
        "verified": True,
        "id": bytes_to_base64url(info.credential_id),
        "counter": info.new_sign_count,
        "user_verified": info.user_verified,
        "device_type": DEVICE_TYPES[info.credential_device_type.value],
        "backed_up": info.credential_backed_up,
    }


# As SimpleWebAuthn writes them.
DEVICE_TYPES = {"single_device": "singleDevice", "multi_device": "multiDevice"}

COMMANDS = {
    "registration-options": registration_options,
    "verify-registration": verify_registration,
    "authentication-options": authentication_options,
    "verify-authentication": verify_authentication,
}

for line in sys.stdin:
    try:
        ask = json.loads(line)
        answer = COMMANDS[ask["do"]](ask)
    except Exception as error:  # Whatever the library says, the test is told.
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)

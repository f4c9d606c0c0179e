"""Holds messages against a CDDL file (RFC 8610) with zcbor: one JSON {"type", "hex"} a line on stdin, one JSON
{"ok", "said"} a line on stdout.

Usage: cddl.py FILE. "type" is the name of a rule in FILE.
"""

import collections
import contextlib
import functools
import json
import sys

import cbor2

# zcbor 0.9.1 imports an exception by the name that it had before cbor2 6, which py_webauthn needs.
cbor2.CBORDecodeValueError = cbor2.CBORDecodeError

from zcbor import DataTranslator  # noqa: E402
from zcbor.zcbor import zcbor  # noqa: E402

# It names what it read after the types of the fields; two fields of one type would be one name too few.
zcbor.namedtuple = functools.partial(collections.namedtuple, rename=True)

# zcbor wants a bound for `*`; no array in a test is longer.
ELEMENTS_MAX = 1 << 20


def rules_of(path):
    """The rules of a file by name."""
    with open(path, encoding="utf-8") as file:
        return DataTranslator.from_cddl(file.read(), ELEMENTS_MAX).my_types


def fault(rule, message):
    """What the library says against a message, or nothing."""
    try:
        with contextlib.redirect_stdout(None):
            rule.validate_str(message)
        return ""
    except Exception as error:  # Whatever the library says, the test is told.
        return f"{type(error).__name__}: {error}"


def main():
    rules = rules_of(sys.argv[1])
    for line in sys.stdin:
        ask = json.loads(line)
        # An unknown rule is a mistake of the test, and ends it.
        said = fault(rules[ask["type"]], bytes.fromhex(ask["hex"]))
        print(json.dumps({"ok": not said, "said": said}), flush=True)


if __name__ == "__main__":
    main()

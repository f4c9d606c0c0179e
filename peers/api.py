"""What schemathesis needs to know to try the gateway (SCHEMATHESIS_HOOKS): real ids and frames as examples, CBOR bodies,
and a check that CBOR answers follow the CDDL rule that the document names. It writes what it counted when it ends.

In the working folder stands facts.json: {"cddl", "account", "session_open", "request_frames", "tile"}; bytes in hex.
"""

import atexit
import collections
import json

import schemathesis
from cddl import fault, rules_of
from hypothesis import strategies

with open("facts.json", encoding="utf-8") as file:
    facts = json.load(file)
rules = rules_of(facts["cddl"])

PARAMETERS = {"account": facts["account"], "shard": 0, "path": facts["tile"]}
FRAMES = {
    "SessionOpen": [bytes.fromhex(facts["session_open"])],
    "RequestFrame": [bytes.fromhex(frame) for frame in facts["request_frames"]],
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Examples that exist, so that each operation succeeds at least once."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in PARAMETERS:
                    parameter["examples"] = {"real": {"value": PARAMETERS[parameter["name"]]}}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                frames = enumerate(FRAMES[content["x-cddl"]])
                content["examples"] = {f"real-{at}": {"value": frame} for at, frame in frames}


def spoiled(frame):
    """A frame with one byte changed: mostly still CBOR, mostly still the message."""
    places = strategies.tuples(strategies.integers(0, len(frame) - 1), strategies.integers(1, 255))
    return places.map(lambda place: frame[: place[0]] + bytes([frame[place[0]] ^ place[1]]) + frame[place[0] + 1 :])


bodies = [spoiled(frame) for frames in FRAMES.values() for frame in frames[:1]]
schemathesis.openapi.media_type("application/cbor", strategies.one_of(strategies.binary(max_size=200), *bodies))


@schemathesis.serializer("application/cbor")
def as_it_is(context, value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


@schemathesis.check
def cddl_conformance(context, response, case):
    kind = (response.headers.get("content-type") or [""])[0]
    if kind != "application/cbor":
        return
    documented = case.operation.definition.raw["responses"][str(response.status_code)]
    rule = documented["content"][kind]["x-cddl"]
    said = fault(rules[rule], response.content)
    assert not said, f"the answer is no {rule}: {said}"
    answers[rule] += 1


answers = collections.Counter()
statuses = collections.defaultdict(collections.Counter)


@schemathesis.hook
def after_call(context, case, response):
    statuses[case.operation.label][response.status_code] += 1


@atexit.register
def report():
    with open("counted.json", "w", encoding="utf-8") as file:
        json.dump({"statuses": statuses, "cbor_answers": answers}, file)

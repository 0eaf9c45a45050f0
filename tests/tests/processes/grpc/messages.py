"""Bodies for schemathesis where the document says bytes: a message of Prometheus, packed by snappy as it sends it, one of OpenTelemetry,
such a one cut off or with a bit turned, or anything at all."""

import struct, time
from hypothesis import strategies as st
import schemathesis


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def words(*pairs):
    return b"".join(field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in pairs)


def snappy(body):
    """All of it as it is, 60 bytes at a time."""
    parts = [body[at : at + 60] for at in range(0, len(body), 60)]
    return varint(len(body)) + b"".join(bytes([len(part) - 1 << 2]) + part for part in parts)


def written(labels, value, seconds):
    sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(int((time.time() - seconds) * 1000))
    return snappy(field(1, words(*labels) + field(2, sample)))


def exported(name, value, seconds):
    stamp = b"\x19" + struct.pack("<Q", int((time.time() - seconds) * 1e9))
    point = stamp + b"\x21" + struct.pack("<d", value)
    resource = field(1, field(1, b"host.id") + field(2, field(1, b"i-2")))
    metric = field(1, name.encode()) + field(5, field(1, point))
    return field(1, field(1, resource) + field(2, field(2, metric)))


NUMBERS = st.floats() | st.floats(0, 1e9)
SECONDS = st.integers(0, 7_200)
LABELS = st.sampled_from(
    [(("__name__", name), ("cpu", "0"), ("instance", "i-2:9100"), ("mode", mode))
     for name in ("node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "up") for mode in ("idle", "user")]
)
NAMES = st.sampled_from(["system.cpu.utilization", "system.memory.usage", "anything"])
MESSAGES = st.builds(written, LABELS, NUMBERS, SECONDS) | st.builds(exported, NAMES, NUMBERS, SECONDS)


@st.composite
def damaged(draw):
    message = bytearray(draw(MESSAGES))
    message[draw(st.integers(0, len(message) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(message[: draw(st.integers(0, len(message)))])


schemathesis.openapi.media_type("application/x-protobuf", MESSAGES | damaged() | st.binary(max_size=200))



@schemathesis.hook
def after_call(context, case, response):
    """Who was answered what: method, path as the document has it, status."""
    with open("answers", "a") as answers:
        answers.write(f"{case.method} {case.operation.path} {response.status_code}\n")

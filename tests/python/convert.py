"""Reads pairs of lines, a message in MessagePack in hexadecimal digits and the same in JSON, and
writes for each pair the first in JSON and the second in MessagePack, in the same form."""

import json
import sys

import msgpack

lines = iter(sys.stdin)
for packed, text in zip(lines, lines):
    value = msgpack.unpackb(bytes.fromhex(packed), raw=False, strict_map_key=True)
    print(json.dumps(value, allow_nan=False))
    print(msgpack.packb(json.loads(text), use_bin_type=True).hex())

"""MalformedAnswer values, and every place of an answer where one of them may stand."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

MISSING = b"missing"
"""In the place of a value: name and value are left out."""
_MARK = "@@odd@@"
_MARKED = json.dumps(_MARK).encode()

SCALARS: tuple[bytes, ...] = (
    b"null",
    MISSING,
    b"true",
    b"false",
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"1.5",
    b"1e3",
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    str(2**31).encode(),
    str(2**53).encode(),
    str(2**63).encode(),
    str(2**64).encode(),
    str(2**256).encode(),
    b"9" * 4299,
    b"9" * 5000,
    b'""',
    b'" "',
    b'"0"',
    b'"1.5"',
    b'"0x"',
    b'"0x0"',
    b'"0x-1"',
    b'"-0x1"',
    b'"0x1_0"',
    b'"0xzz"',
    b'"0x123"',
    b'"0x' + b"f" * 64 + b'"',
    b'"0x' + b"f" * 65 + b'"',
    b'"0x' + b"f" * 5000 + b'"',
    b'"' + b"f" * 64 + b'"',
    b'"0x' + b"00" * 20 + b'"',
    b'"0x' + b"ee" * 20 + b'"',
    b'"41' + b"ee" * 20 + b'"',
    b'"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"',
    b'"\\u0000"',
    b'"\\ud800"',
    b'"a\\u001b[31m\\nforged: all is well"',
    '"\u0661\u0662\u202e\U0001f984"'.encode(),
    b'"\xff\xfe"',
    b'"' + b"x" * 20_000 + b'"',
    b"[]",
    b"{}",
    b'["0x1"]',
    b'{"a": 1}',
    b"[" * 60 + b"]" * 60,
)
DEEP = b"[" * 200_000 + b"]" * 200_000
UNPARSABLE: tuple[bytes, ...] = (DEEP, b"[" * 200_000, b'{"a":' * 200_000, b"", b"}", b"\x00", b"\xff\xfe{\x00")
"""In the place of a whole answer."""


class Mutation(NamedTuple):
    """One value of an answer replaced."""

    answer: Any
    path: tuple[str | int, ...]
    token: bytes
    """What stands there now."""

    @property
    def name(self) -> str:
        """Of the innermost field on the way to the value."""
        return next((step for step in reversed(self.path) if isinstance(step, str)), "")

    @property
    def body(self) -> bytes:
        """The whole answer."""
        return replaced(self.answer, self.path, self.token)


def mutations(body: bytes, others: dict[int, list[str]]) -> Iterator[Mutation]:
    """Every leaf and every inner node of a JSON body, each replaced by every odd value. ``others`` are valid
    hexadecimal values by their length: one that is another's stands in the place of each.

    Of the items of a list the first and the last are enough: what reads one reads all.
    """
    answer = json.loads(body)
    for path in places(answer):
        if path and path[-1] in ("jsonrpc", "id") and len(path) <= 2:
            continue  # of the envelope: another test
        for token in (*SCALARS, *_alike(_at(answer, path), others)):
            yield Mutation(answer, path, token)
    for token in UNPARSABLE:
        yield Mutation(answer, (), token)


def _alike(value: Any, others: dict[int, list[str]]) -> list[bytes]:
    """Valid values of the same form."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [json.dumps(value + 1).encode(), json.dumps(value * 1000 + 7).encode()]
    if isinstance(value, str) and value:
        digit = "0" if value[-1] != "0" else "1"
        found = [value[:-1] + digit, value + "00", value[:-2], value.upper(), value.swapcase()]
        found += [other for other in others.get(len(value), ()) if other != value][:2]
        return [json.dumps(one).encode() for one in found]
    if isinstance(value, list) and value:
        return [json.dumps(one).encode() for one in (value[:-1], value[1:], value + value, value[::-1], value * 50)]
    if isinstance(value, dict) and value:
        return [json.dumps([value]).encode()]
    return []


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of all leaves and inner nodes; of a list those of its first and its last item."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1}) if value else ():
            yield from places(value[index], (*path, index))


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def replaced(answer: Any, path: tuple[str | int, ...], token: bytes) -> bytes:
    """The answer with ``token``, as bytes, in the place of the value at ``path``."""
    if not path:
        return b"" if token is MISSING else token
    changed = _copy(answer, path)
    holder = _at(changed, path[:-1])
    if token is MISSING:
        del holder[path[-1]]
        return json.dumps(changed).encode()
    holder[path[-1]] = _MARK
    return json.dumps(changed).encode().replace(_MARKED, token)


def _copy(value: Any, path: tuple[str | int, ...]) -> Any:
    """Only what is on the way is copied."""
    if not path:
        return value
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = _copy(value[path[0]], path[1:])  # type: ignore[index]
    return copied

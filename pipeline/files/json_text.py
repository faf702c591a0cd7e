"""JSON that someone may have edited: read strictly, with no other error than ValueError."""

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises ValueError also for brackets nested too deep, and for a name that is given twice
    in one object, of which Python would keep the last.
    """
    try:
        return json.loads(_decoded(text), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found

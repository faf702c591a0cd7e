"""The dialect of YAML that Orbit's files are written in, read and written.

`1e-4` is a number, dates are texts, and a key that is given twice is an error. Values that YAML 1.1
reads in another way than the command line are refused by name: yes, no, on and off (truth values
there), 010 (eight), 0x10 (sixteen), 4:00:00 (a number to base 60).
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C ones are ten times as fast
_SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

NULL = re.compile(r"(?:~|null|Null|NULL|)$")
TRUTH = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
INTEGER = re.compile(r"[-+]?(?:0|[1-9](?:_?[0-9])*)$")
REAL = re.compile(
    r"""(?:[-+]?(?:[0-9](?:_?[0-9])*)?\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9](?:_?[0-9])*\.(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9](?:_?[0-9])*[eE][-+]?[0-9]+
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.X,
)
TWO_MEANINGS = re.compile(
    r"""(?:yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF
    |[-+]?0[0-9_]+
    |[-+]?0[box][0-9a-fA-F_]+
    |[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)$""",
    re.X,
)
TRAP = "!two-meanings"


class _Loader(_SafeLoader):  # type: ignore[misc, valid-type]
    """Reads unquoted values as the command line does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; ValueError for a key that is given twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ValueError(f"line {key.start_mark.line + 1}: {key.value} is given twice")
                seen.add(key.value)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


class _Dumper(_SafeDumper):  # type: ignore[misc, valid-type]
    """Quotes texts that either dialect would read as another value."""


def _refuse(loader: Any, node: Any) -> None:
    word, line = node.value, node.start_mark.line + 1
    if word.lower() in ("yes", "no", "on", "off"):
        hint = f'write true or false, or "{word}" in quotes for the text'
    elif ":" in word:
        hint = f'write "{word}" with its quotes'
    else:
        hint = f'write the number in decimals without leading zeros, or "{word}" for the text'
    raise ValueError(f"line {line}: {word} can be read in two ways: {hint}")


_Loader.add_constructor(TRAP, _refuse)
for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", NULL, ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", TRUTH, list("tTfF")),
    ("tag:yaml.org,2002:int", INTEGER, list("-+0123456789")),
    ("tag:yaml.org,2002:float", REAL, list("-+.0123456789")),
    ("tag:yaml.org,2002:merge", re.compile("<<$"), ["<"]),
    (TRAP, TWO_MEANINGS, list("-+0123456789yYnNoO")),
):
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
for _tag, _pattern in (("tag:yaml.org,2002:float", REAL), (TRAP, TWO_MEANINGS)):
    _Dumper.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


def read_yaml(text: str) -> Any:
    """The plain values of a document; a one-line ValueError if it is not YAML or is ambiguous."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def yaml_text(values: Any) -> str:
    """A document that `read_yaml`, and any reader of YAML 1.1, reads as these plain values."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


class _LineDumper(_Dumper):
    """Escapes line breaks in texts."""


def _represent_text(dumper: Any, text: str) -> Any:
    style = '"' if text.splitlines() not in ([], [text]) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_LineDumper.add_representer(str, _represent_text)


def yaml_line(value: Any) -> str:
    """One line that `read_yaml` reads as this value, at any place of a document."""
    text: str = yaml.dump(
        [value],
        Dumper=_LineDumper,
        default_flow_style=True,
        width=10**9,
        allow_unicode=True,
        sort_keys=False,
    )
    return text.strip()[1:-1]

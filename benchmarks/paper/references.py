"""References in BibTeX: a library of entries beside this file, and what each component says that it is cited by.

A component states `CITES = ("key", ...)` in its file: keys of `references.bib`, or whole entries that begin with "@". A
corpus that states none is cited by the citation of its records.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ...datasets.core.registry import Registry
from ...results.display.table import latex

LIBRARY = Path(__file__).with_name("references.bib")
ENTRY = re.compile(r"^@\w+\{\s*([^,\s]+)\s*,", re.MULTILINE)
METRICS = {"UAR": "schuller2009challenge", "CCC": "lin1989concordance"}
PROTOCOL, SOFTWARE = "lin2021deepemocluster", "serbench"
CROSSED, HOLM = ("clark1973language", "satterthwaite1946approximate"), "holm1979simple"
"""What the tests are cited by."""


def parse(text: str) -> dict[str, str]:
    """Key -> entry of a BibTeX text; an entry begins with "@" at the beginning of a line."""
    starts = [*ENTRY.finditer(text)]
    ends = [*(one.start() for one in starts[1:]), len(text)]
    return {one.group(1): text[one.start() : end].strip() for one, end in zip(starts, ends, strict=True)}


@lru_cache(maxsize=1)
def library() -> dict[str, str]:
    """Key -> entry of the works that serbench knows."""
    return parse(LIBRARY.read_text(encoding="utf-8"))


@dataclass
class Bibliography:
    """The references of one paper: key -> entry, as they were cited; `lacking` names what has no reference."""

    entries: dict[str, str] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)

    def cite(self, keys: Iterable[str]) -> str:
        r"""A `\cite` of keys of the library, or of whole entries; empty without any."""
        cited: list[str] = []
        for key in keys:
            known = parse(key) if key.startswith("@") else {key: library()[key]} if key in library() else {}
            self.entries |= known
            cited += known
        return rf"~\cite{{{','.join(dict.fromkeys(cited))}}}" if cited else ""

    def component(self, registry: Registry, name: str, otherwise: str = "") -> str:
        r"""A `\cite` of a component by its `CITES`, else of a text; what has neither is noted as lacking."""
        base = name.split(":", 1)[0]
        keys: Sequence[str] = registry.declared(base, "CITES")
        if not keys and otherwise:
            note = latex(otherwise).replace("{\\}", "")
            keys = [f"@misc{{{registry.kind}-{base},\n  key = {{{base}}},\n  note = {{{note}}}}}"]
        if not keys:
            self.lacking.append(f"{registry.kind} {base}")
        return self.cite(keys)

    def text(self) -> str:
        """The BibTeX file."""
        return "\n\n".join(self.entries.values()) + "\n"

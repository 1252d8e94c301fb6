r"""LaTeX of the tables and of the whole document: booktabs, siunitx, one file for each table.

A `Sheet` is a table in the words of LaTeX: numbers that siunitx aligns (`0.612(14)`), text cells in braces. Each file
stands alone under `\input`, its label is `tab:NAME`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...results.display.table import latex

PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[a4paper,margin=25mm]{geometry}
\usepackage{booktabs,siunitx,graphicx,url,etoolbox}
\sisetup{separate-uncertainty=true,detect-all,table-align-text-post=false}
\robustify\bfseries
\newcommand{\tablenote}[1]{\par\smallskip\parbox{\linewidth}{\footnotesize #1}}
"""
NEEDS = r"% needs the first lines of paper.tex: booktabs, siunitx, etoolbox, \tablenote"


@dataclass(frozen=True)
class Sheet:
    r"""A table: `columns` are letters of tabular or S specifications, `groups` (text, columns) a heading above them.

    Cells are LaTeX; `caption` and `note` too.
    """

    name: str
    caption: str
    columns: Sequence[str]
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    groups: Sequence[tuple[str, int]] = ()
    note: str = ""
    rules: Sequence[int] = ()

    def text(self) -> str:
        """The file's text."""
        lines = [
            NEEDS,
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{self.caption}}}",
            rf"\label{{tab:{self.name}}}",
        ]
        lines += [r"\small", rf"\begin{{tabular}}{{{''.join(self.columns)}}}", r"\toprule", *self._groups()]
        lines += [" & ".join(f"{{{one}}}" for one in self.headers) + r" \\", r"\midrule"]
        for i, row in enumerate(self.rows):
            lines += [r"\midrule"] if i in self.rules else []
            lines.append(" & ".join(row) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\tablenote{{{self.note}}}"] if self.note else []
        return "\n".join([*lines, r"\end{table}", ""])

    def _groups(self) -> list[str]:
        """The heading above the columns, with a rule below each part of it."""
        if not self.groups:
            return []
        at, cells, rules = 1, [], []
        for text, width in self.groups:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{text}}}" if text else "")
            rules += [rf"\cmidrule(lr){{{at}-{at + width - 1}}}"] if text else []
            at += width
        return [" & ".join(cells) + r" \\", "".join(rules)]


def measured(mean: float, sd: float, *, best: bool = False, marks: str = "") -> str:
    """A mean with its standard deviation as siunitx reads it, `0.612(14)`; a dash where it is undefined."""
    if math.isnan(mean):
        return "{--}"
    spread = "" if math.isnan(sd) else f"({round(1000 * sd)})"
    behind = rf"{{\textsuperscript{{{marks}}}}}" if marks else ""
    bold = r"\bfseries " if best else ""
    return f"{bold}{mean:.3f}{spread}{behind}"


def column_of(cells: Sequence[tuple[float, float]]) -> str:
    """The S specification that holds such means and standard deviations."""
    known = [(mean, sd) for mean, sd in cells if not math.isnan(mean)]
    sign = "-" if any(mean < 0 for mean, _ in known) else ""
    digits = max((len(str(round(1000 * sd))) for _, sd in known if not math.isnan(sd)), default=0)
    return f"S[table-format={sign}1.3{f'({digits})' if digits else ''}]"


def crossing(name: str) -> str:
    """The name of a corpus, or of a training and a test corpus with an arrow between."""
    return r" \(\rightarrow\) ".join(latex(part) for part in name.split(">"))


def document(title: str, about: str, methods: str, tables: Sequence[str], figures: Sequence[tuple[str, str]]) -> str:
    """The whole document: methods, tables and figures (name, caption), references."""
    body = [PREAMBLE, rf"\title{{{latex(title)}}}", r"\author{}", r"\date{}", r"\begin{document}", r"\maketitle"]
    body += [latex(about), ""] if about else []
    body += [r"\section{Methods}", methods, r"\section{Results}"]
    body += [rf"\input{{tables/{name}}}" for name in tables]
    for name, caption in figures:
        body += [r"\begin{figure}[tbp]", r"\centering"]
        body += [rf"\includegraphics{{figures/{name}.pdf}}"]
        body += [rf"\caption{{{caption}}}", rf"\label{{fig:{name}}}", r"\end{figure}"]
    body += [r"\clearpage", r"\bibliographystyle{plain}", r"\bibliography{references}", r"\end{document}", ""]
    return "\n".join(body)

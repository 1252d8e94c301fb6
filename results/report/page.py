"""The page of the report: template, style and script. Nothing is loaded from anywhere, and the page forbids it."""

from __future__ import annotations

import html
from collections.abc import Sequence

CSS = """
:root { --ink: #1a1a1a; --soft: #595959; --line: #d0d0d0; --mark: #0072B2; --back: #fff; --stripe: #f5f7f9; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 78rem; color: var(--ink); background: var(--back);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.3rem; margin: 2.2rem 0 .4rem;
  border-bottom: 2px solid var(--mark); } h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; }
a { color: var(--mark); } code { font-size: .85em; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .6rem 0 .2rem; }
table { border-collapse: collapse; font-size: .88rem; min-width: 60%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .28rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { border-bottom: 2px solid var(--ink); white-space: nowrap; } td.number, th.number { text-align: right;
  white-space: nowrap; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid var(--mark); }
th button::after { content: " \\2195"; color: var(--soft); font-weight: 400; }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--mark); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--mark); }
tbody tr:nth-child(even) { background: var(--stripe); }
tr.chance td { color: var(--soft); font-style: italic; }
.note, .files, figcaption { color: var(--soft); font-size: .85rem; margin: .2rem 0 .8rem; max-width: 48rem; }
.problem { border-left: 4px solid #D55E00; padding: .2rem .8rem; margin: .5rem 0; overflow-wrap: anywhere;
  white-space: pre-wrap; font-size: .9rem; }
.figures { display: flex; flex-wrap: wrap; gap: 0 2rem; } figure { margin: .8rem 0; max-width: 100%; }
figcaption { max-width: 34rem; } section { scroll-margin-top: 4.5rem; } td.short { white-space: nowrap; }
td:not(.number, .short) { min-width: 16rem; }
 figure svg { max-width: 100%; height: auto; display: block; }
nav ul { columns: 18rem; padding-left: 1.2rem; } dl { display: grid; grid-template-columns: max-content 1fr;
  gap: .15rem 1rem; font-size: .9rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .5rem 0; } summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
.filters { position: sticky; top: 0; z-index: 2; background: var(--back); border-bottom: 1px solid var(--line);
  padding: .5rem 0; display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; }
.filters label { display: grid; font-size: .8rem; color: var(--soft); } .filters input, .filters select {
  font: inherit; font-size: 1rem; padding: .25rem .4rem; border: 1px solid #767676; border-radius: 4px;
  max-width: 100%; } [hidden] { display: none !important; }
@media (max-width: 40rem) { .filters { position: static; } section { scroll-margin-top: 0; }
  body { padding: .6rem; font-size: 15px; } dl { grid-template-columns: 1fr; }
  dt { margin-top: .3rem; } th, td { padding: .25rem .4rem; } .filters label { flex: 1 1 8rem; min-width: 0; }
  .filters input, .filters select { width: 100%; } .filters [role=status] { flex-basis: 100%; } }
@media print { .filters, .files { display: none; } body { max-width: none; font-size: 10pt; padding: 0; }
  h2 { break-before: page; } h2:first-of-type { break-before: auto; } figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; } th button::after { content: ""; } a { color: inherit; text-decoration: none; }
  table { font-size: 8pt; } }
"""

JS = """
"use strict";
(() => {
  const value = (row, column) => {
    const text = row.cells[column].dataset.v;
    return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", {numeric: true});
  const sort = (table, column, header) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("th").forEach(th => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, i) => ({row, i, v: value(row, column)}));
    rows.sort((a, b) => {
      if ((a.v === "") !== (b.v === "")) return a.v === "" ? 1 : -1;
      return (down ? -1 : 1) * compare(a.v, b.v) || a.i - b.i;
    });
    rows.forEach(({row}) => body.append(row));
  };
  document.querySelectorAll("table.sortable").forEach(table => table.querySelectorAll("th").forEach((th, i) => {
    const button = th.querySelector("button");
    if (button) button.addEventListener("click", () => sort(table, i, th));
  }));
  const search = document.getElementById("search"), section = document.getElementById("section");
  const status = document.getElementById("status");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0, all = 0;
    document.querySelectorAll("section[data-section]").forEach(part => {
      part.hidden = section.value !== "" && part.dataset.section !== section.value;
      part.querySelectorAll("table.sortable tbody tr").forEach(row => {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        if (!part.hidden && row.closest("table").dataset.kind === "leaderboard") { all += 1; shown += !row.hidden; }
      });
    });
    status.textContent = `${shown} of ${all} leaderboard rows`;
  };
  [search, section].forEach(field => field.addEventListener("input", filter));
  filter();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
})();
"""


def page(title: str, intro: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """The whole file.

    Parameters
    ----------
    title : plain text
    intro : HTML below the title
    sections : (id, plain title, HTML); the ids are unique
    """
    links = "".join(f'<li><a href="#{html.escape(i)}">{html.escape(name)}</a></li>' for i, name, _ in sections)
    options = "".join(f'<option value="{html.escape(i)}">{html.escape(name)}</option>' for i, name, _ in sections)
    body = "\n".join(
        f'<section id="{html.escape(i)}" data-section="{html.escape(i)}"><h2>{html.escape(name)}</h2>\n{text}</section>'
        for i, name, text in sections
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>{CSS}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1>
{intro}
<nav aria-label="contents"><ul>{links}</ul></nav></header>
<div class="filters" role="search">
<label>Only rows with<input id="search" type="search" placeholder="model, word ..." autocomplete="off"></label>
<label>Show<select id="section"><option value="">everything</option>{options}</select></label>
<span class="note" id="status" role="status"></span></div>
<main>
{body}
</main>
<script>{JS}</script>
</body>
</html>
"""


def problem(text: str) -> str:
    """A note that something could not be done."""
    return f'<p class="problem">{html.escape(text)}</p>'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts as a list."""
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in rows if v) + "</dl>"


def details(summary: str, inner: str, *, is_open: bool = False) -> str:
    """HTML that is folded away; empty when there is nothing."""
    return f"<details{' open' if is_open else ''}><summary>{html.escape(summary)}</summary>{inner}</details>" * bool(
        inner
    )

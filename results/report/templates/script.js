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
  const search = document.getElementById("search"), status = document.getElementById("status");
  const choices = [...document.querySelectorAll(".filters select[data-key]")];
  const texts = new WeakMap();
  const text = row => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, all = 0;
    document.querySelectorAll("section[data-section]").forEach(part => {
      part.hidden = choices.some(one => one.value !== "" && part.dataset[one.dataset.key] !== one.value);
      part.querySelectorAll("table.sortable tbody tr").forEach(row => {
        row.hidden = !words.every(word => text(row).includes(word));
        if (!part.hidden && row.closest("table").dataset.kind === "leaderboard") { all += 1; shown += !row.hidden; }
      });
    });
    status.textContent = `${shown} of ${all} leaderboard rows`;
  };
  if (search) {
    [search, ...choices].forEach(field => field.addEventListener("input", filter));
    filter();
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
})();

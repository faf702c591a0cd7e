// Tables that sort by a click on a heading, and lists that filter by a word.
(() => {
  "use strict";

  function valueOf(cell) {
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (text === "" || text === "–") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }

  // Numbers before words, and what is missing behind both, whichever way it is sorted.
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    if (a === b) return 0;
    return a < b ? -sign : sign;
  }

  function sort(table, heading) {
    const rows = [...heading.parentNode.children];
    const column = rows.indexOf(heading);
    const isAscending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of rows) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", isAscending ? "ascending" : "descending");
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row, place) => [valueOf(row.cells[column]), place, row]);
    keyed.sort((a, b) => compare(a[0], b[0], isAscending ? 1 : -1) || a[1] - b[1]);
    body.append(...keyed.map((one) => one[2]));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("table.sortable button.sort")) {
      button.addEventListener("click", () => sort(button.closest("table"), button.closest("th")));
    }
    for (const input of document.querySelectorAll(".table-filter")) {
      const table = document.getElementById(input.dataset.table);
      const count = document.getElementById(`${input.dataset.table}-count`);
      input.form.addEventListener("submit", (event) => event.preventDefault());
      input.addEventListener("input", () => {
        const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        let shown = 0;
        const rows = [...table.tBodies[0].rows];
        for (const row of rows) {
          const text = row.textContent.toLowerCase();
          row.hidden = !words.every((word) => text.includes(word));
          shown += !row.hidden;
        }
        if (count) count.textContent = `${shown} of ${rows.length} runs`;
      });
    }
  });
})();

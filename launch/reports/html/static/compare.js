// Two runs, and the keys in which they differ.
(() => {
  "use strict";
  document.addEventListener("DOMContentLoaded", async () => {
    const form = document.querySelector("#compare");
    const table = document.querySelector("#compare-table");
    const chosen = [document.querySelector("#compare-a"), document.querySelector("#compare-b")];
    form.addEventListener("submit", (event) => event.preventDefault());
    const data = await orbit.load("configs");

    function show() {
      const [a, b] = chosen.map((select) => Number(select.value));
      const rows = data.keys
        .map((key, place) => [key, data.values[a][place], data.values[b][place]])
        .filter(([, one, other]) => one !== other);
      const heads = table.tHead.rows[0].cells;
      heads[1].textContent = data.names[a];
      heads[2].textContent = data.names[b];
      table.tBodies[0].replaceChildren(...rows.map((texts) => {
        const row = document.createElement("tr");
        texts.forEach((text, place) => {
          const cell = document.createElement(place ? "td" : "th");
          if (!place) cell.scope = "row";
          cell.className = "code";
          cell.textContent = text;
          row.append(cell);
        });
        return row;
      }));
      const numEqual = data.numEqual + data.keys.length - rows.length;
      document.querySelector("#compare-note").textContent =
        `${rows.length} ${rows.length === 1 ? "key differs" : "keys differ"}, ${numEqual} are equal`;
    }
    for (const select of chosen) select.addEventListener("change", show);
    show();
  });
})();

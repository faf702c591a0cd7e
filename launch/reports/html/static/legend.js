// The controls above the curves and the list of what is shown.
(() => {
  "use strict";
  const SHOWN_AT_FIRST = 8;
  const MAX_LISTED = 300;
  const { options, bundles, mark, redraw } = orbit.curves;
  let chosen = null;
  let filter = "";

  document.addEventListener("DOMContentLoaded", async () => {
    const controls = document.querySelector("#controls");
    if (!controls) return;
    const data = await orbit.load("runs");
    const by = (id) => document.querySelector(`#${id}`);

    function choose() {
      const all = bundles(data);
      const matching = all.filter((bundle) => bundle.label.toLowerCase().includes(filter));
      chosen = new Set(matching.slice(0, SHOWN_AT_FIRST).map((bundle) => bundle.id));
      list(matching, all.length);
    }

    function note(numMatching, numAll) {
      const of = numMatching === numAll ? `${numAll}` : `${numMatching} that match, ${numAll} in all`;
      const order = options.colour.startsWith("key:") ? "" : ", best first";
      const rest = numMatching > MAX_LISTED ? `; the first ${MAX_LISTED} are listed` : "";
      by("legend-note").textContent = `${chosen.size} of ${of}${order}${rest}`;
    }

    function list(matching, numAll) {
      by("legend").replaceChildren(...matching.slice(0, MAX_LISTED).map((bundle) => {
        const item = document.createElement("li");
        const label = document.createElement("label");
        const box = document.createElement("input");
        box.type = "checkbox";
        box.checked = chosen.has(bundle.id);
        box.addEventListener("change", () => {
          if (box.checked) chosen.add(bundle.id); else chosen.delete(bundle.id);
          note(matching.length, numAll);
          redraw();
        });
        const text = document.createElement("span");
        text.textContent = bundle.label;
        const num = document.createElement("span");
        num.className = "soft";
        num.textContent = bundle.runs.size > 1 ? `×${bundle.runs.size}` : "";
        label.append(box, mark(bundle), text, num);
        item.append(label);
        return item;
      }));
      note(matching.length, numAll);
    }

    options.isShown = (bundle) => chosen.has(bundle.id);
    options.colour = by("colour").value;
    choose();
    const many = bundles(data).length > SHOWN_AT_FIRST;
    document.querySelector(".legend-filter").hidden = !many;

    by("axis").addEventListener("change", (event) => { options.axis = event.target.value; redraw(); });
    by("colour").addEventListener("change", (event) => {
      options.colour = event.target.value;
      choose();
      redraw();
    });
    by("log").addEventListener("change", (event) => { options.isLog = event.target.checked; redraw(); });
    by("smoothing").addEventListener("input", (event) => {
      // A memory of up to a fifth of the run, finer at the low end.
      const share = 0.2 * (Number(event.target.value) / 100) ** 2;
      options.smoothing = share;
      by("smoothing-value").textContent = share ? `over ${orbit.format(100 * share, 2)}% of the run` : "none";
      redraw();
    });
    for (const box of document.querySelectorAll("input[name=split]")) {
      box.addEventListener("change", () => {
        if (box.checked) options.splits.add(box.value); else options.splits.delete(box.value);
        redraw();
      });
    }
    by("legend-filter").addEventListener("input", (event) => {
      filter = event.target.value.toLowerCase();
      choose();
      redraw();
    });
    by("metric-filter").addEventListener("input", (event) => {
      const wanted = event.target.value.toLowerCase();
      for (const figure of document.querySelectorAll("figure.chart")) {
        figure.hidden = !figure.dataset.metric.toLowerCase().includes(wanted);
      }
      for (const section of document.querySelectorAll(".chart-section")) {
        const some = section.querySelector("figure.chart:not([hidden])");
        section.hidden = !some;
        if (wanted && some) section.open = true;
      }
    });
    document.addEventListener("themechange", choose);
    controls.addEventListener("submit", (event) => event.preventDefault());
    redraw();
  });
})();

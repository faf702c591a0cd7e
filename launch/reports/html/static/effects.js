// Every finished run as a dot over the values of a key, with means where few values are taken.
(() => {
  "use strict";
  const MAX_LEVELS = 12;

  function pairs(data, key, metric) {
    const found = [];
    data.settings.forEach((settings, i) => {
      const value = data.values[metric][i];
      if (key in settings && value !== null) found.push([settings[key], value, data.names[i]]);
    });
    return found;
  }

  function draw(element, data) {
    const { key, metric } = element.dataset;
    const found = pairs(data, key, metric);
    const isNumeric = found.every(([level]) => typeof level === "number");
    const levels = [...new Set(found.map(([level]) => level))];
    const isContinuous = isNumeric && levels.length > MAX_LEVELS;
    if (isNumeric) levels.sort((a, b) => a - b);
    const place = (level) => (isContinuous ? level : String(level));
    orbit.charts.draw(element, () => {
      const traces = [{
        x: found.map(([level]) => place(level)), y: found.map(([, value]) => value),
        text: found.map(([, , name]) => name), type: "scatter", mode: "markers", name: "runs",
        marker: { color: orbit.charts.style(0).color, size: 7, opacity: found.length > 100 ? 0.45 : 0.75 },
        hovertemplate: "%{text}<br>%{y:.4g}<extra></extra>",
      }];
      if (!isContinuous) {
        const means = levels.map((level) => {
          const values = found.filter(([other]) => other === level).map(([, value]) => value);
          return values.reduce((a, b) => a + b, 0) / values.length;
        });
        traces.push({
          x: levels.map(place), y: means, type: "scatter", mode: "lines+markers", name: "mean",
          line: { color: orbit.charts.style(1).color, width: 2 },
          marker: { color: orbit.charts.style(1).color, size: 12, symbol: "line-ew-open" },
          hovertemplate: "mean %{y:.4g}<extra></extra>",
        });
      }
      return {
        traces,
        x: { title: key, type: isContinuous ? "linear" : "category",
          categoryorder: "array", categoryarray: levels.map(String) },
        y: { title: { text: metric, font: { size: 12 } } },
      };
    });
    element.setAttribute("role", "img");
    element.setAttribute("aria-label", `${metric} of ${found.length} runs by ${key}`);
  }

  document.addEventListener("DOMContentLoaded", () => {
    const select = document.querySelector("#effect-metric");
    if (!select) return;
    const data = orbit.load("effects");
    for (const plot of document.querySelectorAll(".plot[data-effect]")) {
      orbit.whenSeen(plot, () => data.then((value) => draw(plot, value)));
    }
    select.addEventListener("change", () => {
      document.querySelectorAll(".effect-metric").forEach((part, number) => {
        part.hidden = number !== Number(select.value);
      });
    });
    select.form.addEventListener("submit", (event) => event.preventDefault());
  });
})();

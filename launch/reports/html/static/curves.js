// Learning curves: which series are drawn, how they are put together, and their values as text.
orbit.curves = (() => {
  "use strict";
  const { axis, smooth, band, flatRange } = orbit.series;
  const TITLES = { step: "step", epoch: "epoch", pairs: "pairs", hours: "hours of work" };
  const MAX_ENVELOPES = 4;
  const MAX_UNIFIED = 6;  // so many lines share one label when the mouse is over them
  const options = {
    axis: "step", colour: "group", smoothing: 0, isLog: false,
    splits: new Set(["train", "val", "test"]), isShown: () => true,
  };
  const figures = new Map();

  // Runs that are drawn in one colour, in the order of the legend.
  function bundles(data) {
    const key = options.colour.startsWith("key:") ? options.colour.slice(4) : null;
    const found = new Map();
    for (const [number, run] of data.runs.entries()) {
      let id = number;
      let label = run.name;
      if (options.colour === "group") { id = run.group; label = data.groups[run.group]; }
      if (key) { id = `${run.settings[key]}`; label = `${data.keys[key]} ${id}`; }
      if (!found.has(id)) found.set(id, { id, label, runs: new Set(), rank: run.rank });
      const bundle = found.get(id);
      bundle.runs.add(number);
      bundle.rank = Math.min(bundle.rank, run.rank);
      if (key) bundle.value = run.settings[key];
    }
    const isNumeric = key && [...found.values()].every((one) => typeof one.value === "number");
    const sorted = [...found.values()].sort((a, b) => (isNumeric ? a.value - b.value : a.rank - b.rank));
    sorted.forEach((bundle, place) => {
      const { color, dash } = orbit.charts.style(place);
      const share = sorted.length > 1 ? place / (sorted.length - 1) : 0.5;
      bundle.color = isNumeric && sorted.length > 2 ? orbit.charts.shade(share) : color;
      bundle.dash = isNumeric && sorted.length > 2 ? "solid" : dash;
    });
    return sorted;
  }

  // What is drawn of a metric: lines with x, y and, of means, std, or, of single runs, extremes.
  function lines(data, metric) {
    const found = [];
    for (const bundle of bundles(data)) {
      if (!options.isShown(bundle)) continue;
      for (const split of ["train", "val", "test"]) {
        if (!options.splits.has(split)) continue;
        const members = metric.series
          .filter((one) => bundle.runs.has(one.run) && one.split === split)
          .map((one) => member(data, one))
          .filter((one) => one.x.length);
        if (!members.length) continue;
        const look = { bundle, split, color: bundle.color, dash: bundle.dash };
        if (options.colour === "run" || members.length === 1) {
          for (const one of members) found.push({ ...one, ...look, num: 1 });
        } else {
          const { x, mean, std } = band(members);
          found.push({ x, y: mean, std, ...look, num: members.length });
        }
      }
    }
    return found;
  }

  function member(data, one) {
    const run = data.runs[one.run];
    const steps = data.grids[one.grid];
    const place = axis(run, options.axis);
    const xs = options.axis === "step" ? steps : steps.map(place);
    // Smoothing goes by steps, so that it means the same on every axis.
    const y = smooth(steps, one.y, options.smoothing);
    const keep = xs.map((x, i) => (x === null ? -1 : i)).filter((i) => i >= 0);
    const isWhole = keep.length === xs.length;
    const pick = (values) => (values && !isWhole ? keep.map((i) => values[i]) : values);
    return { x: pick(xs), y: pick(y), low: pick(one.low), high: pick(one.high), name: run.name };
  }

  function traces(data, metric) {
    const all = lines(data, metric);
    const made = [];
    const isUnified = all.length <= MAX_UNIFIED;
    const hasEnvelopes = all.filter((one) => one.low).length <= MAX_ENVELOPES;
    for (const one of all) {
      const several = one.num > 1;
      const text = several ? `${one.bundle.label}, mean of ${one.num}` : one.bundle.label;
      const name = `${text} · ${one.split}`;
      const edges = several
        ? [one.y.map((y, i) => minus(y, one.std[i])), one.y.map((y, i) => minus(y, -one.std[i]))]
        : hasEnvelopes && one.low && !options.smoothing ? [one.low, one.high] : null;
      if (edges && one.x.length > 1) {
        const common = {
          x: one.x, type: "scatter", mode: "lines", hoverinfo: "skip", line: { width: 0 },
          legendgroup: name, connectgaps: false,
        };
        made.push({ ...common, y: edges[0], showlegend: false });
        made.push({ ...common, y: edges[1], showlegend: false, fill: "tonexty",
          fillcolor: orbit.charts.fade(one.color, 0.18) });
      }
      const isSparse = one.x.length <= 60;
      const isPoint = one.split === "test" || one.x.length === 1;
      const value = `%{y:.4g}${several ? " ± %{customdata}" : ""}`;
      const custom = several ? one.std.map((std) => orbit.format(std, 2)) : null;
      made.push({
        x: one.x, y: one.y, type: "scatter", name, connectgaps: false,
        mode: isPoint ? "markers" : one.split === "val" && isSparse ? "lines+markers" : "lines",
        line: { color: one.color, width: one.split === "train" ? 1.2 : 2.4, dash: one.dash },
        marker: {
          color: one.color, size: isPoint ? 9 : 6, symbol: one.split === "test" ? "diamond" : "circle",
        },
        opacity: one.split === "train" && options.splits.has("val") ? 0.75 : 1,
        customdata: custom,
        hovertemplate: isUnified
          ? `${value}<extra>${escape(name)}</extra>` : `${escape(name)}<br>${value}<extra></extra>`,
      });
    }
    return { all, made };
  }
  function minus(y, std) { return y === null ? null : y - (std || 0); }
  function escape(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function describe(name, all) {
    if (!all.length) return `${name}: nothing is shown`;
    const ends = all.map((one) => last(one.y)).filter((value) => value !== null);
    const range = ends.length
      ? `; last values from ${orbit.format(Math.min(...ends))} to ${orbit.format(Math.max(...ends))}` : "";
    return `${name} by ${TITLES[options.axis]}: ${all.length} curves${range}. Values are in the table below.`;
  }
  function last(values) {
    for (let i = values.length - 1; i >= 0; i -= 1) if (values[i] !== null) return values[i];
    return null;
  }

  async function draw(figure) {
    const [data, metric] = await Promise.all([orbit.load("runs"), orbit.load(figure.dataset.curve)]);
    const plot = figure.querySelector(".plot");
    let all = [];
    await orbit.charts.draw(plot, () => {
      const found = traces(data, metric);
      all = found.all;
      const isTight = figure.clientWidth < 420;
      const range = flatRange(all.map((one) => one.y), options.isLog);
      return {
        traces: found.made,
        x: { title: TITLES[options.axis], rangemode: "tozero", nticks: isTight ? 5 : 8 },
        y: { type: options.isLog ? "log" : "linear", ...(range ? { range } : { autorange: true }) },
        layout: { hovermode: all.length <= MAX_UNIFIED ? "x unified" : "closest" },
      };
    });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", describe(metric.metric, all));
    figures.set(figure, all);
    const table = figure.querySelector(".values");
    if (table) {
      table.ontoggle = () => list(table, metric.metric, figures.get(figure));
      if (table.open) list(table, metric.metric, all);
    }
  }

  // The ends and extremes of what is drawn, as a table.
  function list(details, name, all) {
    if (!details.open) return;
    const table = document.createElement("table");
    table.createCaption().textContent =
      `${name} as drawn: first, least, greatest and last point of each curve`;
    const head = table.createTHead().insertRow();
    for (const title of ["curve", "split", "first", "least", "greatest", "last"]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    const body = table.createTBody();
    for (const one of all.slice(0, 200)) {
      const values = one.y.filter((value) => value !== null);
      const row = body.insertRow();
      const label = document.createElement("th");
      label.scope = "row";
      label.textContent = one.num > 1 ? `${one.bundle.label}, mean of ${one.num}` : one.bundle.label;
      row.append(label);
      row.insertCell().textContent = one.split;
      const shown = values.length
        ? [values[0], values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b)), last(values)]
        : [null, null, null, null];
      for (const value of shown) {
        const cell = row.insertCell();
        cell.className = "num";
        cell.textContent = orbit.format(value);
      }
    }
    details.querySelector("div").replaceChildren(table);
  }

  // The mark of a bundle's colour and dash, and its label.
  function mark(bundle) {
    const line = document.createElement("span");
    line.className = "mark";
    line.style.borderTopColor = bundle.color;
    line.style.borderTopStyle = { solid: "solid", dash: "dashed" }[bundle.dash] || "dotted";
    return line;
  }
  function chip(bundle) {
    const item = document.createElement("li");
    item.append(mark(bundle), bundle.label);
    return item;
  }

  const visible = new Set();
  function redraw() { for (const figure of visible) draw(figure); }

  function start() {
    const front = document.querySelector("#front");
    if (front) {
      Promise.all([orbit.load("runs"), orbit.load(front.dataset.curve)]).then(([data, metric]) => {
        const own = front.dataset.run === undefined ? null : Number(front.dataset.run);
        if (own !== null) options.colour = "run";
        const series = metric.series.filter((one) => own === null || one.run === own);
        // Many runs are told apart by their validation alone.
        const hasValidation = series.some((one) => one.split === "val");
        if (own === null && data.runs.length > 1 && hasValidation) options.splits = new Set(["val"]);
        const all = bundles(data);
        const chosen = new Set(own !== null ? [own] : all.slice(0, 6).map((bundle) => bundle.id));
        options.isShown = (bundle) => chosen.has(bundle.id);
        draw(front);
        for (const item of front.querySelectorAll("[data-split]")) {
          const { split } = item.dataset;
          item.hidden = !options.splits.has(split) || !series.some((one) => one.split === split);
        }
        const list = front.querySelector(".curves");
        if (!list) return;
        const chips = () => list.replaceChildren(
          ...bundles(data).filter(options.isShown).map(chip));
        chips();
        document.addEventListener("themechange", chips);
      });
      return;
    }
    for (const figure of document.querySelectorAll("figure.chart")) {
      orbit.load(figure.dataset.curve);  // now: a page that is printed cannot wait for it
      orbit.whenSeen(figure, () => { visible.add(figure); draw(figure); });
      figure.querySelector(".wide").addEventListener("click", () => {
        figure.classList.toggle("widened");
        Plotly.Plots.resize(figure.querySelector(".plot"));
      });
    }
  }
  document.addEventListener("DOMContentLoaded", start);

  return { options, bundles, lines, mark, redraw };
})();

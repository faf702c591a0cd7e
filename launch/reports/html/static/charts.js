// Charts in the colours of the page; they are drawn again when the theme changes.
orbit.charts = (() => {
  "use strict";
  const drawn = new Map();

  function css(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // A colour that is safe for colour-blind eyes, and a dash for the second round of them.
  const NUM_COLOURS = 7;
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  function style(index) {
    return {
      color: css(`--series-${index % NUM_COLOURS}`),
      dash: DASHES[Math.floor(index / NUM_COLOURS) % DASHES.length],
    };
  }

  // From 0 to 1 on a scale that rises in lightness as well.
  function shade(share) {
    const stops = [0, 1, 2, 3, 4].map((i) => css(`--scale-${i}`));
    const place = Math.min(3.999, Math.max(0, share * 4));
    const low = parse(stops[Math.floor(place)]);
    const high = parse(stops[Math.floor(place) + 1]);
    const mixed = low.map((a, i) => Math.round(a + (high[i] - a) * (place % 1)));
    return `rgb(${mixed.join(",")})`;
  }
  function parse(colour) {
    return [1, 3, 5].map((i) => Number.parseInt(colour.slice(i, i + 2), 16));
  }
  function fade(colour, alpha) {
    const parts = colour.startsWith("#") ? parse(colour) : colour.match(/\d+/g).slice(0, 3);
    return `rgba(${[...parts].join(",")},${alpha})`;
  }

  function axisLook(title) {
    return {
      title: { text: title, font: { size: 12 } },
      color: css("--soft"), gridcolor: css("--line"), zerolinecolor: css("--line"),
      linecolor: css("--line"), automargin: true,
    };
  }

  // `make` returns { traces, x, y }: Plotly's traces and what is added to the axes.
  function draw(element, make) {
    drawn.set(element, make);
    const { traces, x = {}, y = {}, layout = {} } = make();
    const look = {
      margin: { l: 52, r: 12, t: 8, b: 40 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font"), size: 12, color: css("--text") },
      hoverlabel: {
        bgcolor: css("--panel"), bordercolor: css("--line"),
        font: { family: css("--font"), size: 12, color: css("--text") },
      },
      showlegend: false, hovermode: "closest", dragmode: "zoom",
      ...layout,
      xaxis: { ...axisLook(""), ...x, ...(x.title ? axisTitle(x.title) : {}) },
      yaxis: { ...axisLook(""), ...y },
    };
    return Plotly.react(element, traces, look, {
      responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset",
    });
  }
  function axisTitle(text) {
    return { title: { text, font: { size: 12 } } };
  }

  document.addEventListener("themechange", () => {
    for (const [element, make] of drawn) draw(element, make);
  });

  // On paper every chart is drawn, as wide as the paper is.
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    orbit.seeAll();
    for (const element of drawn.keys()) {
      const { clientWidth: width, clientHeight: height } = element;
      if (width) Plotly.relayout(element, { width, height });
    }
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    for (const element of drawn.keys()) {
      if (element.clientWidth) Plotly.relayout(element, { width: null, height: null, autosize: true });
    }
  });

  return { draw, style, shade, fade, css };
})();

// Arithmetic on series: axes, smoothing, means over runs. No drawing here.
orbit.series = (() => {
  "use strict";

  // Straight lines through (xs, ys), xs ascending; null outside of them.
  function interpolate(xs, ys, x) {
    const last = xs.length - 1;
    if (last < 0 || x < xs[0] || x > xs[last]) return null;
    let low = 0;
    let high = last;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= x) low = middle; else high = middle;
    }
    if (xs[low] === x || high === low) return ys[low];
    if (xs[high] === x) return ys[high];
    if (ys[low] === null || ys[high] === null) return null;
    return ys[low] + (ys[high] - ys[low]) * (x - xs[low]) / (xs[high] - xs[low]);
  }

  // From steps of a run to epochs, pairs or hours; null where the run does not tell.
  function axis(run, kind) {
    if (kind === "epoch") return (step) => run.stepsPerEpoch ? step / run.stepsPerEpoch : null;
    if (kind === "pairs") return (step) => run.batch ? step * run.batch : null;
    if (kind === "hours") {
      return (step) => run.hours ? interpolate(run.hours[0], run.hours[1], step) : null;
    }
    return (step) => step;
  }

  // Exponential means whose memory is `share` of the length of xs; null stays null.
  function smooth(xs, ys, share) {
    if (!(share > 0) || xs.length < 3) return ys;
    const memory = share * (xs[xs.length - 1] - xs[0]);
    let sum = 0;
    let weight = 0;
    let before = null;
    return ys.map((y, i) => {
      if (y === null) return null;
      const keep = before === null ? 0 : Math.exp(-(xs[i] - before) / memory);
      before = xs[i];
      sum = sum * keep + y;
      weight = weight * keep + 1;
      return sum / weight;
    });
  }

  // Mean and sample standard deviation of several series at the places of the longest.
  function band(members) {
    const base = members.reduce((a, b) => (b.x[b.x.length - 1] > a.x[a.x.length - 1] ? b : a));
    const mean = [];
    const std = [];
    const num = [];
    base.x.forEach((x, i) => {
      const values = members
        .map((one) => (one.x === base.x ? one.y[i] : interpolate(one.x, one.y, x)))
        .filter((value) => value !== null);
      const average = values.reduce((a, b) => a + b, 0) / values.length;
      const squares = values.reduce((sum, value) => sum + (value - average) ** 2, 0);
      mean.push(values.length ? average : null);
      std.push(values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : null);
      num.push(values.length);
    });
    return { x: base.x, mean, std, num };
  }

  // Where all values are one, an axis around it: a chart's own would begin at zero or below.
  function flatRange(all, isLog) {
    const values = all.flat().filter((value) => value !== null && Number.isFinite(value));
    if (!values.length || values.some((value) => value !== values[0])) return null;
    const value = values[0];
    if (isLog) return value > 0 ? [Math.log10(value) - 0.5, Math.log10(value) + 0.5] : null;
    const half = value === 0 ? 1 : Math.abs(value) / 2;
    return [value - half, value + half];
  }

  return { interpolate, axis, smooth, band, flatRange };
})();

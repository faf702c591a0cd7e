// Data scripts hand their values over here: pages opened from disk may not fetch files.
window.orbit = (() => {
  "use strict";
  const asked = new Map();
  const settle = new Map();

  function receive(name, value) {
    const done = settle.get(name);
    if (done) done.resolve(value);
  }

  function load(name) {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        settle.set(name, { resolve });
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onerror = () => reject(new Error(`${script.src} is missing`));
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  // Calls `act` with each element when it first comes near the window.
  const acts = new Map();
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      act(entry.target);
    }
  }, { rootMargin: "200px" });
  function act(element) {
    observer.unobserve(element);
    const todo = acts.get(element);
    acts.delete(element);
    if (todo) todo(element);
  }
  function whenSeen(element, todo) {
    acts.set(element, todo);
    observer.observe(element);
  }
  // Paper shows everything that is not folded away.
  function seeAll() {
    for (const element of [...acts.keys()]) if (element.offsetParent !== null) act(element);
  }

  function format(value, digits = 4) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-4) return value.toExponential(digits - 2).replace("e+", "e");
    if (Number.isInteger(value) || size >= 1000) return String(Math.round(value));
    return value.toPrecision(digits);
  }

  return { receive, load, whenSeen, seeAll, format };
})();

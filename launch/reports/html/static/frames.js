// Frames to slide through: one for each group element, and slices of volumes.
(() => {
  "use strict";
  const PLAY_MS = 500;

  function start(figure) {
    const { files, labels, slices } = JSON.parse(figure.dataset.frames);
    const name = figure.dataset.name;
    const image = figure.querySelector("img");
    const rows = image.alt.split(";")[0];
    const slider = figure.querySelector(".frame-slider");
    const slicer = figure.querySelector(".slice-slider");
    const button = figure.querySelector(".play");
    // The browser keeps what was asked for once, so sliding does not wait for the disk.
    const kept = files.map((file) => Object.assign(new Image(), { src: file }));

    function show() {
      const place = Number(slider.value);
      image.src = kept[place].src;
      image.alt = `${rows}; ${name} ${labels[place]}`;
      slider.setAttribute("aria-valuetext", labels[place]);
      slider.closest("label").querySelector("output").textContent = labels[place];
      if (slicer) {
        image.style.setProperty("--slice", slicer.value);
        const text = `${Number(slicer.value) + 1} of ${slices}`;
        slicer.setAttribute("aria-valuetext", text);
        slicer.closest("label").querySelector("output").textContent = text;
      }
    }

    let timer = null;
    function stop() {
      clearInterval(timer);
      timer = null;
      button.setAttribute("aria-pressed", "false");
      button.textContent = "Play";
    }
    button.addEventListener("click", () => {
      if (timer !== null) { stop(); return; }
      button.setAttribute("aria-pressed", "true");
      button.textContent = "Pause";
      timer = setInterval(() => {
        slider.value = (Number(slider.value) + 1) % files.length;
        show();
      }, PLAY_MS);
    });
    slider.addEventListener("input", () => { stop(); show(); });
    if (slicer) slicer.addEventListener("input", show);
    show();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.frames").forEach(start);
  });
})();

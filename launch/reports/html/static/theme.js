// Light, dark, or whatever the system says. Runs before the page is painted.
(() => {
  "use strict";
  const KEY = "orbit-report-theme";
  const CHOICES = ["auto", "light", "dark"];
  let choice = "auto";
  try { choice = localStorage.getItem(KEY) || "auto"; } catch { /* storage may be barred */ }
  if (!CHOICES.includes(choice)) choice = "auto";

  const system = matchMedia("(prefers-color-scheme: dark)");
  let isPrinting = false;
  function apply() {
    const isDark = !isPrinting && (choice === "dark" || (choice === "auto" && system.matches));
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    const label = document.querySelector("#theme span");
    if (label) label.textContent = choice;
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  apply();
  system.addEventListener("change", apply);
  for (const when of ["beforeprint", "afterprint"]) {
    addEventListener(when, () => { isPrinting = when === "beforeprint"; apply(); });
  }
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("#theme").addEventListener("click", () => {
      choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
      try { localStorage.setItem(KEY, choice); } catch { /* it holds for this page then */ }
      apply();
    });
    apply();
    // Where the menu is wider than the window, the page that is open is in view.
    const own = document.querySelector("nav [aria-current]");
    if (own) own.closest("ul").scrollLeft = own.offsetLeft - own.closest("ul").offsetLeft - 16;
  });
})();

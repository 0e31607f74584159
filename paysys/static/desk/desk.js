"use strict";
/* A table that is wider than the screen scrolls by itself; whoever uses the keyboard must be able to reach it. */
document.addEventListener("DOMContentLoaded", () => {
  const reach = () => document.querySelectorAll("#content-main :is(.module, .scroll, .results, .prose)").forEach((box) => {
    const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
    if (scrolls && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      const name = box.querySelector("caption, h2");
      box.setAttribute("aria-label", name ? name.textContent.trim() : document.title);
    }
  });
  reach();
  window.addEventListener("resize", reach);
  window.setTimeout(reach, 300); /* behind the theme's own drawing */
});

/* Enter in the search takes the first result where none is chosen yet; the theme takes none and stumbles. */
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.id !== "search-input-command") return;
  if (document.querySelector("#command-results-list li.active")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  const first = document.querySelector("#command-results-list a");
  if (first) window.location.assign(first.href);
}, true);

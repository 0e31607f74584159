/* Adds a copy button behind every number; without this file the numbers are plain text to be selected. */
"use strict";
document.querySelectorAll("[data-copy]").forEach((number) => {
  const button = document.createElement("button");
  const label = number.dataset.copyLabel;
  button.type = "button";
  button.className = "orders-copy";
  button.textContent = label;
  button.setAttribute("aria-label", `${label} ${number.dataset.copy}`);
  button.addEventListener("click", async () => {
    const selection = window.getSelection();
    selection.selectAllChildren(number);
    /* Outside of a secure context there is no clipboard: the number is left selected, ready for Ctrl+C. */
    if (!navigator.clipboard) return;
    await navigator.clipboard.writeText(number.dataset.copy);
    selection.removeAllRanges();
    button.textContent = number.dataset.copiedLabel;
    window.setTimeout(() => { button.textContent = label; }, 1500);
  });
  number.after(button);
});

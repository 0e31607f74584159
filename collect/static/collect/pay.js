"use strict";
// Key pad, a first look at the amount, and one sending for a double click. The server decides all of it again.
(() => {
  const form = document.getElementById("pay");
  const input = document.getElementById("amount");
  if (input) {
    const pad = form.querySelector(".pad");
    const wrong = document.getElementById("wrong");
    const typed = /^(0|[1-9][0-9]{0,6})(\.[0-9]{1,2})?$/;
    const begun = /^(0|[1-9][0-9]{0,6})?(\.[0-9]{0,2})?$/;

    const say = (text) => {
      wrong.textContent = text;
      wrong.hidden = !text;
      input.setAttribute("aria-invalid", text ? "true" : "false");
    };
    const problem = (text) => {
      if (!typed.test(text)) return form.dataset.malformed;
      const [yuan, fen = ""] = text.split(".");
      const amount = Number(yuan) * 100 + Number(fen.padEnd(2, "0"));
      if (amount < 1) return form.dataset.zero;
      return amount > Number(form.dataset.max) * 100 ? form.dataset.over : "";
    };

    pad.hidden = false;
    if (matchMedia("(pointer: coarse)").matches) input.inputMode = "none"; // the pad is there instead
    pad.addEventListener("click", (event) => {
      const key = event.target.closest("button");
      if (!key) return;
      let text = key.dataset.key === "delete" ? input.value.slice(0, -1) : input.value + key.textContent;
      if (text === ".") text = "0.";
      if (/^0[0-9]$/.test(text)) text = text.slice(1);
      if (begun.test(text)) input.value = text;
      say("");
    });
    input.addEventListener("input", () => say(""));
    form.noValidate = true;
    form.addEventListener("submit", (event) => {
      const text = problem(input.value);
      if (!text) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      say(text);
      input.focus();
    });
  }

  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
    // Behind this turn, or the button pressed would not be sent.
    setTimeout(() => form.querySelectorAll(".ways button").forEach((button) => { button.disabled = true; }));
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    isSent = false;
    form.querySelectorAll(".ways button").forEach((button) => { button.disabled = false; });
  });
})();

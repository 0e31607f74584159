"use strict";
// Opens the wallet once, and asks what became of the payment; the page itself is drawn by the server.
(() => {
  const place = document.getElementById("payment");
  const FIRST_MS = 2000, SLOWEST_MS = 15000;
  let wait = FIRST_MS, timer = 0;

  const ask = async () => {
    timer = 0;
    try {
      const answer = await fetch(place.dataset.status, { headers: { Accept: "application/json" }, cache: "no-store" });
      if (answer.ok) {
        wait = Math.min(SLOWEST_MS, wait * 1.05);
        if ((await answer.json()).state !== "OPEN") {
          location.reload();
          return;
        }
      } else {
        wait = Math.min(SLOWEST_MS, wait * 2);
      }
    } catch (error) {
      wait = Math.min(SLOWEST_MS, wait * 2); // the network is away for the moment
    }
    if (!document.hidden) timer = setTimeout(ask, wait);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    wait = FIRST_MS;
    clearTimeout(timer);
    ask();
  });
  timer = setTimeout(ask, wait);

  const isFirst = (name) => {
    try {
      if (sessionStorage.getItem(name)) return false;
      sessionStorage.setItem(name, "1");
    } catch (error) {
      return false; // no storage, no jump by itself: the button is there
    }
    return true;
  };

  const open = document.getElementById("open");
  if (open && isFirst(`open ${location.pathname}`)) location.assign(open.href);

  const bridge = document.getElementById("bridge");
  if (bridge) {
    const invoke = () => {
      window.WeixinJSBridge.invoke("getBrandWCPayRequest", JSON.parse(place.dataset.jsapi), () => {
        clearTimeout(timer);
        ask(); // whatever the wallet said: the server knows
      });
    };
    bridge.addEventListener("click", () => { if (window.WeixinJSBridge) invoke(); });
    if (isFirst(`bridge ${location.pathname}`)) {
      if (window.WeixinJSBridge) invoke();
      else document.addEventListener("WeixinJSBridgeReady", invoke, { once: true });
    }
  }
})();

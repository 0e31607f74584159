// The page of an article packet: log in and read for the set time; the grab itself is the app's, which has a stream for
// validator tokens. The server counts the time, this page only shows it. The access token lives in this script's memory
// and nowhere else.
"use strict";

(function () {
  const part = (id) => document.getElementById(id);
  const texts = part("packet").dataset;
  const packetId = texts.packet;
  let token = "";

  async function call(method, path, body) {
    const headers = { Accept: "application/json", "Accept-Language": document.documentElement.lang };
    if (token) headers.Authorization = "Bearer " + token;
    if (body) headers["Content-Type"] = "application/json";
    let answer, data;
    try {
      answer = await fetch("/api/v1/" + path, { method, headers, body: body ? JSON.stringify(body) : undefined });
      data = await answer.json();
    } catch {
      throw new Error(texts.away);
    }
    if (!answer.ok) throw new Error(data.error.message + " (" + data.error.code + ")");
    return data;
  }

  function say(text) {
    part("message").textContent = text;
  }

  function attempt(work) {
    say("");
    work().catch((error) => say(error.message));
  }

  async function read() {
    const progress = await call("POST", "redpackets/" + packetId + "/reading");
    countDown(progress.seconds_left);
  }

  function countDown(left) {
    part("left").textContent = String(left);
    if (left === 0) {
      part("rest").hidden = true;
      part("ready").hidden = false;
      return;
    }
    window.setTimeout(() => (left > 1 ? countDown(left - 1) : attempt(read)), 1000);
  }

  async function logIn(form) {
    const fields = Object.fromEntries(new FormData(form));
    token = (await call("POST", "auth/login", fields)).access_token;
    const packet = (await call("GET", "redpackets/" + packetId)).redpacket;
    if (!packet.article) throw new Error(texts.noArticle);
    part("greeting").textContent = packet.greeting;
    part("link").href = packet.article.url;
    form.hidden = true;
    part("article").hidden = false;
    await read();
  }

  part("log-in").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => logIn(event.target));
  });
})();

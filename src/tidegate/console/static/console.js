// What pages do beyond links and forms: stay fresh, say so when they cannot, sliders, copying, local times.
(() => {
  "use strict";
  const STALE_S = 3, SILENT_S = 6, AGAIN_MS = [500, 1000, 2000];
  const loadedAt = new Date();
  const byId = (id) => document.getElementById(id);
  const utc = (at) => at.toISOString().slice(11, 19) + " UTC";

  // -- freshness: one stream a page, while it is looked at ---------------------------------------------------------
  // Read with fetch rather than EventSource, which tells neither a session that ended nor a server that went silent.
  let stream = null, tries = 0, heardAt = Date.now(), lostAt = null, shownAt = null, again = 0, trouble = "";

  const say = (text) => {
    const lost = byId("lost");
    lost.hidden = !text;
    if (lost.textContent !== text) lost.textContent = text;
  };

  const take = (event) => {
    const data = event.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
    if (!event.startsWith("event: beat")) {
      htmx.swap({ text: data, target: document.body, swap: "none", sourceElement: document.body });
      return;
    }
    const beat = JSON.parse(data);
    tries = 0; lostAt = null; trouble = beat.fault; heardAt = Date.now(); shownAt = new Date(beat.at);
    age();
  };

  const follow = async (mine) => {
    const answer = await fetch("/live?of=" + encodeURIComponent(document.body.dataset.live), { signal: mine.signal });
    if (answer.status === 401) {
      trouble = "The session has ended. Load the page again to see how to log in.";
      tries = Infinity;
    }
    if (!answer.ok) {
      if (answer.status === 429) trouble = "Too many pages are open to keep this one fresh: it shows what was when it was loaded.";
      throw new Error(String(answer.status));
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      events.forEach(take);
    }
  };

  const open = async () => {
    clearTimeout(again);
    if (stream || document.hidden || tries === Infinity) return;
    const mine = stream = new AbortController();
    try {
      await follow(mine);
    } catch {
      if (stream === mine) lostAt ??= new Date();
    }
    if (stream !== mine) return;
    stream = null;
    if (tries !== Infinity) again = setTimeout(open, AGAIN_MS[Math.min(tries++, AGAIN_MS.length - 1)]);
    age();
  };

  const close = () => {
    const mine = stream;
    stream = null;
    mine?.abort();
  };

  const age = () => {
    const seconds = Math.round((Date.now() - heardAt) / 1000), stale = seconds > STALE_S, fresh = byId("fresh");
    fresh.classList.toggle("live", !stale && shownAt !== null);
    fresh.classList.toggle("stale", stale);
    if (shownAt || stale) byId("as-of").textContent = utc(shownAt ?? loadedAt) + (stale ? `, ${seconds} s old` : "");
    if (trouble) say(trouble);
    else if (stale && !document.hidden) say(`No answer from the control plane since ${utc(lostAt ?? new Date(heardAt))}. What is deployed serves on; this page goes on by itself when it is back.`);
    else say("");
    if (stream && seconds > SILENT_S) {
      close();
      open();
    }
  };

  // -- traffic: sliders that add up to 100 -------------------------------------------------------------------------
  const spread = (rows, moved, value) => {
    // The others keep their proportions, in tenths of a percent; what rounding leaves goes to the largest.
    const others = rows.filter((row) => row !== moved);
    const rest = Math.round((100 - value) * 10), before = others.map((row) => Number(row.number.value) || 0);
    const sum = before.reduce((a, b) => a + b, 0);
    const parts = before.map((one) => Math.round(sum ? (one / sum) * rest : rest / others.length));
    const largest = parts.indexOf(Math.max(...parts));
    if (others.length) parts[largest] += rest - parts.reduce((a, b) => a + b, 0);
    set(moved, others.length ? value : 100);
    others.forEach((row, at) => set(row, parts[at] / 10));
  };
  const set = (row, value) => { row.number.value = value; row.slider.value = value; };

  const sliders = (form) => {
    const rows = [...form.querySelectorAll("[data-weight]")].map((number) => {
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 100, step: 1, value: number.value });
      slider.setAttribute("aria-label", number.getAttribute("aria-label") + ", slider");
      number.before(slider);
      return { number, slider };
    });
    rows.forEach((row) => {
      row.slider.addEventListener("input", () => spread(rows, row, Number(row.slider.value)));
      row.number.addEventListener("change", () => {
        spread(rows, row, Math.min(Math.max(Number(row.number.value) || 0, 0), 100));
      });
    });
  };

  // -- small things ------------------------------------------------------------------------------------------------
  const localTimes = (root) => root.querySelectorAll("time:not([title])").forEach((time) => {
    time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  });

  const copying = (root) => root.querySelectorAll("code[data-copy]").forEach((code) => {
    if (code.nextElementSibling?.dataset.copier !== undefined || !navigator.clipboard) return;
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "btn quiet small", textContent: "Copy" });
    button.dataset.copier = "";
    button.setAttribute("aria-label", "Copy to the clipboard");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    code.after(button);
  });

  // Logs stay at their end while that is what is looked at.
  const atEnd = new WeakMap();
  const tails = () => document.querySelectorAll("[data-tail]");
  const remember = () => tails().forEach((one) => {
    atEnd.set(one, one.scrollHeight - one.scrollTop - one.clientHeight < 8);
  });
  const followTails = () => tails().forEach((one) => {
    if (atEnd.get(one) ?? true) one.scrollTop = one.scrollHeight;
  });

  const enhance = (root) => { localTimes(root); copying(root); };

  document.querySelectorAll("form[data-sliders]").forEach(sliders);
  document.addEventListener("htmx:before:swap", remember);
  document.addEventListener("htmx:after:swap", () => { enhance(document); followTails(); });
  enhance(document);
  followTails();

  // What was just done is said once: not again when the page is loaded anew.
  const url = new URL(location.href);
  if (url.searchParams.has("done")) {
    url.searchParams.delete("done");
    history.replaceState(null, "", url);
  }

  if (document.body.dataset.live) {
    open();
    setInterval(age, 1000);
    document.addEventListener("visibilitychange", () => {
      heardAt = Date.now();
      if (document.hidden) close();
      else open();
    });
    addEventListener("pagehide", close);
    addEventListener("pageshow", open);
  }
})();

// The gallery's events. A browser has six connections to a site (HTTP/1.1), and each stream of events holds one.
// So all tabs share one stream: the tab that holds a lock has it, and tells the others. Tabs in the background have none.
// Where tabs cannot talk to each other (on a page without https), or no events come through, the page asks instead.

import { ask } from "./faces.js";

const SILENT = 8000; // ms without a word; the gallery says something every 2 s
const POLL = 3000, RETRY = 60000; // ms from one question to the next, and from one stream to the next
const PROMPT = 2500; // ms in which a stream that works brings its first event

const shared = `gallery ${new URL(".", location.href).pathname}`;
const canShare = "locks" in navigator && "BroadcastChannel" in window;
const channel = canShare ? new BroadcastChannel(shared) : null;

let hear = {}; // {face, health, open}
let source = null, openedAt = 0, wasOpen = false; // the stream, in the tab that has it
let waiting = null, release = null; // for the lock, and what gives it back
let isLeading = false, isPolling = !canShare, isHeldBack = false, hasFailed = false, pollAt = 0, retryAt = 0;
let heardAt = 0, lastHealth = null;

function tell(kind, data) {
  if (isLeading) channel?.postMessage({ kind, data });
  take(kind, data);
}

function take(kind, data) {
  if (kind === "health") {
    heardAt = performance.now();
    lastHealth = data;
  }
  hear[kind](data);
}

function open() {
  source?.close();
  source = new EventSource("events");
  openedAt = performance.now();
  source.addEventListener("face", (event) => tell("face", JSON.parse(event.data)));
  source.addEventListener("health", (event) => {
    if (performance.now() - openedAt < PROMPT) isPolling = false;
    if (!isPolling) tell("health", JSON.parse(event.data));
  });
  source.addEventListener("open", () => {
    // Faces may have been missed: since the stream broke, or since the tab closed that had it before this one.
    if (wasOpen || heardAt) tell("open");
    wasOpen = true;
  });
  source.addEventListener("error", () => {
    openedAt = performance.now();
    poll(); // which leads to the login where the session has ended
  });
}

async function poll() {
  pollAt = performance.now() + POLL;
  try {
    const health = await ask("api/health");
    if (isPolling) tell("health", { ...health, isPolled: true, isHeldBack });
    if (hasFailed) retryAt = 0; // it is back: a stream may work again
    hasFailed = false;
  } catch { hasFailed = true; }
}

function watch() {
  const now = performance.now();
  if (document.hidden) return;
  if (!isPolling && now - heardAt > SILENT && now - openedAt > SILENT) {
    isPolling = true;
    isHeldBack = (source?.readyState ?? EventSource.CLOSED) !== EventSource.CLOSED;
    retryAt = now + RETRY;
    source?.close();
  }
  if (isPolling && now > pollAt) poll();
  if (isPolling && isLeading && now > retryAt) {
    retryAt = now + RETRY;
    open();
  }
}

function join() {
  openedAt = performance.now();
  if (!canShare) return;
  channel.postMessage({ kind: "hello" });
  waiting = new AbortController();
  navigator.locks.request(shared, { signal: waiting.signal }, () => new Promise((resolve) => {
    release = resolve;
    isLeading = true;
    open();
  })).catch(() => {}); // the tab went to the background before it had the lock
}

function leave() {
  waiting?.abort();
  source?.close();
  isLeading = false;
  release?.();
  release = null;
}

// Calls `face` and `health` with what is told, `open` when something may have been missed, and `silent` with the
// seconds since the last word while there is none.
export function listen(handlers) {
  hear = handlers;
  channel?.addEventListener("message", ({ data: { kind, data } }) => {
    if (document.hidden) return;
    if (kind !== "hello") take(kind, data);
    else if (isLeading && lastHealth) channel.postMessage({ kind: "health", data: lastHealth });
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) leave();
    else {
      join();
      hear.open();
    }
  });
  if (!document.hidden) join();
  setInterval(() => {
    watch();
    const age = performance.now() - heardAt;
    if (!document.hidden && age > SILENT + (isPolling ? POLL : 0)) hear.silent(age / 1000);
  }, 1000);
}

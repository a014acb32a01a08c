// How each edge, camera and saver is, in words.

import { decoded } from "./faces.js";

const COLOURS = { online: "good", up: "good", paused: "wait", off: "off" };

export function make(name, text = "", className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

export function ago(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} hours`;
  return seconds < 63072000 ? `${Math.round(seconds / 86400)} days` : `${Math.round(seconds / 31557600)} years`;
}

export const since = (time) => (Date.now() - Date.parse(time)) / 1000;

const bytes = (count) => (count < 1e6 ? `${Math.round(count / 1e3)} kB` : `${(count / 1e6).toFixed(1)} MB`);
const clock = (time) => new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const seconds = (value) => (value < 10 ? `${value.toFixed(2)} s` : ago(value));

function waiting(outbox) {
  const why = outbox.refusing ? outbox.why ?? "takes nothing" : null;
  if (!outbox.messages) return why ?? "nothing";
  return `${outbox.messages} · ${bytes(outbox.bytes)} · oldest ${ago(outbox.oldest_seconds)}${why ? ` · ${why}` : ""}`;
}

function list(rows) {
  const dl = make("dl");
  for (const [name, value] of rows) if (value !== null) dl.append(make("dt", name), make("dd", value));
  return dl;
}

function head(level, name, state, colour = COLOURS[state] ?? "bad") {
  const heading = make(level, name);
  heading.append(make("span", state, `state ${colour}`));
  return heading;
}

// What is wrong with a clock that is so many seconds ahead.
function clockTrouble(name, error) {
  return `The clock of ${name} is ${ago(Math.abs(error))} ${error > 0 ? "ahead" : "behind"}: set it by NTP. Faces are filed by its time.`;
}

// An edge and its cameras. While an edge is away, nothing is known of its cameras.
function edge(about, { savers, clocks }, storedAt) {
  const card = make("article", "", about.state === "online" ? "program" : "program bad-one"), health = about.health;
  card.append(head("h3", about.name, about.state));
  if (!health) return card;
  const heard = about.age === null ? null : `${ago(about.age)} ago`;
  card.append(list([
    ["link", about.state === "online" && health.link_since ? `up since ${clock(health.link_since)}` : `down; last heard of ${heard}`],
    ["waiting", waiting(health.outbox)],
    ["aside", health.outbox.aside ? String(health.outbox.aside) : null],
    ["certificate ends", health.certificate_ends ? new Date(health.certificate_ends).toLocaleDateString() : null],
  ]));
  const own = clocks[about.name];
  if (own) card.append(make("p", clockTrouble(about.name, own), "why clock"));
  if (health.edge_broker === "down") card.append(make("p", "The edge's own broker is down.", "why"));
  for (const camera of health.cameras) {
    const state = about.state === "online" ? camera.state : "silent";
    const name = `${about.name}/${camera.camera}`, told = savers.flatMap((saver) => saver.health?.cameras ?? [])
      .filter((each) => `${each.edge}/${each.camera}` === name);
    const stored = told.map((each) => Date.parse(each.last_stored))
      .concat(storedAt.get(name) ?? []).sort((one, other) => one - other).pop();
    card.append(head("h4", camera.camera, state));
    if (camera.why) card.append(make("p", camera.why, "why"));
    if (clocks[name] && !own) card.append(make("p", clockTrouble(camera.camera, clocks[name]), "why clock"));
    card.append(list([
      ["frames/s", camera.frames_per_second.toFixed(1)],
      ["faces a minute", String(Math.round(camera.faces_per_minute))],
      ["waiting", waiting(camera.outbox)],
      stored || !camera.last_face
        ? ["last face stored", stored ? `${ago((Date.now() - stored) / 1000)} ago` : "none yet"]
        : ["last face seen", `${ago(since(camera.last_face))} ago`],
    ]));
  }
  return card;
}

function saver(about) {
  const refuses = about.health && about.health.store.state !== "ok", is_well = about.state === "online" && !refuses;
  const card = make("article", "", is_well ? "program" : "program bad-one"), health = about.health;
  card.append(head("h3", about.name, about.state === "online" && refuses ? "store refuses" : about.state));
  if (!health) return card;
  if (refuses) card.append(make("p", health.store.why ?? "The store takes nothing.", "why"));
  card.append(list([
    ["stored in a minute", String(health.stored_last_minute)],
    ["captured → stored", health.latency ? `${seconds(health.latency.p50)} · p95 ${seconds(health.latency.p95)}` : "–"],
    [refuses ? "refuses since" : "store well since", clock(health.store.since)],
  ]));
  return card;
}

// Of cameras that say nothing of their health, their faces tell.
function others({ edges, clocks }) {
  const known = new Set(edges.flatMap((each) => [each.name, ...(each.health?.cameras ?? []).map((one) => `${each.name}/${one.camera}`)]));
  const wrong = Object.entries(clocks).filter(([name]) => !known.has(name));
  if (!wrong.length) return [];
  const card = make("article", "", "program");
  card.append(make("h3", "Other cameras"), ...wrong.map(([name, error]) => make("p", clockTrouble(decoded(name), error), "why clock")));
  return [card];
}

// Draws all programs. `storedAt` has, by `edge/camera`, when (ms) a face was last heard of. Returns a summary and its colour.
export function draw(into, state, storedAt) {
  into.replaceChildren(...state.edges.map((each) => edge(each, state, storedAt)), ...others(state), ...state.savers.map(saver));
  const bad = [...into.querySelectorAll(".bad-one h3")].map((h3) => `${h3.firstChild.data} ${h3.lastChild.textContent}`);
  for (const each of state.edges.filter((one) => one.state === "online")) {
    for (const camera of each.health?.cameras ?? []) {
      if (!["up", "paused", "off"].includes(camera.state)) bad.push(`${camera.camera} ${camera.state}`);
    }
  }
  if (into.querySelector(".clock")) bad.push("a clock is wrong");
  if (!into.children.length) return [state.live ? "nothing heard yet" : "the broker is away", "wait"];
  return bad.length ? [bad.join(", "), "bad"] : ["all well", "good"];
}

// Why nothing is to be seen, as far as it is known.
export function why(state, camera) {
  const cameras = (state?.edges ?? []).flatMap((each) => (each.health?.cameras ?? []).map((one) => ({ ...one, edge: each })));
  const known = cameras.filter((one) => !camera || camera === `${one.edge.name}/${one.camera}`);
  if (!known.length) return "No camera has been heard of yet.";
  return known.slice(0, 5).map((one) => {
    const age = since(one.time), name = `the camera ${one.camera}`;
    if (one.edge.state !== "online" || ["silent", "off"].includes(one.state)) return `${name} was last heard of ${ago(age)} ago`;
    if (one.state !== "up") return `${name} is ${one.state}${one.why ? ` (${one.why})` : ""}`;
    if (one.last_face) return `${name} saw a face ${ago(since(one.last_face))} ago, which is not in the bucket`;
    return `${name} is up and has seen nobody`;
  }).join("; ") + ".";
}

// One list of faces, the newest first, of which only what is on the screen exists as elements.

import { ago, draw, make, since, why } from "./health.js";

const PAGE = 120; // faces asked for at a time
const SMALLEST = 150; // pixels, of a card's side
const GAP = 10, CAPTION = 44;
const AHEAD = 1.5; // screens above and below that are drawn as well
const KEPT_LIVE = 2000; // faces in the list while it grows at its top
const NEIGHBOURS = 4; // on either side
const TRACKS = 25; // asked for at a time

const $ = (id) => document.getElementById(id);
const place = $("faces"), large = $("large");

let faces = []; // {key, name}, the newest first
let shown = []; // those that have a card: all, or the newest of each track
let pending = []; // that came while somebody looks further down
let drawn = new Map(); // key to element
let tracks = new Map(); // key to track, or "" where there is none
let columns = 1, side = SMALLEST, row = SMALLEST;
let complete = false, loading = null;
let health = null, heardAt = 0;
let opened = null; // the face that is shown large
let arrived = new Map(); // camera to how many came since it was last said
let asked = 0; // which list is the present one

// --- What a key says -------------------------------------------------------------------------------------------------

function about(face) {
  const parts = face.key.split("/"), nobody = parts[1] === "unattributed";
  const [date, digits] = nobody ? [face.name.slice(0, 8), ""] : [face.name.slice(0, 8), face.name.slice(9, 22)];
  const day = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6, 8)}`;
  const time = nobody ? null : new Date(`${day}T${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4, 10)}Z`);
  return { edge: nobody ? "" : decoded(parts[1]), camera: nobody ? "no sender" : decoded(parts[2]), day, time };
}

function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

const pad = (number) => String(number).padStart(2, "0");
const clock = (time) => `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
const dayOf = (time) => time.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const image = (face) => `image?key=${encodeURIComponent(face.key)}`;
const words = ({ camera, time, day }) => `${camera}, ${time ? `${dayOf(time)}, ${clock(time)}` : day}`;

// --- Asking ----------------------------------------------------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(60000) });
  if (answer.status === 401) location.assign("login");
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error ?? `The gallery answers ${answer.status}.`);
  return told;
}

function trouble(error) {
  const text = error ? (error instanceof TypeError || error.name === "TimeoutError" ? "The gallery does not answer." : error.message) : "";
  if ($("trouble").textContent !== text) $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function anew() {
  asked += 1;
  faces = []; pending = []; complete = false; loading = null;
  for (const element of drawn.values()) element.remove();
  drawn = new Map();
  scrollTo(0, 0);
  layOut();
  await more();
}

async function more() {
  if (complete || loading === asked) return;
  const mine = loading = asked;
  $("more").textContent = faces.length ? "loading older ones …" : "loading …";
  try {
    const before = faces.at(-1)?.name ?? until();
    const found = await ask(`api/faces?in=${encodeURIComponent(inFolder())}&before=${encodeURIComponent(before)}&count=${PAGE}`);
    if (mine !== asked) return;
    trouble(null);
    const known = new Set(faces.map((face) => face.key));
    faces.push(...found.faces.filter((face) => !known.has(face.key)));
    complete = !found.faces.length;
    loading = null;
    $("more").textContent = complete && faces.length ? "That is all." : "";
    layOut();
  } catch (error) {
    if (mine !== asked) return;
    trouble(error);
    $("more").textContent = "";
    setTimeout(() => { if (mine === asked) { loading = null; more(); } }, 3000);
  }
}

// --- What is chosen --------------------------------------------------------------------------------------------------

const inFolder = () => $("camera").value;
const isLive = () => !$("day").value;

function until() {
  if (isLive()) return "";
  // Hours are those of who looks; keys have UTC.
  const end = new Date(`${$("day").value}T00:00:00`);
  end.setHours($("hour").value ? Number($("hour").value) : 24);
  const text = end.toISOString();
  return inFolder() === "faces/unattributed/" ? "" : `${text.slice(0, 10).replaceAll("-", "")}T${text.slice(11, 19).replaceAll(":", "")}`;
}

async function cameras() {
  try {
    const told = await ask("api/cameras"), chosen = inFolder(), edges = new Map();
    $("logout").hidden = !told.login;
    for (const folder of told.cameras) {
      const [, edge, camera] = folder.split("/");
      if (!camera) continue;
      edges.set(edge, [...(edges.get(edge) ?? []), camera]);
    }
    const select = $("camera");
    select.replaceChildren(new Option("All cameras", ""));
    for (const [edge, names] of edges) {
      const group = document.createElement("optgroup");
      group.label = decoded(edge);
      if (names.length > 1) group.append(new Option(`${decoded(edge)}: all`, `faces/${edge}/`));
      for (const name of names) group.append(new Option(`${decoded(edge)} / ${decoded(name)}`, `faces/${edge}/${name}/`));
      select.append(group);
    }
    if (told.cameras.includes("faces/unattributed/")) select.append(new Option("no sender", "faces/unattributed/"));
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
    await days();
  } catch (error) { trouble(error); }
}

async function days() {
  const told = await ask(`api/days?in=${encodeURIComponent(inFolder())}`), chosen = $("day").value;
  const name = (day) => new Date(`${day}T12:00:00`).toLocaleDateString([], { weekday: "short", day: "numeric", month: "short", year: "numeric" });
  $("day").replaceChildren(new Option("Now", ""), ...told.days.map((day) => {
    const date = day.replaceAll("/", "-");
    return new Option(name(date), date);
  }));
  $("day").value = chosen;
  if ($("day").selectedIndex < 0) $("day").value = "";
}

function hours() {
  $("hour").parentElement.hidden = isLive() || inFolder() === "faces/unattributed/";
  const kept = $("hour").value;
  $("hour").replaceChildren(...Array.from({ length: 24 }, (_, index) => new Option(`${pad(24 - index)}:00`, String(24 - index))));
  $("hour").value = isLive() ? "24" : kept || "24";
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

function layOut() {
  arrange();
  const width = place.clientWidth;
  columns = Math.max(2, Math.floor((width + GAP) / (SMALLEST + GAP)));
  side = (width - (columns - 1) * GAP) / columns;
  row = side + CAPTION + GAP;
  place.style.height = `${Math.ceil(shown.length / columns) * row}px`;
  paint();
}

function paint() {
  const top = place.getBoundingClientRect().top, screen = innerHeight;
  const first = Math.max(0, Math.floor((-top - AHEAD * screen) / row)) * columns;
  const last = Math.min(shown.length, Math.ceil((-top + (1 + AHEAD) * screen) / row) * columns);
  const wanted = new Map();
  for (let index = first; index < last; index += 1) {
    const face = shown[index], element = drawn.get(face.key) ?? card(face);
    const [x, y] = [(index % columns) * (side + GAP), Math.floor(index / columns) * row];
    element.style.transform = `translate(${x}px, ${y}px)`;
    element.style.width = `${side}px`;
    element.style.height = `${side + CAPTION}px`;
    element.ariaPosInSet = index + 1;
    element.ariaSetSize = complete ? shown.length : -1;
    if (face.count > 1) element.dataset.count = face.count;
    else delete element.dataset.count;
    wanted.set(face.key, element);
    drawn.delete(face.key);
  }
  for (const element of drawn.values()) element.remove();
  // In their order, for who goes through them by the keyboard; what stands right stays.
  let before = null;
  for (const element of wanted.values()) {
    const next = before ? before.nextSibling : place.firstChild;
    if (element !== next) place.insertBefore(element, next);
    before = element;
  }
  drawn = wanted;
  label(Math.max(0, Math.floor(-top / row)) * columns);
  const isKnown = !$("group").checked || faces.every((face) => tracks.has(face.key));
  if (!isKnown) findTracks();
  else if (last >= shown.length - 2 * columns) more();
}

function card(face) {
  const element = make("article", "", "face"), button = make("button"), picture = new Image();
  const told = about(face), caption = make("span");
  caption.append(make("b", told.time ? clock(told.time) : told.day));
  caption.append(make("i", told.camera));
  picture.alt = "";
  picture.decoding = "async";
  picture.src = image(face);
  button.append(picture, caption);
  button.setAttribute("aria-label", words(told));
  button.dataset.key = face.key;
  element.append(button);
  if (face.isNew) element.classList.add("new");
  face.isNew = false;
  return element;
}

function label(index) {
  const face = shown[index], told = face && about(face);
  $("when").textContent = isLive() && index === 0 ? "Latest" : !told ? "" : told.time
    ? `${dayOf(told.time)}, ${pad(told.time.getHours())}:${pad(told.time.getMinutes())}` : told.day;
  $("empty").hidden = faces.length > 0 || !complete;
  if (!$("empty").hidden) $("empty").firstChild.textContent = emptiness();
}

function emptiness() {
  const [, edge, camera] = inFolder().split("/");
  const name = camera ? `${decoded(edge)}/${decoded(camera)}` : "";
  return isLive() ? `No face yet: ${why(health, name)}` : "No face before this time. Choose another day, or Now.";
}

// --- Tracks ----------------------------------------------------------------------------------------------------------

function arrange() {
  if (!$("group").checked) {
    for (const face of faces) face.count = 1;
    shown = faces;
    return;
  }
  const newest = new Map();
  shown = faces.filter((face) => {
    const track = tracks.get(face.key), name = track && `${face.key.slice(0, face.key.indexOf("/20"))} ${track}`;
    const first = name && newest.get(name);
    face.count = 1;
    if (first) first.count += 1;
    else if (name) newest.set(name, face);
    return !first;
  });
}

let finding = false;
async function findTracks() {
  const keys = faces.map((face) => face.key).filter((key) => !tracks.has(key)).slice(0, TRACKS);
  if (finding || !keys.length) return;
  finding = true;
  try {
    const told = await ask(`api/tracks?${keys.map((key) => `key=${encodeURIComponent(key)}`).join("&")}`);
    if (tracks.size > 20000) tracks = new Map();
    for (const key of keys) tracks.set(key, told.tracks[key] ?? "");
    finding = false;
    requestAnimationFrame(layOut);
  } catch (error) {
    trouble(error);
    setTimeout(() => { finding = false; paint(); }, 3000);
  }
}

// --- Live ------------------------------------------------------------------------------------------------------------

function listen() {
  const source = new EventSource("events");
  source.addEventListener("face", (event) => arrive(JSON.parse(event.data)));
  source.addEventListener("health", (event) => {
    health = JSON.parse(event.data);
    heardAt = performance.now();
    const [text, colour] = draw($("programs"), health);
    tell($("summary"), text, colour);
    tell($("status"), health.live ? "live" : "not live: the broker is away; reload to see what is new", health.live ? "good" : "bad");
    if (!$("empty").hidden) $("empty").firstChild.textContent = emptiness();
  });
  let wasOpen = false;
  source.addEventListener("open", () => {
    // What came meanwhile was not told.
    if (wasOpen && isLive()) anew();
    wasOpen = true;
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    fetch("api/cameras").then((answer) => { if (answer.status === 401) location.assign("login"); }, () => {});
  });
}

function tell(element, text, colour) {
  if (element.textContent !== text) element.textContent = text;
  element.className = `state ${colour}`;
}

// What was said is believed for a while only: the gallery itself may be gone.
setInterval(() => {
  if (performance.now() - heardAt > 8000 && heardAt) {
    tell($("status"), "no word from the gallery", "bad");
    tell($("summary"), `unknown; this is ${ago((performance.now() - heardAt) / 1000)} old`, "bad");
  }
}, 1000);

function arrive(face) {
  const isNobody = face.key.startsWith("faces/unattributed/");
  if (!isLive() || !face.key.startsWith(inFolder())) return;
  if (!isNobody && ![...$("camera").options].some((option) => option.value && face.key.startsWith(option.value))) cameras();
  face.isNew = true;
  const camera = about(face).camera;
  arrived.set(camera, (arrived.get(camera) ?? 0) + 1);
  if (scrollY > row) {
    pending.push(face);
    $("news").textContent = `${pending.length} new ↑`;
    $("news").hidden = false;
  } else add([face]);
}

function add(some) {
  for (const face of some) {
    if (faces.some((known) => known.key === face.key)) continue;
    let index = 0;
    while (index < faces.length && faces[index].name > face.name) index += 1;
    // Further back than what is loaded: it is found there when somebody looks.
    if (index === faces.length && faces.length && !complete) continue;
    faces.splice(index, 0, face);
  }
  if (faces.length > KEPT_LIVE && scrollY < row) {
    faces.length = KEPT_LIVE;
    complete = false;
  }
  requestAnimationFrame(layOut);
}

setInterval(() => {
  if (!arrived.size) return;
  $("said").textContent = [...arrived].map(([camera, count]) => `${count} new from ${camera}`).join(", ");
  arrived = new Map();
}, 10000);

$("news").addEventListener("click", () => {
  add(pending);
  pending = [];
  $("news").hidden = true;
  scrollTo(0, 0);
});

// --- Large -----------------------------------------------------------------------------------------------------------

async function show(face) {
  opened = face;
  const told = about(face);
  $("title").textContent = words(told);
  $("picture").src = image(face);
  $("picture").alt = `Face: ${words(told)}`;
  $("download").href = image(face);
  $("download").download = `${told.edge}-${told.camera}-${face.name.replace("/", "-")}`.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 150) + ".png";
  $("told").textContent = "";
  $("attributes").replaceChildren();
  if (!large.open) large.showModal();
  strip();
  const all = await ask(`api/face?key=${encodeURIComponent(face.key)}`).catch((error) => ({ error }));
  if (opened !== face) return;
  if (all.error) {
    $("attributes").append(make("dt", "It cannot be had"), make("dd", all.error.message));
    return;
  }
  $("share").dataset.link = new URL(all.link, location.href);
  const given = all.attributes, [x, y, width, height] = (given.facebox ?? "").split(",");
  const rows = [["edge", told.edge], ["camera", told.camera], ["seen", told.time ? `${told.time.toLocaleString()} (${ago(since(told.time))} ago)` : told.day],
    ["score", given.score], ["track", given.track], ["face", height && `${width} × ${height} pixels at ${x}, ${y}`],
    ["frame", [given.frame && `number ${given.frame}`, given.framesize?.replace(",", " × ")].filter(Boolean).join(", ")],
    ["sent by", given.identity], ["source", given.identity && decoded(given.source ?? "")], ["id", given.id && decoded(given.id)],
    ["size", `${(given.bytes / 1000).toFixed(1)} kB`]];
  for (const [name, value] of rows) {
    if (!value) continue;
    const pair = make("div");
    pair.append(make("dt", name), make("dd", value));
    $("attributes").append(pair);
  }
}

function strip() {
  const index = faces.indexOf(opened), from = Math.max(0, index - NEIGHBOURS);
  // As time goes: the older ones at the left.
  const shown = index < 0 ? [opened] : faces.slice(from, index + NEIGHBOURS + 1).reverse();
  $("neighbours").replaceChildren(...shown.map((face) => {
    const button = make("button"), picture = new Image();
    picture.src = image(face);
    picture.alt = "";
    button.setAttribute("aria-label", words(about(face)));
    if (face === opened) button.setAttribute("aria-current", "true");
    button.append(picture);
    button.addEventListener("click", () => show(face));
    return button;
  }));
  $("newer").disabled = index <= 0;
  $("older").disabled = index < 0 || index === faces.length - 1;
  const known = faces.length;
  if (index >= known - NEIGHBOURS) more().then(() => { if (opened && faces.length > known) strip(); });
}

function step(by) {
  const face = faces[faces.indexOf(opened) + by];
  if (face) show(face);
}

place.addEventListener("click", (event) => {
  const key = event.target.closest("button")?.dataset.key;
  if (key) show(faces.find((face) => face.key === key));
});
place.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  const index = shown.findIndex((face) => face.key === document.activeElement.dataset.key), next = shown[index + moves];
  if (!moves || index < 0 || !next) return;
  event.preventDefault();
  focus(next);
});

function focus(face) {
  const y = Math.floor(shown.indexOf(face) / columns) * row + place.getBoundingClientRect().top;
  if (y < 60 || y + row > innerHeight) scrollBy(0, y < 60 ? y - 60 : y + row - innerHeight + 10);
  paint();
  drawn.get(face.key)?.firstChild.focus({ preventScroll: true });
}

large.addEventListener("keydown", (event) => {
  // Older is to the left, as in the strip.
  if (event.key === "ArrowLeft") step(1);
  else if (event.key === "ArrowRight") step(-1);
  else return;
  event.preventDefault();
});
large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
large.addEventListener("close", () => {
  if (opened && shown.includes(opened)) focus(opened);
  opened = null;
});
$("close").addEventListener("click", () => large.close());
$("newer").addEventListener("click", () => step(-1));
$("older").addEventListener("click", () => step(1));
$("share").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("share").dataset.link);
    $("told").textContent = "Copied: it works for an hour, for whoever has it.";
  } catch { $("told").textContent = $("share").dataset.link; }
});

// --- Beginning -------------------------------------------------------------------------------------------------------

$("camera").addEventListener("change", () => { hours(); anew(); days().catch(trouble); });
$("day").addEventListener("change", () => { hours(); anew(); });
$("hour").addEventListener("change", anew);
$("group").addEventListener("change", layOut);
addEventListener("scroll", () => {
  requestAnimationFrame(paint);
  if (pending.length && scrollY < row) $("news").click();
}, { passive: true });
new ResizeObserver(layOut).observe(place.parentElement);
if (innerWidth <= 960) $("health").open = false;
hours();
listen();
anew();
cameras();

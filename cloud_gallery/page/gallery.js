// One list of faces, the newest first, of which only what is on the screen exists as elements.

import { about, ask, clock, dayOf, decoded, image, pad, words } from "./faces.js";
import { ago, draw, make, why } from "./health.js";
import { show, within } from "./large.js";

const SMALLEST = 150; // pixels, of a card's side
const GAP = 10, CAPTION = 44;
const AHEAD = 1.5; // screens above and below that are drawn as well
const KEPT_LIVE = 2000; // faces in the list while it grows at its top
const TRACKS = 25; // asked for at a time

const $ = (id) => document.getElementById(id);
const place = $("faces");

let faces = []; // {key, name}, the newest first
let shown = []; // those that have a card: all, or the newest of each track
let pending = []; // that came while somebody looks further down
let missed = false; // whether there are more than those
let drawn = new Map(); // key to element
let tracks = new Map(); // key to track, or "" where there is none
let columns = 1, side = SMALLEST, row = SMALLEST;
let isListed = false, complete = false, loading = null;
let health = null, heardAt = 0;
const storedAt = new Map(); // edge and camera to when a face of it was last heard of
let arrived = new Map(); // camera to how many came since it was last said
let isGroupingChosen = false;
let asked = 0; // which list is the present one

// --- Asking ----------------------------------------------------------------------------------------------------------

function trouble(error) {
  const text = error ? (error instanceof TypeError || error.name === "TimeoutError" ? "The gallery does not answer." : error.message) : "";
  if ($("trouble").textContent !== text) $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function anew() {
  asked += 1;
  $("news").hidden = true;
  faces = []; pending = []; missed = isListed = complete = false; loading = null;
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
    const before = isListed ? faces.at(-1)?.name ?? until() : until();
    const found = await ask(`api/faces?in=${encodeURIComponent(inFolder())}&before=${encodeURIComponent(before)}`);
    if (mine !== asked) return;
    trouble(null);
    const known = new Set(faces.map((face) => face.key)), last = found.faces.at(-1);
    complete = !last;
    // What came before the list may be from further back than that reaches: it is found there when somebody looks.
    if (!isListed && last) faces = faces.filter((face) => face.name >= last.name);
    // The first list may be one that was made before; in a moment it is made anew for whoever asks.
    if (!isListed) setTimeout(() => { if (mine === asked) catchUp(); }, 1500);
    isListed = true;
    faces.push(...found.faces.filter((face) => !known.has(face.key)));
    faces.sort((one, other) => (one.name < other.name ? 1 : -1));
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

// What came while nothing was told.
async function catchUp() {
  if (!isLive() || !isListed) return;
  const mine = asked;
  try {
    const found = (await ask(`api/faces?in=${encodeURIComponent(inFolder())}&fresh`)).faces;
    if (mine !== asked) return;
    trouble(null);
    cameras();
    if (!found.length) return;
    if (found.some((face) => faces.some((known) => known.key === face.key))) for (const face of found) arrive(face);
    else if (scrollY <= row) await anew();
    else {
      missed = true;
      offer();
    }
  } catch (error) {
    if (mine !== asked) return;
    trouble(error);
    setTimeout(() => { if (mine === asked) catchUp(); }, 3000);
  }
}

// --- What is chosen --------------------------------------------------------------------------------------------------

const inFolder = () => $("camera").value;
const isLive = () => !$("day").value;
const isNobody = () => inFolder() === "faces/unattributed/";

function until() {
  if (isLive()) return "";
  // Hours are those of who looks; keys have UTC, and of what has no sender only the day.
  const end = new Date(`${$("day").value}T00:00:00${isNobody() ? "Z" : ""}`);
  if (isNobody()) end.setUTCDate(end.getUTCDate() + 1);
  else end.setHours(Number($("hour").value || 24));
  const digits = end.toISOString().replace(/[-:]/g, "");
  return isNobody() ? digits.slice(0, 8) : digits.slice(0, 15);
}

let camerasTold = null;
async function cameras() {
  try {
    const told = await ask("api/cameras"), chosen = inFolder(), edges = new Map();
    $("logout").hidden = !told.login;
    // A list that somebody has open just now is left alone.
    if (told.cameras.join() === camerasTold) return await days();
    camerasTold = told.cameras.join();
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
    if (select.selectedIndex < 0) {
      select.value = "";
      choose();
    }
    await days();
  } catch (error) { trouble(error); }
}

let daysTold = null;
async function days() {
  const told = await ask(`api/days?in=${encodeURIComponent(inFolder())}`), chosen = $("day").value;
  // Those of who looks, which a day of the bucket, in UTC, may have two of.
  const times = isNobody() ? ["T12:00:00"] : ["T00:00:00Z", "T23:59:59Z"];
  const some = new Set(told.days.flatMap((day) => times.map((time) => localDay(day.replaceAll("/", "-") + time))));
  const passed = [...some].filter((day) => day <= localDay(Date.now())).sort().reverse();
  if (passed.join() === daysTold) return;
  daysTold = passed.join();
  $("day").replaceChildren(new Option("Now", ""), ...passed.map((day) => new Option(dayOf(new Date(`${day}T12:00:00`)), day)));
  $("day").value = chosen;
  if ($("day").selectedIndex < 0) $("day").value = "";
}

function localDay(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

function hours() {
  $("hour").parentElement.hidden = isLive() || isNobody();
  const kept = $("hour").value;
  $("hour").replaceChildren(...Array.from({ length: 24 }, (_, index) => new Option(`${pad(24 - index)}:00`, String(24 - index))));
  $("hour").value = isLive() || isNobody() ? "24" : kept || "24";
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
  picture.addEventListener("error", () => element.classList.add("gone"));
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
  source.addEventListener("face", (event) => {
    const face = JSON.parse(event.data), told = about(face);
    storedAt.set(`${told.edge}/${told.camera}`, Date.now());
    arrive(face);
  });
  source.addEventListener("health", (event) => {
    const wasLive = health?.live ?? true;
    health = JSON.parse(event.data);
    if (health.live && !wasLive) catchUp();
    heardAt = performance.now();
    const [text, colour] = draw($("programs"), health, storedAt);
    tell($("summary"), text, colour);
    tell($("status"), health.live ? "live" : "not live: the broker is away", health.live ? "good" : "bad");
    // Several pictures of a track are seldom wanted where only the best are published, until somebody says so.
    const best = health.edges.flatMap((edge) => edge.health?.cameras ?? []).some((camera) => camera.selection === "best");
    if (best && !isGroupingChosen && !$("group").checked) {
      $("group").checked = true;
      layOut();
    }
    if (!$("empty").hidden) $("empty").firstChild.textContent = emptiness();
  });
  let wasOpen = false;
  source.addEventListener("open", () => {
    if (wasOpen) catchUp();
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
  const told = about(face);
  if (!isLive() || !face.key.startsWith(inFolder())) return;
  if (![...$("camera").options].some((option) => option.value && face.key.startsWith(option.value))) cameras();
  if ([...faces, ...pending].some((known) => known.key === face.key)) return;
  face.isNew = true;
  arrived.set(told.camera, (arrived.get(told.camera) ?? 0) + 1);
  if (scrollY > row) {
    pending.push(face);
    offer();
  } else add([face]);
}

function add(some) {
  for (const face of some) {
    if (faces.some((known) => known.key === face.key)) continue;
    let index = 0;
    while (index < faces.length && faces[index].name > face.name) index += 1;
    // Further back than what is loaded: it is found there when somebody looks.
    if (index === faces.length && isListed && !complete) continue;
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

// Nobody's page moves by itself while they look further down.
function offer() {
  $("news").textContent = missed ? "Newer ones ↑" : `${pending.length} new ↑`;
  $("news").hidden = false;
}

$("news").addEventListener("click", () => {
  if (missed) {
    anew();
    return;
  }
  add(pending);
  pending = [];
  $("news").hidden = true;
  scrollTo(0, 0);
});

// --- Large -----------------------------------------------------------------------------------------------------------

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

// --- Beginning -------------------------------------------------------------------------------------------------------

// What is chosen stands in the address: it survives a reload, and can be sent to somebody.
function remember() {
  const chosen = new URLSearchParams();
  if (inFolder()) chosen.set("in", inFolder());
  if (!isLive()) chosen.set("day", $("day").value);
  if (!isLive() && !isNobody()) chosen.set("until", $("hour").value);
  if (isGroupingChosen) chosen.set("group", Number($("group").checked));
  history.replaceState(null, "", chosen.size ? `#${chosen}` : location.pathname);
}

function recall() {
  const chosen = new URLSearchParams(location.hash.slice(1)), folder = chosen.get("in") ?? "", day = chosen.get("day") ?? "";
  if (/^faces\/[^/]+\/([^/]+\/)?$/.test(folder)) $("camera").add(new Option(decoded(folder), folder, true, true));
  if (/^\d{4}-\d\d-\d\d$/.test(day) && Date.parse(day)) $("day").add(new Option(day, day, true, true));
  hours();
  if (!isLive() && /^([1-9]|1\d|2[0-4])$/.test(chosen.get("until"))) $("hour").value = chosen.get("until");
  isGroupingChosen = chosen.has("group");
  $("group").checked = chosen.get("group") === "1";
}

function choose() {
  hours();
  remember();
  anew();
}

$("camera").addEventListener("change", () => { choose(); days().catch(trouble); });
$("day").addEventListener("change", choose);
$("hour").addEventListener("change", choose);
$("group").addEventListener("change", () => { isGroupingChosen = true; remember(); layOut(); });
addEventListener("hashchange", () => location.reload());
addEventListener("scroll", () => {
  requestAnimationFrame(paint);
  if (!$("news").hidden && scrollY < row) $("news").click();
}, { passive: true });
new ResizeObserver(layOut).observe(place.parentElement);
if (innerWidth <= 960) $("health").open = false;
within({ faces: () => faces, more, closed: (face) => { if (shown.includes(face)) focus(face); } });
recall();
listen();
anew();
cameras();

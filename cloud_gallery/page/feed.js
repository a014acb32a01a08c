// The faces on the page. Now: in the order in which they arrived, and before those by their time. On a day: by their time.

import { $, about, ask, trouble } from "./faces.js";
import { cameras, inFolder, isLive, knowsCameraOf, until } from "./menus.js";

const KEPT_LIVE = 2000; // faces in the list while it grows at its top
const TRACKS = 25; // asked for at a time
const AGAIN = 1500; // ms after which the gallery lists anew; it gives the same answer again for a second

export const feed = {
  faces: [], // {key, name}, as they are shown
  shown: [], // the faces that have a card: all, or the newest of each track
  complete: false, // whether there are no older ones
  changed: () => {}, // called after each change
  isAtTop: () => true,
};
let pending = []; // arrived while somebody looks further down
let missed = false; // whether more than those arrived
let tracks = new Map(); // key to track, or "" where there is none
let arrived = new Map(); // camera to how many arrived since the last announcement
let isListed = false, loading = null;
let before = "", begin = ""; // where the list goes on, and where it went on at first
let asked = 0; // the number of the present list

export async function anew() {
  asked += 1;
  $("news").hidden = true;
  feed.faces = []; pending = []; feed.complete = missed = isListed = false; loading = null;
  scrollTo(0, 0);
  feed.changed(true);
  await more();
}

const listOf = (rest) => ask(`api/faces?in=${encodeURIComponent(inFolder())}${rest}`);

// Loads older ones.
export async function more() {
  if (feed.complete || loading === asked) return;
  const mine = loading = asked;
  $("more").textContent = feed.faces.length ? "loading older ones …" : "loading …";
  try {
    const isFirst = !isListed, from = !isFirst ? before : isLive() ? "" : until();
    const found = await listOf(from && `&before=${encodeURIComponent(from)}`);
    if (mine !== asked) return;
    trouble(null);
    before = found.before;
    if (isFirst) begin = before;
    feed.complete = !found.faces.length;
    isListed = true;
    // The gallery may have made the first list a while ago. In a moment it makes a new one.
    if (isFirst) catchUpLater();
    const known = new Set(feed.faces.map((face) => face.key));
    feed.faces.push(...found.faces.filter((face) => !known.has(face.key)));
    loading = null;
    $("more").textContent = feed.complete && feed.faces.length ? "That is all." : "";
    feed.changed();
  } catch (error) {
    if (mine !== asked) return;
    trouble(error);
    $("more").textContent = "";
    setTimeout(() => { if (mine === asked) { loading = null; more(); } }, 3000);
  }
}

// Adds the faces that arrived while no events came. The gallery lists the bucket, unless it `knows` what arrived. Its
// answer may be of a moment before, so it is asked once more, unless this is the `last` time.
export async function catchUp({ knows = false, last = false } = {}) {
  if (!isLive() || !isListed) return;
  const mine = asked;
  try {
    const found = (await listOf(knows ? "" : "&fresh")).faces;
    if (mine !== asked) return;
    trouble(null);
    if (!knows && !last) catchUpLater();
    if (!knows) cameras();
    if (!found.length) return;
    const known = new Set([...feed.faces, ...pending].map((face) => face.key));
    if (found.some((face) => known.has(face.key))) found.reverse().forEach(arrive);
    else if (feed.isAtTop()) await anew();
    else {
      missed = true;
      offer();
    }
  } catch (error) {
    if (mine !== asked) return;
    trouble(error);
    if (!knows) setTimeout(() => { if (mine === asked) catchUp(); }, 3000);
  }
}

let later = 0;
function catchUpLater() {
  const mine = asked;
  clearTimeout(later);
  later = setTimeout(() => { if (mine === asked) catchUp({ last: true }); }, AGAIN);
}

export function arrive(face) {
  if (!isLive() || !face.key.startsWith(inFolder())) return;
  if (!knowsCameraOf(face)) cameras();
  if ([...feed.faces, ...pending].some((known) => known.key === face.key)) return;
  const { camera } = about(face);
  arrived.set(camera, (arrived.get(camera) ?? 0) + 1);
  face.isNew = true;
  if (feed.isAtTop()) add([face]);
  else {
    pending.push(face);
    offer();
  }
}

function add(some) {
  feed.faces.unshift(...some.reverse());
  if (feed.faces.length > KEPT_LIVE && feed.isAtTop()) {
    feed.faces.length = KEPT_LIVE;
    feed.complete = false;
    before = begin;
  }
  changeSoon();
}

// Not at the next animation frame: a window that is covered has none, and would stay behind.
let isDue = false;
function changeSoon() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => { isDue = false; feed.changed(); }, 20);
}

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

setInterval(() => {
  if (!arrived.size) return;
  $("said").textContent = [...arrived].map(([camera, count]) => `${count} new from ${camera}`).join(", ");
  arrived = new Map();
}, 10000);

// Chooses the faces that have a card.
export function arrange() {
  const newest = new Map(), isGrouped = $("group").checked;
  feed.shown = feed.faces.filter((face) => {
    const track = isGrouped && tracks.get(face.key), name = track && `${face.key.slice(0, face.key.indexOf("/20"))} ${track}`;
    const first = name && newest.get(name);
    face.count = 1;
    if (first) first.count += 1;
    else if (name) newest.set(name, face);
    return !first;
  });
}

let finding = false;
// Asks for the tracks of some faces; false where all are known.
export function findTracks() {
  const keys = $("group").checked ? feed.faces.map((face) => face.key).filter((key) => !tracks.has(key)).slice(0, TRACKS) : [];
  if (keys.length && !finding) askFor(keys);
  return keys.length > 0;
}

async function askFor(keys) {
  finding = true;
  try {
    const told = await ask(`api/tracks?${keys.map((key) => `key=${encodeURIComponent(key)}`).join("&")}`);
    if (tracks.size > 20000) tracks = new Map();
    for (const key of keys) tracks.set(key, told.tracks[key] ?? "");
    finding = false;
    changeSoon();
  } catch (error) {
    trouble(error);
    setTimeout(() => { finding = false; feed.changed(); }, 3000);
  }
}

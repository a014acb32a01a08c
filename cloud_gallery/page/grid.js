// Cards of faces. Only what is on the screen, and near it, exists as elements.

import { $, about, ask, clock, dayOf, image, pad, shortDay, words } from "./faces.js";
import { arrange, feed, findTracks, more } from "./feed.js";
import { make } from "./health.js";
import { show, within } from "./large.js";
import { isLive, localDay } from "./menus.js";

const SMALLEST = 150; // pixels, of a card's side
const GAP = 10, CAPTION = 44;
const AHEAD = 1.5; // screens above and below that are drawn as well

const place = $("faces");
let drawn = new Map(); // key to element
let columns = 1, side = SMALLEST, row = SMALLEST;
let emptiness = () => "";

export function layOut(isAnew = false) {
  if (isAnew) {
    place.replaceChildren();
    drawn = new Map();
  }
  arrange();
  const width = place.clientWidth;
  columns = Math.max(2, Math.floor((width + GAP) / (SMALLEST + GAP)));
  side = (width - (columns - 1) * GAP) / columns;
  row = side + CAPTION + GAP;
  place.style.height = `${Math.ceil(feed.shown.length / columns) * row}px`;
  paint(isAnew);
}

function paint(isAnew = false) {
  const top = place.getBoundingClientRect().top, screen = innerHeight, shown = feed.shown;
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
    element.ariaSetSize = feed.complete ? shown.length : -1;
    if (face.count > 1) element.dataset.count = face.count;
    else delete element.dataset.count;
    wanted.set(face.key, element);
    drawn.delete(face.key);
  }
  for (const element of drawn.values()) element.remove();
  // The Tab key follows the elements' order. An element in its right place stays there.
  let before = null;
  for (const element of wanted.values()) {
    const next = before ? before.nextSibling : place.firstChild;
    if (element !== next) place.insertBefore(element, next);
    before = element;
  }
  drawn = wanted;
  label(Math.max(0, Math.floor(-top / row)) * columns);
  if (!findTracks() && last >= shown.length - 2 * columns && !isAnew) more();
}

function card(face) {
  const element = make("article", "", "face"), button = make("button"), picture = new Image();
  const told = about(face), caption = make("span");
  // Now shows faces of any day: late ones, and those of cameras whose clocks are wrong. A day is followed by those before.
  const isOfDay = told.time && localDay(told.time) === ($("day").value || localDay(Date.now()));
  caption.append(make("b", !told.time ? told.day : isOfDay ? clock(told.time) : `${shortDay(told.time)}, ${clock(told.time).slice(0, 5)}`));
  caption.append(make("i", told.camera));
  picture.alt = "";
  picture.decoding = "async";
  picture.addEventListener("error", () => explain(face, element));
  picture.src = image(face);
  button.append(picture, caption);
  button.setAttribute("aria-label", words(told));
  button.dataset.key = face.key;
  element.append(button);
  if (face.isNew) element.classList.add("new");
  face.isNew = false;
  return element;
}

// An image does not tell why it failed. Asked again, the gallery says it in words.
async function explain(face, element) {
  const error = await ask(image(face)).catch((each) => each);
  element.dataset.why = error.archived ? "archived" : error.status === 404 && error.archived === undefined ? "no longer there" : "cannot be shown now";
  element.classList.add("gone");
}

function label(index) {
  const face = feed.shown[index], told = face && about(face);
  $("when").textContent = isLive() && index === 0 ? "Latest" : !told ? "" : told.time
    ? `${dayOf(told.time)}, ${pad(told.time.getHours())}:${pad(told.time.getMinutes())}` : told.day;
  $("empty").hidden = feed.faces.length > 0 || !feed.complete;
  sayEmpty();
}

export function sayEmpty() {
  if (!$("empty").hidden) $("empty").firstChild.textContent = emptiness();
}

function focus(face) {
  const y = Math.floor(feed.shown.indexOf(face) / columns) * row + place.getBoundingClientRect().top;
  if (y < 60 || y + row > innerHeight) scrollBy(0, y < 60 ? y - 60 : y + row - innerHeight + 10);
  paint();
  drawn.get(face.key)?.firstChild.focus({ preventScroll: true });
}

// `why` says why there is no face.
export function begin({ why }) {
  emptiness = why;
  feed.changed = layOut;
  feed.isAtTop = () => scrollY <= row;
  place.addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.key;
    if (key) show(feed.faces.find((face) => face.key === key));
  });
  place.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    const index = feed.shown.findIndex((face) => face.key === document.activeElement.dataset.key), next = feed.shown[index + moves];
    if (!moves || index < 0 || !next) return;
    event.preventDefault();
    focus(next);
  });
  addEventListener("scroll", () => {
    requestAnimationFrame(() => paint());
    if (!$("news").hidden && feed.isAtTop()) $("news").click();
  }, { passive: true });
  new ResizeObserver(() => layOut()).observe(place.parentElement);
  within({ faces: () => feed.faces, more, closed: (face) => { if (feed.shown.includes(face)) focus(face); } });
}

// One face, large: its attributes, and the faces before and after it.

import { $, about, ask, decoded, image, words } from "./faces.js";
import { ago, make, since } from "./health.js";

const NEIGHBOURS = 4; // on either side

const large = $("large");

let list = null; // {faces, the newest first; more, which loads older ones; closed}
let opened = null;
let broken = null; // the last face whose picture cannot be shown
let link = ""; // to the opened one, for anybody

export function within(given) {
  list = given;
}

export async function show(face) {
  opened = face;
  broken = null;
  const told = about(face), age = told.time && since(told.time);
  $("title").textContent = words(told);
  $("picture").src = image(face);
  $("picture").alt = `Face: ${words(told)}`;
  $("download").href = image(face);
  $("download").download = `${told.edge}-${told.camera}-${face.name.replace("/", "-")}`.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 150) + ".png";
  $("told").textContent = "";
  $("picture").hidden = false;
  $("failed").hidden = true;
  offer("");
  $("attributes").replaceChildren();
  if (!large.open) large.showModal();
  strip();
  const all = await ask(`api/face?key=${encodeURIComponent(face.key)}`).catch((error) => ({ error }));
  if (opened !== face) return;
  if (all.error) {
    $("attributes").append(make("dt", "Not available"), make("dd", all.error.message));
    return;
  }
  if (all.archived) fail(all.archived);
  // The gallery's own links begin with a slash, and it may be served below a folder.
  else if (broken !== face) offer(new URL(all.link.replace(/^\//, ""), location.href).href);
  const given = all.attributes, [x, y, width, height] = (given.facebox ?? "").split(",");
  const rows = [["edge", told.edge], ["camera", told.camera], ["seen", told.time ? `${told.time.toLocaleString()} (${age < -60 ? "ahead of this clock" : `${ago(age)} ago`})` : told.day],
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

// Says in the picture's place why it cannot be seen.
function fail(text) {
  $("picture").hidden = true;
  $("failed").hidden = false;
  $("failed").textContent = text;
  offer("");
}

// Offers a link and a download, or neither where there is no `url`.
function offer(url) {
  link = url;
  $("share").disabled = !url;
  $("download").hidden = !url;
}

function strip() {
  const faces = list.faces(), index = faces.indexOf(opened), from = Math.max(0, index - NEIGHBOURS);
  // As time goes: the older ones at the left.
  const shown = index < 0 ? [opened] : faces.slice(from, index + NEIGHBOURS + 1).reverse();
  $("neighbours").replaceChildren(...shown.map((face) => {
    const button = make("button"), picture = new Image();
    picture.src = image(face);
    picture.alt = "";
    picture.addEventListener("error", () => picture.remove());
    button.setAttribute("aria-label", words(about(face)));
    if (face === opened) button.setAttribute("aria-current", "true");
    button.append(picture);
    button.addEventListener("click", () => show(face));
    return button;
  }));
  $("newer").disabled = index <= 0;
  $("older").disabled = index < 0 || index === faces.length - 1;
  const known = faces.length;
  if (index >= known - NEIGHBOURS) list.more().then(() => { if (opened && list.faces().length > known) strip(); });
}

function step(by) {
  const faces = list.faces(), face = faces[faces.indexOf(opened) + by];
  if (face) show(face);
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
  const face = opened;
  opened = null;
  list.closed(face);
});
$("close").addEventListener("click", () => large.close());
$("newer").addEventListener("click", () => step(-1));
$("older").addEventListener("click", () => step(1));
$("picture").addEventListener("error", async () => {
  const face = broken = opened, error = await ask(image(face)).catch((each) => each);
  if (opened === face && error instanceof Error && $("failed").hidden) fail(error.message);
});
$("share").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(link);
    $("told").textContent = "Copied. The link works for an hour, for everybody who has it.";
  } catch { $("told").textContent = link; }
});

// What is shown: camera, day and hour. It stands in the address, so it survives a reload, and can be sent to somebody.

import { $, ask, dayOf, decoded, pad, trouble } from "./faces.js";

export const inFolder = () => $("camera").value;
export const isLive = () => !$("day").value;
const isNobody = () => inFolder() === "faces/unattributed/";

export let isGroupingChosen = false;
let changed = () => {};

// The name before which the faces of the chosen day and hour begin.
export function until() {
  // Keys are in UTC. People choose hours of their own time zone. Pictures without a sender have only a day, in UTC.
  const end = new Date(`${$("day").value}T00:00:00${isNobody() ? "Z" : ""}`);
  if (isNobody()) end.setUTCDate(end.getUTCDate() + 1);
  else end.setHours(Number($("hour").value || 24));
  const digits = end.toISOString().replace(/[-:]/g, "");
  return isNobody() ? digits.slice(0, 8) : digits.slice(0, 15);
}

let camerasTold = null;
export async function cameras() {
  try {
    const told = await ask("api/cameras"), chosen = inFolder(), edges = new Map();
    $("logout").hidden = !told.login;
    // Somebody may have the list open: it is only drawn anew when it has changed.
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

export const knowsCameraOf = (face) => [...$("camera").options].some((option) => option.value && face.key.startsWith(option.value));

let daysTold = null;
async function days() {
  const told = await ask(`api/days?in=${encodeURIComponent(inFolder())}`), chosen = $("day").value;
  const today = localDay(Date.now()), todayOfStore = new Date().toISOString().slice(0, 10).replaceAll("-", "/");
  const found = new Set();
  for (const day of told.days) {
    // A day of the bucket, in UTC, is a part of two days elsewhere.
    for (const time of isNobody() ? ["T12:00:00"] : ["T00:00:00Z", "T23:59:59Z"]) {
      const local = localDay(day.replaceAll("/", "-") + time);
      if (local <= today || day > todayOfStore) found.add(local);
    }
  }
  const all = [...found].sort().reverse();
  if (all.join() === daysTold) return;
  daysTold = all.join();
  const option = (day) => new Option(dayOf(new Date(`${day}T12:00:00`)), day);
  const ahead = document.createElement("optgroup");
  ahead.label = "Ahead: a camera's clock is wrong";
  ahead.append(...all.filter((day) => day > today).map(option));
  $("day").replaceChildren(new Option("Now", ""), ...all.filter((day) => day <= today).map(option), ...(ahead.children.length ? [ahead] : []));
  $("day").value = chosen;
  if ($("day").selectedIndex < 0) $("day").value = "";
}

export function localDay(time) {
  const date = new Date(time);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
}

function hours() {
  $("hour").parentElement.hidden = isLive() || isNobody();
  const kept = $("hour").value;
  $("hour").replaceChildren(...Array.from({ length: 24 }, (_, index) => new Option(`${pad(24 - index)}:00`, String(24 - index))));
  $("hour").value = isLive() || isNobody() ? "24" : kept || "24";
}

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
  changed();
}

// `choice` is called after each other choice, `grouping` when tracks are to be shown otherwise.
export function choosing({ choice, grouping }) {
  changed = choice;
  $("camera").addEventListener("change", () => { choose(); days().catch(trouble); });
  $("day").addEventListener("change", choose);
  $("hour").addEventListener("change", choose);
  $("group").addEventListener("change", () => { isGroupingChosen = true; remember(); grouping(); });
  addEventListener("hashchange", () => location.reload());
  recall();
}

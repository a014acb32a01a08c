// The page: its parts, put together.

import { $, about, decoded } from "./faces.js";
import { listen } from "./events.js";
import { anew, arrive, catchUp, feed } from "./feed.js";
import { begin, sayEmpty } from "./grid.js";
import { ago, draw, why } from "./health.js";
import { cameras, choosing, inFolder, isGroupingChosen, isLive } from "./menus.js";

let health = null;
const storedAt = new Map(); // edge and camera to when a face of it was last heard of

function say(element, text, colour, more = "") {
  if (element.textContent !== text) element.textContent = text;
  element.className = `state ${colour}`;
  element.title = more;
}

function sayState() {
  if (!health.live) say($("status"), "not live: the broker is away", "bad");
  else if (!health.isPolled) say($("status"), "live", "good");
  else if (!health.isHeldBack) say($("status"), "live, every 3 s", "good");
  else {
    say($("status"), "live, every 3 s: a proxy holds events back", "wait",
      "The proxy between must pass events on at once, without a buffer: see “nginx” in the gallery's documentation.");
  }
}

begin({
  why: () => {
    const [, edge, camera] = inFolder().split("/");
    const name = camera ? `${decoded(edge)}/${decoded(camera)}` : "";
    return isLive() ? `No face yet: ${why(health, name)}` : "No face before this time. Choose another day, or Now.";
  },
});
if (innerWidth <= 960) $("health").open = false;
choosing({ choice: anew, grouping: feed.changed });
listen({
  face: (face) => {
    const { edge, camera } = about(face);
    storedAt.set(`${edge}/${camera}`, Date.now());
    arrive(face);
  },
  health: (told) => {
    const wasLive = health?.live ?? true;
    health = told;
    if (health.live && !wasLive) catchUp();
    else if (health.live && health.isPolled) catchUp({ knows: true });
    const [text, colour] = draw($("programs"), health, storedAt);
    say($("summary"), text, colour);
    sayState();
    // Where cameras publish the best pictures only, one card a track is enough, until somebody chooses otherwise.
    const best = health.edges.flatMap((edge) => edge.health?.cameras ?? []).some((camera) => camera.selection === "best");
    if (best && !isGroupingChosen && !$("group").checked) {
      $("group").checked = true;
      feed.changed();
    }
    sayEmpty();
  },
  open: () => catchUp(),
  silent: (seconds) => {
    say($("status"), "no word from the gallery", "bad");
    say($("summary"), health ? `unknown; this is ${ago(seconds)} old` : "nothing heard yet", "bad");
  },
});
anew();
cameras();
document.body.dataset.runs = "yes";

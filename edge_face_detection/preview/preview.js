// Asks for one picture after the other, and draws what is known about its faces over it.

const PAUSE = 100; // milliseconds between pictures
const RETRY = 1500; // and after a failure
const TRIED = ["MIN_FACE_SIZE", "MIN_SHARPNESS", "FACE_MARGIN"];
const NEAR = 14; // pixels of the screen at which a click closes the polygon

const $ = (id) => document.getElementById(id);
const stage = $("stage"), overlay = $("overlay"), picture = $("picture");
const viewer = crypto.randomUUID();

let shown = { number: -1, size: [640, 480], faces: [] }; // the picture, and what is in it
let settings = null; // as the program has them: name to {value, description}
let polygons = []; // of the mask, finished ones: lists of [x, y] in fractions of the frame
let before = "[]"; // those that the program has
let corners = []; // of the polygon that is being drawn
let point = null; // where the pointer or the keys are, as [x, y]
let drawing = false;

// --- Asking ----------------------------------------------------------------------------------------------------------

async function look() {
  let wait = RETRY;
  try {
    const answer = await fetch(`state?viewer=${viewer}&after=${shown.number}`, { signal: AbortSignal.timeout(8000) });
    if (answer.ok) {
      take(await answer.json());
      wait = PAUSE;
    } else {
      tell("no picture", await answer.text());
    }
  } catch {
    tell("no answer", "The detector does not answer: is it running?");
  }
  if (document.hidden) document.addEventListener("visibilitychange", look, { once: true });
  else setTimeout(look, wait);
}

function take(state) {
  if (!settings) begin(state);
  $("fps").textContent = state.fps === null ? "–" : state.fps.toFixed(1);
  $("cpu").textContent = state.cpu_ms === null ? "–" : `${state.cpu_ms.toFixed(1)} ms`;
  if (state.source_is !== "up") {
    shown = { ...shown, number: -1, faces: [] };
    picture.removeAttribute("src");
    const paused = "Paused by an operator: the camera is closed.";
    tell(state.source_is, state.source_is === "paused" ? paused : state.trouble ?? "No frames come.");
  } else {
    tell("live", "");
    if ("picture" in state) {
      shown = state;
      picture.src = state.picture;
      picture.dataset.frame = state.number;
      picture.alt = `${state.faces.length} faces`;
      stage.style.aspectRatio = state.size.join(" / ");
      stage.style.setProperty("--shape", state.size[0] / state.size[1]);
      $("size").textContent = state.size.join("×");
    }
  }
  draw();
}

function begin(state) {
  settings = state.settings;
  $("camera").textContent = state.camera;
  $("source").textContent = `${state.edge} · ${state.source}`;
  document.title = `${state.camera} · preview`;
  polygons = structuredClone(state.mask);
  before = JSON.stringify(polygons);
  for (const name of TRIED) {
    const value = Number(settings[name].value), input = $(name);
    input.max = Math.max(input.max, 2 * value);
    input.value = value;
    input.title = settings[name].description;
    input.addEventListener("input", tried);
  }
  $("floor").textContent = ` Faces below ${Math.ceil(settings.MIN_FACE_SIZE.value / 2)} pixels are not looked for.`;
  for (const [name, { value, description }] of Object.entries(settings)) {
    for (const [kind, text] of [["dt", `${name}=${value}`], ["dd", description]]) {
      $("settings").append(Object.assign(document.createElement(kind), { textContent: text }));
    }
  }
  tried();
}

function tell(status, notice) {
  if ($("status").textContent !== status) $("status").textContent = status;
  $("status").className = status === "live" ? "good" : "bad";
  $("notice").textContent = notice;
  $("notice").hidden = !notice;
}

// --- Drawing ---------------------------------------------------------------------------------------------------------

const trial = (name) => Number($(name).value);

function verdict(face) {
  const side = Math.sqrt(face.box[2] * face.box[3]);
  if (side < trial("MIN_FACE_SIZE")) return `too small: ${side} px`;
  if (face.sharpness < trial("MIN_SHARPNESS")) return `too blurred: ${face.sharpness.toFixed(2)}`;
  return "";
}

function add(name, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  overlay.append(element);
}

function draw() {
  if (!settings) return;
  const [width, height] = shown.size, pixel = width / (stage.clientWidth || width);
  const inPixels = (polygon) => polygon.map(([x, y]) => [x * width, y * height]).join(" ");
  overlay.replaceChildren();
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  overlay.style.fontSize = `${13 * pixel}px`;
  for (const polygon of polygons) add("polygon", { class: "mask", points: inPixels(polygon) });
  let taken = 0;
  for (const face of shown.faces) {
    const passed = verdict(face), [x, y, w, h] = face.box;
    if (!passed) {
      taken += 1;
      const across = w * trial("FACE_MARGIN"), down = h * trial("FACE_MARGIN");
      const left = Math.max(0, x - across), right = Math.min(width, x + w + across);
      const top = Math.max(0, y - down), bottom = Math.min(height, y + h + down);
      add("rect", { class: "crop", x: left, y: top, width: right - left, height: bottom - top });
    }
    add("rect", { class: passed ? "passed" : "taken", x, y, width: w, height: h });
    const name = face.track ? `#${face.track} ` : "";
    const lines = passed ? [name + passed] : [
      `${name}${w}×${h}`, `sharp ${face.sharpness.toFixed(2)} · score ${face.score.toPrecision(3)}`];
    label(lines, x, y, w, h, pixel);
  }
  if (shown.number >= 0) $("taken").textContent = `${taken} of ${shown.faces.length}`;
  drawPen(pixel, inPixels);
}

function label(lines, x, y, w, h, pixel) {
  const line = 16 * pixel, space = lines.length * line;
  // Above the face, or where there is no room below it.
  const top = y > space ? y - space + 0.65 * line : Math.min(y + h + line, shown.size[1] - space + line);
  const atRight = x > shown.size[0] * 0.6;
  lines.forEach((text, row) => add("text", {
    x: atRight ? x + w : x, y: top + row * line, "text-anchor": atRight ? "end" : "start" }, text));
}

function drawPen(pixel, inPixels) {
  const [width, height] = shown.size, side = trial("MIN_FACE_SIZE");
  // The smallest face, beside the pointer to hold it against what is seen, or else in a corner.
  const x = point ? point[0] * width - side / 2 : 8 * pixel;
  const y = point ? point[1] * height - side / 2 : height - side - 8 * pixel;
  add("rect", { class: "reference", x, y, width: side, height: side });
  const ends = point && drawing ? [...corners, point] : corners;
  if (ends.length) add("polyline", { class: "open", points: inPixels(ends) });
  for (const [cx, cy] of corners) add("circle", { class: "corner", cx: cx * width, cy: cy * height, r: 5 * pixel });
  if (ends !== corners) {
    add("path", { class: "cross", d: `M0 ${point[1] * height}H${width}M${point[0] * width} 0V${height}` });
  }
}

// --- Trying settings, drawing a mask ---------------------------------------------------------------------------------

const decimals = (value) => String(Math.round(value * 1000) / 1000);
const inText = (polygon) => polygon.map((corner) => corner.map(decimals).join(",")).join(" ");

function tried() {
  $("MIN_FACE_SIZE-now").textContent = `${trial("MIN_FACE_SIZE")} px`;
  $("MIN_SHARPNESS-now").textContent = trial("MIN_SHARPNESS").toFixed(2);
  $("FACE_MARGIN-now").textContent = trial("FACE_MARGIN").toFixed(2);
  const lines = TRIED.filter((name) => trial(name) !== Number(settings[name].value))
    .map((name) => `${name}=${trial(name)}`);
  if (JSON.stringify(polygons) !== before) lines.push(`PRIVACY_MASK="${polygons.map(inText).join("; ")}"`);
  $("lines").textContent = lines.join("\n") || "nothing changed yet";
  $("copy").disabled = !lines.length;
  $("close").disabled = corners.length < 3;
  $("undo").disabled = !(corners.length || polygons.length);
  draw();
}

function setCorner() {
  const rect = stage.getBoundingClientRect();
  const isNear = ([x, y]) => Math.hypot((x - point[0]) * rect.width, (y - point[1]) * rect.height) < NEAR;
  if (corners.length > 2 && isNear(corners[0])) closePolygon();
  else if (!corners.some(isNear)) corners.push(point);
  tried();
}

function closePolygon() {
  if (corners.length < 3) return;
  if (crosses(corners)) {
    $("point").textContent = "its sides cross: take back some corners, or draw two polygons";
    return;
  }
  polygons.push(corners);
  corners = [];
  tried();
}

function crosses(polygon) {
  const turn = ([ax, ay], [bx, by], [cx, cy]) => Math.sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax));
  const sides = polygon.map((corner, index) => [corner, polygon[(index + 1) % polygon.length]]);
  return sides.some(([a, b]) => sides.some(([c, d]) =>
    turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0));
}

function undo() {
  if (corners.length) corners.pop();
  else polygons.pop();
  tried();
}

function pointAt(x, y) {
  point = [x, y].map((value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000);
  const pixels = [Math.round(point[0] * shown.size[0]), Math.round(point[1] * shown.size[1])];
  $("point").textContent = `x ${point[0].toFixed(3)}, y ${point[1].toFixed(3)} (pixel ${pixels.join(", ")})`;
  draw();
}

function pointer(event) {
  const rect = stage.getBoundingClientRect();
  pointAt((event.clientX - rect.left) / rect.width, (event.clientY - rect.top) / rect.height);
}

stage.addEventListener("pointermove", pointer);
stage.addEventListener("pointerleave", () => { point = null; draw(); });
stage.addEventListener("click", (event) => { pointer(event); if (drawing) setCorner(); });
stage.addEventListener("keydown", (event) => {
  const step = event.shiftKey ? 0.05 : 0.005, [x, y] = point ?? [0.5, 0.5];
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const does = { Enter: setCorner, " ": setCorner, c: closePolygon, Backspace: undo };
  if (moves[event.key]) pointAt(x + moves[event.key][0], y + moves[event.key][1]);
  else if (drawing && point && does[event.key]) does[event.key]();
  else return;
  event.preventDefault();
});
$("draw").addEventListener("click", () => {
  drawing = !drawing;
  $("draw").setAttribute("aria-pressed", drawing);
  stage.classList.toggle("drawing", drawing);
  if (drawing) stage.focus({ preventScroll: true });
});
$("close").addEventListener("click", closePolygon);
$("undo").addEventListener("click", undo);
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("lines").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  } catch {
    getSelection().selectAllChildren($("lines")); // to be copied by hand
  }
});
addEventListener("resize", draw);
look();

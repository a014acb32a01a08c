// What a face's key says, and how the page asks the gallery.

export const $ = (id) => document.getElementById(id);

export function about(face) {
  const parts = face.key.split("/"), nobody = parts[1] === "unattributed";
  const date = face.name.slice(0, 8), digits = face.name.slice(9, 22);
  const day = `${date.slice(0, 4)}-${date.slice(4, 6)}-${date.slice(6, 8)}`;
  const time = nobody ? null : new Date(`${day}T${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4, 10)}Z`);
  return { edge: nobody ? "" : decoded(parts[1]), camera: nobody ? "no sender" : decoded(parts[2]), day, time };
}

export function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

export const pad = (number) => String(number).padStart(2, "0");
export const clock = (time) => `${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;
export const dayOf = (time) => time.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short", year: "numeric" });
export const shortDay = (time) => time.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
export const image = (face) => `image?key=${encodeURIComponent(face.key)}`;
export const words = ({ camera, time, day }) => `${camera}, ${time ? `${dayOf(time)}, ${clock(time)}` : day}`;

export async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(60000) });
  if (answer.status === 401) location.assign("login");
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(told.error ?? `The gallery answers ${answer.status}.`), told, { status: answer.status });
  return told;
}

// Shows an error, or hides the last one.
export function trouble(error) {
  const isGone = error instanceof TypeError || error?.name === "TimeoutError";
  const text = isGone ? "The gallery does not answer." : error?.message ?? "";
  if ($("trouble").textContent !== text) $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

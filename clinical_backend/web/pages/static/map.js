// The map of a page: moved, told apart by colours, circled, and what is circled listed below.
const root = document.getElementById("map");
const canvas = document.getElementById("map-canvas");
const tip = document.getElementById("map-tip");
const wait = document.getElementById("map-wait");
const legend = document.getElementById("map-legend");
const chooser = document.getElementById("map-colour");
const selection = document.getElementById("map-selection");
const list = document.getElementById("map-cases");
const alone = document.getElementById("map-one");
const csv = document.getElementById("map-csv");

const NO_SCORE = 255;
const PAGE = 48; // cases that are listed at once, as the server shows them
const STEP = 1.3;
const NEAR = 10; // pixels around the pointer in which a point is meant
const CLICK = 4; // pixels that a hand moves while it clicks
const STILL = 120; // milliseconds after which a thumbnail is asked for

root.hidden = false;
const painter = new Painter(canvas);
let chosen = []; // rows, as they are listed
let part = 0;
let mode = "move";
let hovered = -1;
let waiting = 0;
const asked = new Map(); // what was asked for last, by where it is put

async function load() {
  try {
    painter.take(await (await answerOf(root.dataset.points, "application/octet-stream")).arrayBuffer());
  } catch (error) {
    wait.textContent = `The points cannot be had. ${error.message} Load the page again.`;
    return;
  }
  const { count, columns } = painter.points;
  canvas.setAttribute("aria-label", `Map of ${count.toLocaleString("en")} tasks`);
  wait.hidden = true;
  chooser.replaceChildren(...columns.map((one) => new Option(one.title, one.name)));
  colour(columns[0].name);
  painter.fit();
  root.dataset.ready = "yes";
}

function colour(name) {
  painter.colourBy(name);
  const { column } = painter;
  legend.replaceChildren(...column.names.map((text, code) => entry(text, code)).filter((_, code) => column.counts[code]));
}

function entry(text, code) {
  const { column } = painter;
  const button = document.createElement("button");
  const [swatch, name, count] = ["span", "span", "span"].map((kind) => document.createElement(kind));
  button.type = "button";
  button.className = "map-entry";
  button.setAttribute("aria-pressed", "true");
  swatch.className = `swatch ${column.kinds[code]}`;
  name.textContent = text;
  count.className = "n";
  count.textContent = column.counts[code].toLocaleString("en");
  button.append(swatch, name, " ", count);
  button.addEventListener("click", () => {
    if (!painter.hidden.delete(code)) painter.hidden.add(code);
    button.setAttribute("aria-pressed", String(!painter.hidden.has(code)));
    painter.redraw();
  });
  const item = document.createElement("li");
  item.append(button);
  return item;
}

// What is selected.

function choose(rows) {
  const { points, selected } = painter;
  selected.fill(0);
  rows.forEach((row) => { selected[row] = 1; });
  const score = (row) => (points.scores[row] === NO_SCORE ? -1 : points.scores[row]);
  chosen = rows.sort((a, b) => score(b) - score(a) || points.tasks[a] - points.tasks[b]);
  part = 0;
  painter.redraw();
  const count = chosen.length;
  selection.hidden = !count;
  document.getElementById("map-count").textContent = `${count.toLocaleString("en")} ${count === 1 ? "task" : "tasks"} selected`;
  csv.elements.tasks.value = chosen.map((row) => points.tasks[row]).join(" ");
  if (count) return showPart();
  asked.delete(list);
  list.replaceChildren();
}

async function showPart({ keepTicks = false } = {}) {
  const pages = Math.ceil(chosen.length / PAGE);
  selection.querySelector(".map-pages").hidden = pages < 2;
  document.getElementById("map-part").textContent = `${part + 1} of ${pages}, highest scores first`;
  selection.querySelector("[data-act=before]").disabled = part === 0;
  selection.querySelector("[data-act=after]").disabled = part + 1 >= pages;
  list.setAttribute("aria-busy", "true");
  await fill(list, chosen.slice(part * PAGE, (part + 1) * PAGE), { keepTicks });
  const all = list.querySelector("[data-tick]");
  if (all) all.hidden = false;
}

// Fills a place with the cards of tasks, unless something else was asked for there, or nothing more, before they came.
async function fill(place, rows, { keepTicks = false, single = false } = {}) {
  const tasks = rows.map((row) => `task=${painter.points.tasks[row]}`).join("&");
  const address = `${root.dataset.cases}?${tasks}${single ? "&alone=true" : ""}`;
  const asking = Symbol(address);
  asked.set(place, asking);
  const fresh = document.createElement("template");
  try {
    fresh.innerHTML = await (await answerOf(address, "text/html")).text();
  } catch (error) {
    fresh.content.append(`${error.message} Select again in a moment.`);
  }
  if (asked.get(place) !== asking) return false;
  if (keepTicks) {
    const ticked = new Set([...place.querySelectorAll("input[name=task]:checked")].map((box) => box.value));
    fresh.content.querySelectorAll("input[name=task]").forEach((box) => { box.checked = ticked.has(box.value); });
  }
  place.replaceChildren(fresh.content);
  place.removeAttribute("aria-busy");
  return true;
}

async function lookAt(row) {
  if (!(await fill(alone, [row], { single: true })) || document.querySelector("dialog[open]")) return;
  const link = alone.querySelector("a.look");
  if (link) link.click();
  else tell(alone.textContent.trim() || `Task ${painter.points.tasks[row]} is no longer there.`, true);
}

// What is known of the point under the pointer.

function hover(x, y) {
  const row = painter.pointAt(x, y, NEAR);
  canvas.classList.toggle("meant", row >= 0);
  if (row === hovered) return;
  forget();
  if (row < 0) return;
  hovered = row;
  tip.hidden = false;
  const { points } = painter;
  const known = points.columns.filter((one) => one.codes[row] && !one.steps).map((one) => one.names[one.codes[row]]);
  const score = points.scores[row] === NO_SCORE ? [] : [`score ${(points.scores[row] / 100).toFixed(2)}`];
  tip.querySelector("p").textContent = [`Task ${points.tasks[row]}`, ...known, ...score, `neighbourhood ${points.near[row]}`].join("; ");
  const picture = tip.querySelector("img");
  picture.removeAttribute("src");
  waiting = setTimeout(() => { picture.src = `${root.dataset.images}${points.tasks[row]}.webp`; }, STILL);
  const [across, down] = painter.placeOf(row);
  const below = down + 14 + tip.offsetHeight <= canvas.clientHeight;
  tip.style.left = `${Math.max(0, Math.min(canvas.clientWidth - tip.offsetWidth, across + 14))}px`;
  tip.style.top = `${Math.max(0, below ? down + 14 : down - 14 - tip.offsetHeight)}px`;
}

function forget() {
  clearTimeout(waiting);
  hovered = -1;
  tip.hidden = true;
}

// Mouse, pen and fingers.

const held = new Map();

function placeOf(event) {
  const at = canvas.getBoundingClientRect();
  return [event.clientX - at.left, event.clientY - at.top];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !painter.points) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  forget();
  asked.delete(alone); // who goes on with the map waits for no case that was clicked before
  const at = placeOf(event);
  held.set(event.pointerId, { from: at, at });
  painter.lasso = held.size === 1 && (mode === "lasso" || event.shiftKey) ? [at] : null;
});

canvas.addEventListener("pointermove", (event) => {
  if (!painter.points) return;
  const at = placeOf(event);
  const one = held.get(event.pointerId);
  if (!one) return hover(...at);
  const before = one.at;
  one.at = at;
  if (held.size > 1) pinch(event.pointerId, before);
  else if (painter.lasso) {
    painter.lasso.push(at);
    painter.redraw();
  } else painter.pan(at[0] - before[0], at[1] - before[1]);
});

function pinch(id, before) {
  const [, other] = [...held].find(([key]) => key !== id);
  const far = ([x, y]) => Math.hypot(x - other.at[0], y - other.at[1]) || 1;
  painter.zoom(far(held.get(id).at) / far(before), ...other.at);
  held.forEach((one) => { one.from = [-NEAR, -NEAR]; }); // two fingers are no click
}

canvas.addEventListener("pointerup", (event) => {
  const one = held.get(event.pointerId);
  held.delete(event.pointerId);
  if (!one || held.size) return;
  const path = painter.lasso;
  painter.lasso = null;
  painter.redraw();
  if (Math.hypot(one.at[0] - one.from[0], one.at[1] - one.from[1]) >= CLICK || path?.length > NEAR) return path && choose(painter.within(path));
  const row = painter.pointAt(...one.at, NEAR);
  if (row >= 0) lookAt(row);
});

canvas.addEventListener("pointercancel", (event) => {
  held.delete(event.pointerId);
  painter.lasso = null;
  painter.redraw();
});
canvas.addEventListener("pointerleave", forget);
canvas.addEventListener("wheel", (event) => {
  if (!painter.points) return;
  event.preventDefault();
  forget();
  painter.zoom(STEP ** Math.max(-1, Math.min(1, -event.deltaY / 60)), ...placeOf(event));
}, { passive: false });

// Keys and buttons.

const acts = {
  in: () => painter.zoom(STEP),
  out: () => painter.zoom(1 / STEP),
  fit: () => painter.fit(),
  none: () => { choose([]); canvas.focus(); },
  view: () => {
    const { clientWidth: across, clientHeight: down } = canvas;
    choose(painter.within([[0, 0], [across, 0], [across, down], [0, down]]));
  },
  before: () => { part -= 1; showPart(); },
  after: () => { part += 1; showPart(); },
};

canvas.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !painter.points) return;
  const moved = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (moved) painter.pan(moved[0] * canvas.clientWidth * 0.1, moved[1] * canvas.clientHeight * 0.1);
  else if (event.key === "+" || event.key === "=") acts.in();
  else if (event.key === "-") acts.out();
  else if (event.key === "0") acts.fit();
  else if (event.key === "Escape") choose([]);
  else return;
  forget();
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-act], [data-mode], [data-tick]");
  if (!button || !painter.points) return;
  if (button.dataset.act) return acts[button.dataset.act]();
  if ("tick" in button.dataset) {
    const boxes = [...button.form.elements].filter((one) => one.name === "task");
    const all = boxes.every((box) => box.checked);
    return boxes.forEach((box) => { box.checked = !all; });
  }
  mode = button.dataset.mode;
  canvas.classList.toggle("lasso", mode === "lasso");
  root.querySelectorAll("[data-mode]").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
});

chooser.addEventListener("change", () => colour(chooser.value));
document.addEventListener("noted", () => chosen.length && showPart({ keepTicks: true })); // it may be gone meanwhile
// The page stays where it is while a file is saved: the next one can be asked for.
csv.addEventListener("submit", () => setTimeout(release, 1000, csv));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => painter.column && painter.tint());
document.getElementById("lightbox").addEventListener("close", () => {
  if (document.activeElement === document.body) canvas.focus({ preventScroll: true });
});
new ResizeObserver(() => painter.resize()).observe(canvas);
load();

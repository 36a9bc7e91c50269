// Looks closely at the images of a page: one case after the other, each beside its nearest exemplar.
const box = document.getElementById("lightbox");
const stage = document.getElementById("lightbox-stage");
const picture = stage.querySelector("img");
const side = document.getElementById("lightbox-side");
const sliders = { centre: document.getElementById("lightbox-centre"), width: document.getElementById("lightbox-width") };

const AS_IT_IS = { centre: 128, width: 256 };
const MOST_ZOOM = 16;
const STEP = 1.25;
// From this zoom on the screen has more pixels than the image that was made to be read.
const WHOLE_FROM = 1.5;
// Milliseconds after the last movement until the server is asked: it renders an image in about that time.
const PAUSE = 150;

let current = null; // the case's element, or what it was before the page took it away
let number = 0; // its number among those of the page, from 0
let link = null; // what the stage shows
let view = { zoom: 1, x: 0, y: 0 };
let window_ = { ...AS_IT_IS };
let inverted = false;
let rendered = { ...AS_IT_IS }; // the window that the pixels on the stage are of
const flat = new Set(); // images of 8 bits, of which the server has no more
let timer = 0;

function cases() {
  return [...document.querySelectorAll("[data-case]")].filter((one) => one.querySelector("a.look"));
}

function open(card, chosen) {
  show(card, chosen);
  if (!box.open) box.showModal();
}

function show(card, chosen = card.querySelector("a.look")) {
  current = card;
  box.querySelector(".told")?.remove(); // what was said of the case before
  const every = cases();
  const at = every.indexOf(card);
  number = at;
  document.getElementById("lightbox-title").textContent = card.dataset.title || `Task ${card.dataset.case}`;
  document.getElementById("lightbox-place").textContent = `${at + 1} of ${every.length} on this page`;
  act("before").disabled = at <= 0;
  act("after").disabled = at + 1 >= every.length;
  fill(card);
  stand(card.contains(chosen) ? chosen : card.querySelector("a.look"));
  for (const near of [every[at + 1], every[at - 1]]) {
    const next = near?.querySelector("a.look");
    if (next) new Image().src = next.href;
  }
}

// What is said of a case, and its other images, stand beside it.
function fill(card) {
  side.replaceChildren();
  const main = card.querySelector("a.look");
  const words = card.querySelector(".words");
  const pictures = [...card.querySelectorAll(".beside a.look")].map((one) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = one.closest("figure").querySelector("figcaption")?.textContent || "";
    figure.append(one.cloneNode(true), caption);
    return figure;
  });
  if (words) side.append(words.cloneNode(true));
  if (pictures.length) {
    const row = document.createElement("div");
    row.className = "look-beside";
    const own = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = "this case";
    own.append(main.cloneNode(true), caption);
    row.append(own, ...pictures);
    side.append(row);
  }
  const strip = card.querySelector(".strip");
  if (strip) side.append(strip.cloneNode(true));
}

function stand(chosen) {
  link = chosen;
  better += 1; // answers for another image come too late
  picture.alt = chosen.querySelector("img")?.alt || "";
  for (const one of side.querySelectorAll("a.look")) {
    if (one.href === chosen.href) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  view = { zoom: 1, x: 0, y: 0 };
  // The small image is there already, and stands in until the large one is.
  const small = chosen.querySelector("img");
  if (small?.complete && small.naturalWidth) picture.src = small.currentSrc;
  else picture.removeAttribute("src");
  rendered = { ...AS_IT_IS };
  tone();
  load(chosen.href, AS_IT_IS);
  place();
  if (window_.centre !== AS_IT_IS.centre || window_.width !== AS_IT_IS.width) later();
}

// Only what is wanted last is shown, in whatever order images arrive.
let wanted = "";
function load(address, shown) {
  if (wanted === address) return;
  wanted = address;
  stage.setAttribute("aria-busy", "true");
  const fresh = new Image();
  fresh.src = address;
  const done = () => {
    if (wanted !== address) return;
    picture.src = address;
    rendered = { ...shown };
    stage.removeAttribute("aria-busy");
    tone();
  };
  const failed = () => {
    if (wanted !== address) return;
    wanted = "";
    stage.removeAttribute("aria-busy");
    tell("The image cannot be had as it was asked for. What stands here is what came before.", true);
  };
  fresh.decode().then(done, failed);
}

function place() {
  const room = Math.max(0, view.zoom - 1) / 2;
  const { clientWidth: across, clientHeight: down } = stage;
  view.x = Math.max(-room * across, Math.min(room * across, view.x));
  view.y = Math.max(-room * down, Math.min(room * down, view.y));
  picture.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  stage.classList.toggle("enlarged", view.zoom > 1);
  stage.classList.toggle("pixels", view.zoom > 4);
}

function zoom(factor, x = 0, y = 0) {
  const before = view.zoom;
  view.zoom = Math.max(1, Math.min(MOST_ZOOM, before * factor));
  const ratio = view.zoom / before;
  view.x = x - (x - view.x) * ratio;
  view.y = y - (y - view.y) * ratio;
  place();
  if (view.zoom >= WHOLE_FROM && before < WHOLE_FROM) later();
}

// Shows the wanted window by means of the pixels that are there, which may be of another one.
function tone() {
  const [low, high] = ends(window_);
  const [first, last] = ends(rendered);
  let slope = (last - first) / (high - low);
  let intercept = (first - low) / (high - low);
  if (inverted) [slope, intercept] = [-slope, 1 - intercept];
  const plain = Math.abs(slope - 1) < 1e-6 && Math.abs(intercept) < 1e-6;
  for (const one of box.querySelectorAll("#lightbox-window feFuncR, #lightbox-window feFuncG, #lightbox-window feFuncB")) {
    one.setAttribute("slope", slope);
    one.setAttribute("intercept", intercept);
  }
  picture.style.filter = plain ? "" : 'url("#lightbox-window")';
  sliders.centre.value = window_.centre;
  sliders.width.value = window_.width;
  act("invert").setAttribute("aria-pressed", String(inverted));
}

function ends(one) {
  return [(one.centre - one.width / 2) / 256, (one.centre + one.width / 2) / 256];
}

function adjust(centre, width) {
  window_ = {
    centre: Math.round(Math.max(-128, Math.min(384, centre))),
    width: Math.round(Math.max(1, Math.min(512, width))),
  };
  tone();
  later();
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(fetchBetter, PAUSE);
}

// Asks for what the pixels at hand do not hold: values of more than 8 bits, and more pixels.
let better = 0;
async function fetchBetter() {
  const chosen = link;
  const asking = ++better;
  if (!box.open || !chosen) return;
  const base = new URL(chosen.href);
  if (!base.pathname.endsWith(".webp")) return;
  const whole = view.zoom >= WHOLE_FROM;
  const plain = new URL(base);
  if (whole) {
    plain.searchParams.delete("large");
    plain.searchParams.set("whole", "true");
  }
  const asIs = window_.centre === AS_IT_IS.centre && window_.width === AS_IT_IS.width;
  if (asIs || flat.has(base.href)) return load(plain.href, AS_IT_IS);
  const shown = { ...window_ };
  const asked = new URL(base);
  asked.pathname = asked.pathname.replace(/\.webp$/, "/window.webp");
  asked.searchParams.delete("large");
  if (whole) asked.searchParams.set("whole", "true");
  asked.searchParams.set("centre", shown.centre);
  asked.searchParams.set("width", shown.width);
  try {
    const answer = await answerOf(asked, "image/webp");
    if (answer.status === 204) flat.add(base.href);
    if (asking !== better) return;
    if (answer.status === 204) load(plain.href, AS_IT_IS);
    else if (answer.headers.get("content-type") === "image/webp") load(asked.href, shown);
  } catch (error) {
    // What is shown already goes on being adjusted here.
    if (asking === better && box.open) tell(error.message, true);
  }
}

function act(name) {
  return box.querySelector(`[data-do="${name}"]`);
}

// A page that goes on changes the cards: what is looked at may stand there anew, or no longer.
function step(by) {
  const every = cases();
  const at = every.indexOf(standing(every));
  const from = at >= 0 ? at : number - (by > 0 ? 1 : 0); // the next one stands where it stood
  const next = every[from + by];
  if (next) show(next);
}

function standing(every) {
  return every.includes(current) ? current : every.find((one) => one.dataset.case === current?.dataset.case);
}

const acts = {
  before: () => step(-1),
  after: () => step(1),
  close: () => box.close(),
  in: () => zoom(STEP),
  out: () => zoom(1 / STEP),
  fit: () => zoom(0),
  invert: () => { inverted = !inverted; tone(); },
  reset: () => { inverted = false; zoom(0); adjust(AS_IT_IS.centre, AS_IT_IS.width); },
};

document.addEventListener("click", (event) => {
  const chosen = event.target.closest?.("a.look");
  if (!chosen || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  if (side.contains(chosen)) {
    event.preventDefault();
    return stand(chosen);
  }
  const card = chosen.closest("[data-case]");
  if (!card) return;
  event.preventDefault();
  open(card, chosen);
});

box.addEventListener("click", (event) => {
  acts[event.target.closest("[data-do]")?.dataset.do]?.();
});

for (const [name, slider] of Object.entries(sliders)) {
  slider.addEventListener("input", () => adjust(...["centre", "width"].map((each) => (each === name ? Number(slider.value) : window_[each]))));
}

box.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const moved = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (moved && view.zoom > 1) {
    view.x += moved[0] * stage.clientWidth * 0.1;
    view.y += moved[1] * stage.clientHeight * 0.1;
    place();
  } else if (moved?.[0]) step(-moved[0]);
  else if (event.key === "PageUp") step(-1);
  else if (event.key === "PageDown") step(1);
  else if (event.key === "+" || event.key === "=") acts.in();
  else if (event.key === "-") acts.out();
  else if (event.key === "0") acts.fit();
  else if (event.key === "i") acts.invert();
  else return;
  event.preventDefault();
});

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const at = stage.getBoundingClientRect();
  zoom(event.deltaY < 0 ? STEP : 1 / STEP, event.clientX - at.left - at.width / 2, event.clientY - at.top - at.height / 2);
}, { passive: false });

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
  const start = { x: event.clientX, y: event.clientY, view: { ...view }, window: { ...window_ } };
  const move = (moved) => {
    const across = moved.clientX - start.x;
    const down = moved.clientY - start.y;
    if (event.shiftKey) return adjust(start.window.centre + down / 2, start.window.width + across / 2);
    view.x = start.view.x + across;
    view.y = start.view.y + down;
    place();
  };
  stage.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, () => stage.removeEventListener("pointermove", move), { once: true });
  }
});

stage.addEventListener("dblclick", () => zoom(view.zoom > 1 ? 0 : 2));

// The browser gives the focus back to what opened it; after a step that is another case.
box.addEventListener("close", () => {
  wanted = "";
  clearTimeout(timer);
  const every = cases();
  (standing(every) || every[number] || every.at(-1))?.querySelector("a.look").focus();
});
new ResizeObserver(place).observe(stage);

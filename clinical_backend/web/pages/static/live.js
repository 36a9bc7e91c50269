"use strict";

function whenSeen(run) {
  if (document.hidden) document.addEventListener("visibilitychange", () => whenSeen(run), { once: true });
  else run();
}

// Asks again every so many seconds while somebody looks at the page, less often where nothing answers.
function repeat(every, slowest, ask) {
  let failures = 0;

  async function run() {
    if (shutOut) return;
    failures = (await ask()) ? 0 : Math.min(failures + 1, 6);
    later();
  }

  function later() {
    setTimeout(() => whenSeen(run), 1000 * Math.min(slowest, every * 2 ** failures));
  }

  later();
}

// Parts of a page that are asked for again while somebody looks at it.
const SLOWEST = 30;

function follow(part) {
  const every = Number(part.dataset.every || 0);
  const clock = document.querySelector(`[data-seen="${part.id}"]`);
  let seen = Date.now();

  async function refresh() {
    try {
      replace(part, await (await answerOf(part.dataset.fragment, "text/html")).text());
      seen = Date.now();
      return true;
    } catch (error) {
      notice(part, error.message);
      return false;
    }
  }

  if (clock) setInterval(() => { clock.textContent = `as of ${age(seen)}`; }, 1000);
  if ("load" in part.dataset) whenSeen(load);
  if (every) repeat(every, SLOWEST, refresh);

  // What is asked for once is asked for until it answers.
  async function load() {
    if (!shutOut && !(await refresh()) && !every) setTimeout(() => whenSeen(load), 1000 * SLOWEST);
  }
}

function age(then) {
  const seconds = Math.round((Date.now() - then) / 1000);
  if (seconds < 5) return "now";
  return seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
}

function replace(part, html) {
  notice(part, "");
  if (part.querySelector("form[data-sent]")) return; // what was pressed there leads on
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  // What a reader opened stays open, and what was closed closed.
  for (const one of fresh.content.querySelectorAll("details")) {
    const before = [...part.querySelectorAll("details")].find((other) => topic(other) === topic(one));
    if (before) one.open = before.open;
  }
  const before = document.createElement("template");
  before.innerHTML = part.innerHTML;
  if (text(before) === text(fresh)) return;
  const state = part.querySelector(".state")?.textContent;
  const focused = part.contains(document.activeElement) && part !== document.activeElement ? known(document.activeElement) : "";
  part.replaceChildren(fresh.content);
  if (focused) refocus(part, focused);
  // Only a change of state is read out, not every second that passes.
  const now = part.querySelector(".state")?.textContent;
  const announcer = document.getElementById("announcer");
  if (announcer && now && now !== state) announcer.textContent = now;
}

// What is folded there, however many it is.
function topic(details) {
  return details.querySelector("summary").textContent.replace(/[\d,]+/g, "");
}

const CAN_HAVE_FOCUS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";

// What a control or link is known by in the next answer.
function known(one) {
  const said = one.localName === "summary" ? topic(one.parentElement) : one.textContent;
  return [one.localName, one.getAttribute("href"), one.name, one.value, said.replace(/\s+/g, " ")].join(" ");
}

// The focus stays where it was; where that is gone, at the part, so that the next press of Tab goes on from there.
function refocus(part, focused) {
  const same = [...part.querySelectorAll(CAN_HAVE_FOCUS)].find((one) => known(one) === focused);
  if (!same) part.tabIndex = -1;
  (same || part).focus({ preventScroll: true });
}

// What stands there, without what each answer writes anew to know its forms by.
function text(template) {
  const copy = template.cloneNode(true);
  copy.content.querySelectorAll("input[name=token]").forEach((one) => one.removeAttribute("value"));
  return copy.innerHTML.replace(/\s+/g, " ").trim();
}

document.querySelectorAll("[data-fragment]").forEach(follow);

// The forms of a page that is left open keep a token that counts, also after a night in which the machine slept.
const RENEWED = 3600;
let renewed = Date.now();

async function renew() {
  if (shutOut || document.hidden || Date.now() - renewed < 1000 * RENEWED) return;
  try {
    const { token } = await (await answerOf("/token", "application/json")).json();
    document.querySelectorAll("input[name=token]").forEach((one) => { one.value = token; });
    renewed = Date.now();
  } catch {
    // The next look asks again.
  }
}

setInterval(renew, 60000);
document.addEventListener("visibilitychange", renew);
window.addEventListener("focus", renew);

// On a narrow screen, the tab of this page may stand outside.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// A form is sent once, however often its button is pressed: until a page follows, or who waited stops that, or comes back.
const FOLLOWS_WITHIN = 30000; // milliseconds that proxies wait for a page

function hold(form) {
  form.dataset.sent = "yes";
  form.querySelectorAll("button").forEach((button) => button.setAttribute("aria-disabled", "true"));
}

function release(form) {
  delete form.dataset.sent;
  form.querySelectorAll("button").forEach((button) => button.removeAttribute("aria-disabled"));
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  hold(form);
  setTimeout(release, FOLLOWS_WITHIN, form);
});
window.addEventListener("pageshow", () => document.querySelectorAll("form").forEach(release));

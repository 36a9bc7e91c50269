"use strict";

// What another script of a page calls is here, too: this one is on all pages, and runs first.
function whenSeen(run) {
  if (document.hidden) document.addEventListener("visibilitychange", () => whenSeen(run), { once: true });
  else run();
}

// Asks again every so many seconds while somebody looks at the page, less often where nothing answers.
function repeat(every, slowest, ask) {
  let failures = 0;

  async function run() {
    failures = (await ask()) ? 0 : Math.min(failures + 1, 6);
    later();
  }

  function later() {
    setTimeout(() => whenSeen(run), 1000 * Math.min(slowest, every * 2 ** failures));
  }

  later();
}

async function answerOf(address, type) {
  const answer = await fetch(address, { headers: { Accept: type }, signal: AbortSignal.timeout(25000) });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer;
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
    } catch {
      notice(part);
      return false;
    }
  }

  if (clock) setInterval(() => { clock.textContent = `as of ${age(seen)}`; }, 1000);
  if ("load" in part.dataset) whenSeen(load);
  if (every) repeat(every, SLOWEST, refresh);

  // What is asked for once is asked for until it answers.
  async function load() {
    if (!(await refresh()) && !every) setTimeout(() => whenSeen(load), 1000 * SLOWEST);
  }
}

function age(then) {
  const seconds = Math.round((Date.now() - then) / 1000);
  if (seconds < 5) return "now";
  return seconds < 90 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
}

function replace(part, html) {
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const summaries = [...part.querySelectorAll("summary")];
  const focused = summaries.indexOf(document.activeElement);
  // What a reader opened stays open.
  [...fresh.content.querySelectorAll("details")].forEach((one, place) => { one.open = Boolean(summaries[place]?.parentElement.open); });
  const before = document.createElement("template");
  before.innerHTML = part.innerHTML;
  if (text(before) === text(fresh)) return;
  const state = part.querySelector(".state")?.textContent;
  part.replaceChildren(fresh.content);
  part.querySelectorAll("summary")[focused]?.focus();
  // Only a change of state is read out, not every second that passes.
  const now = part.querySelector(".state")?.textContent;
  const announcer = document.getElementById("announcer");
  if (announcer && now && now !== state) announcer.textContent = now;
}

function text(template) {
  return template.innerHTML.replace(/\s+/g, " ").trim();
}

function notice(part) {
  if (part.querySelector(".offline")) return;
  const line = document.createElement("p");
  line.className = "offline hint";
  line.textContent = "The backend does not answer. What stands here may be out of date.";
  part.append(line);
}

document.querySelectorAll("[data-fragment]").forEach(follow);

// The forms of a page that is left open keep a token that counts, also after a night in which the machine slept.
const RENEWED = 3600;
let renewed = Date.now();

async function renew() {
  if (document.hidden || Date.now() - renewed < 1000 * RENEWED) return;
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

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) return event.preventDefault();
  form.dataset.sent = "yes";
  form.querySelectorAll("button").forEach((button) => { button.setAttribute("aria-disabled", "true"); });
});
window.addEventListener("pageshow", () => {
  document.querySelectorAll("form").forEach((form) => {
    delete form.dataset.sent;
    form.querySelectorAll("button").forEach((button) => { button.removeAttribute("aria-disabled"); });
  });
});

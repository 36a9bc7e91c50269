"use strict";

// What the server answers to scripts, and what they tell the person. This one is on all pages, and runs first.
const ANSWERS_WITHIN = 25000; // milliseconds, within the 30 seconds that proxies wait
const SHOWN = 10; // seconds, for two short sentences
const AWAY = "The backend does not answer.";

// The password counts no more: who is asked each few seconds would be shown the browser's own question as often.
let shutOut = false;
const gone = new WeakMap(); // what takes each line away

// Gives an answer that is no refusal; what is thrown says why, for people.
async function answerOf(address, type, more = {}) {
  const headers = { Accept: type === "text/html" ? type : `${type}, text/html;q=0.1` };
  const answer = await fetch(address, { ...more, headers, signal: AbortSignal.timeout(ANSWERS_WITHIN) }).catch(() => null);
  if (!answer) throw new Error(AWAY);
  if (answer.ok) return answer;
  shutOut ||= answer.status === 401;
  const page = new DOMParser().parseFromString(await answer.text().catch(() => ""), "text/html");
  const reason = page.getElementById("refusal")?.textContent.replace(/\s+/g, " ").trim();
  throw new Error(reason || AWAY);
}

function tell(text, wrong) {
  const place = document.querySelector("dialog[open] .look-head") || document.getElementById("content");
  let line = place.querySelector(":scope > .told");
  if (!line) {
    line = document.createElement("p");
    line.setAttribute("role", "status");
    place.append(line);
  }
  clearTimeout(gone.get(line));
  gone.set(line, setTimeout(() => line.remove(), 1000 * SHOWN));
  line.className = `flash told${wrong ? " wrong" : ""}`;
  line.textContent = text;
}

// Says within a part of the page that it may be old, and why; without a reason takes that away.
function notice(part, reason) {
  let line = part.querySelector(":scope > .offline");
  if (!reason) return line?.remove();
  if (!line) {
    line = document.createElement("p");
    line.className = "offline hint";
    line.setAttribute("role", "status");
    part.append(line);
  }
  const text = `${reason} What stands here may be out of date.`;
  if (line.textContent !== text) line.textContent = text;
}

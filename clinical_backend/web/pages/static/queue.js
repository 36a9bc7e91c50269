// Cards of tasks that somebody answered leave the page, and a newer queue is told.
const list = document.querySelector("[data-waiting]");
const told = document.getElementById("queue-told");
const EVERY = 5;
const SLOWEST_ASKED = 60;

async function ask() {
  try {
    take(await (await answerOf(list.dataset.waiting, "application/json")).json());
    notice(told, "");
    return true;
  } catch (error) {
    notice(told, error.message);
    return false;
  }
}

function take(queue) {
  if (String(queue.round) !== list.dataset.round) document.getElementById("newer").hidden = false;
  const waiting = new Set(queue.tasks.map(String));
  const count = document.getElementById("waiting");
  if (count) count.textContent = waiting.size.toLocaleString("en");
  for (const card of list.querySelectorAll("[data-place]")) {
    if (!waiting.has(card.dataset.case)) leave(card);
  }
}

// What somebody looks at, or stands on with the keyboard, is only marked: nothing vanishes from under a hand.
function leave(card) {
  if (card.contains(document.activeElement) || document.querySelector("dialog[open]")) {
    if (card.classList.contains("answered")) return;
    card.classList.add("answered");
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.textContent = "answered";
    card.querySelector("h2").append(" ", mark);
  } else {
    card.remove();
  }
}

if (list) repeat(EVERY, SLOWEST_ASKED, ask);

// Tags are set without leaving what one looks at: the page that the form leads to is read, and its words are taken over.

// What came of a form is told by the next page that the browser asks for, so that forms are sent one after the other.
let turn = Promise.resolve();

// Sends a form, says what came of it, and gives the page that it led to; null where nothing was noted, as far as is known.
function send(form, button, unknown) {
  const body = new URLSearchParams(new FormData(form, button));
  const address = button?.getAttribute("formaction") || form.getAttribute("action");
  const sent = turn.then(async () => {
    try {
      const answer = await answerOf(address, "text/html", { method: "POST", body });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const told = page.querySelector(".flash, .problem");
      const wrong = told?.matches(".wrong, .problem") ?? true;
      tell(told?.textContent.trim() || `It cannot be told ${unknown}. Load the page again.`, wrong);
      return { body, page, noted: !wrong };
    } catch (error) {
      tell(error.message === AWAY ? `${AWAY} Load the page again to see ${unknown}.` : error.message, true);
      return { body, page: null, noted: false };
    }
  });
  turn = sent;
  return sent;
}

// A case may stand at several places: in lists, and in the close look.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.tag");
  if (!form || event.defaultPrevented) return;
  event.preventDefault();
  const forms = `form.tag[data-task="${form.dataset.task}"]`;
  document.querySelectorAll(forms).forEach(hold);
  const { body, page, noted } = await send(form, event.submitter, "whether the tag was set");
  const fresh = page?.querySelector(forms);
  for (const old of [form, ...document.querySelectorAll(forms)]) {
    if (fresh) take(old, fresh.cloneNode(true));
    // A newer queue may have the case on another of its pages.
    else if (noted) press(old, body.get("tag"));
    release(old);
  }
  if (noted) document.dispatchEvent(new CustomEvent("noted"));
});

// What is ticked in a list is tagged, or sent to a second reader, together; who shows cases is told when that is noted.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.bulk");
  if (!form || event.defaultPrevented) return;
  event.preventDefault();
  const { body, page, noted } = await send(form, event.submitter, "whether that was noted");
  if (page) await renew(form);
  release(form);
  if (!noted) return;
  const done = new Set(body.getAll("task")); // others may have been ticked since
  document.querySelectorAll('form.bulk input[name="task"]').forEach((box) => { box.checked &&= !done.has(box.value); });
  document.dispatchEvent(new CustomEvent("noted"));
});

// What others changed was told by the answer: the next press of this list counts as knowing it. Where this fails, the
// next press is told the same again.
async function renew(form) {
  const address = form.getAttribute("action").replace(/tags$/, "exemplars/tags");
  const answer = await answerOf(address, "application/json").catch(() => null);
  if (!answer) return;
  const tags = await answer.json();
  for (const shown of form.querySelectorAll('input[name="shown"]')) {
    const task = shown.value.split(":")[0];
    shown.value = `${task}:${tags[task] ?? 0}`;
  }
}

function take(old, fresh) {
  if (!old.isConnected) return;
  const focused = [...old.elements].indexOf(document.activeElement);
  old.replaceWith(fresh);
  fresh.elements[focused]?.focus();
}

function press(form, tag) {
  const shown = form.elements.namedItem("shown");
  if (shown) shown.value = { more: "1", less: "-1" }[tag] || "0";
  for (const button of form.querySelectorAll("button")) {
    const pressed = button.dataset.tag === tag;
    button.value = pressed ? "none" : button.dataset.tag;
    button.setAttribute("aria-pressed", String(pressed));
  }
}

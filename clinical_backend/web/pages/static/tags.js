// Tags are set without leaving what one looks at: the page that the form leads to is read, and its words are taken over.
const SHOWN = 10; // seconds, for two short sentences
let gone = 0;

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.tag");
  if (!form || event.defaultPrevented) return;
  event.preventDefault();
  const data = new URLSearchParams(new FormData(form, event.submitter));
  try {
    const answer = await fetch(form.action, {
      method: "POST", body: data, headers: { Accept: "text/html" }, signal: AbortSignal.timeout(25000),
    });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const told = page.querySelector(".flash, .problem");
    tell(told?.textContent.trim() || "It cannot be told whether the tag was set. Load the page again.", told?.matches(".wrong, .problem") ?? true);
    const fresh = page.querySelector(`form.tag[data-task="${form.dataset.task}"]`);
    const noted = answer.ok && told && !told.matches(".wrong, .problem");
    document.querySelectorAll(`form.tag[data-task="${form.dataset.task}"]`).forEach((old) => {
      if (fresh && answer.ok) return take(old, fresh.cloneNode(true));
      // A newer queue may have the case on another of its pages.
      if (noted) press(old, data.get("tag"));
      release(old);
    });
  } catch {
    tell("The backend does not answer: the tag was not set.", true);
    release(form);
  }
});

// What is ticked in a list is tagged, or sent to a second reader, together; the list is told when that is noted.
document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form.bulk");
  if (!form || event.defaultPrevented) return;
  event.preventDefault();
  const data = new URLSearchParams(new FormData(form, event.submitter));
  try {
    const answer = await fetch(event.submitter?.getAttribute("formaction") || form.action, {
      method: "POST", body: data, headers: { Accept: "text/html" }, signal: AbortSignal.timeout(25000),
    });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const told = page.querySelector(".flash, .problem");
    const wrong = told?.matches(".wrong, .problem") ?? true;
    tell(told?.textContent.trim() || "It cannot be told whether that was noted. Load the page again.", wrong);
    await renew(form);
    release(form);
    if (!wrong) form.reset();
    if (!wrong) form.dispatchEvent(new CustomEvent("noted", { bubbles: true }));
  } catch {
    tell("The backend does not answer: nothing was noted.", true);
    release(form);
  }
});

// What others changed was told by the answer: the next press of this list counts as knowing it. Where this fails, the
// next press is told the same again.
async function renew(form) {
  const address = form.getAttribute("action").replace(/tags$/, "exemplars/tags");
  const answer = await fetch(address, { signal: AbortSignal.timeout(25000) }).catch(() => null);
  if (!answer?.ok) return;
  const tags = await answer.json();
  for (const shown of form.querySelectorAll('input[name="shown"]')) {
    const task = shown.value.split(":")[0];
    shown.value = `${task}:${tags[task] ?? 0}`;
  }
}

function take(old, fresh) {
  const buttons = [...old.querySelectorAll("button")];
  const focused = buttons.indexOf(document.activeElement);
  old.replaceWith(fresh);
  fresh.querySelectorAll("button")[focused]?.focus();
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

function release(form) {
  delete form.dataset.sent;
  form.querySelectorAll("button").forEach((button) => button.removeAttribute("aria-disabled"));
}

function tell(text, wrong) {
  const place = document.querySelector("dialog[open] .look-head") || document.getElementById("content");
  let line = place.querySelector(".told");
  if (!line) {
    line = document.createElement("p");
    line.setAttribute("role", "status");
    place.append(line);
  }
  clearTimeout(gone);
  gone = setTimeout(() => line.remove(), 1000 * SHOWN);
  line.className = `flash told${wrong ? " wrong" : ""}`;
  line.textContent = text;
}

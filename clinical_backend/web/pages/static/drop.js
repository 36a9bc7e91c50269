"use strict";

// Images that are dropped on the form, or pasted on its page, stand in its field as if they were chosen there.
const form = document.querySelector("form.drop");

function take(files) {
  const field = form.querySelector('input[type="file"]');
  const most = Number(form.dataset.most);
  const all = new DataTransfer();
  for (const file of [...field.files, ...files].slice(-most)) all.items.add(file);
  field.files = all.files;
  form.scrollIntoView({ block: "nearest" });
}

function images(data) {
  return [...(data?.files || [])];
}

if (form) {
  for (const type of ["dragenter", "dragover"]) {
    form.addEventListener(type, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      form.classList.add("over");
    });
  }
  form.addEventListener("dragleave", (event) => {
    if (!form.contains(event.relatedTarget)) form.classList.remove("over");
  });
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    form.classList.remove("over");
    take(images(event.dataTransfer));
  });
  // Beside the form the browser would leave the page for the file, and with it what was entered.
  for (const type of ["dragover", "drop"]) {
    document.addEventListener(type, (event) => {
      if (event.defaultPrevented || ![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = "none";
    });
  }
  document.addEventListener("paste", (event) => {
    const pasted = images(event.clipboardData);
    if (!pasted.length) return;
    event.preventDefault();
    take(pasted);
  });
  // What the field says of the ways to fill it holds only where this script runs.
  const hint = form.querySelector(".hint");
  const ways = Number(form.dataset.most) === 1 ? "Drop it here, paste it, or choose a file." : "Drop them here, paste one, or choose files.";
  hint.textContent = `${ways} ${hint.textContent}`;
}

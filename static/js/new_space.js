// New Space: a template brings its own SDK, and what is pasted gets the name that its SDK looks for.

const form = document.querySelector("[data-new-space]");
const { sdk } = form.elements;
const none = form.querySelector("[name=starter][value='']");
const names = JSON.parse(document.getElementById("app-names").textContent);

function chosen() {
  return form.querySelector("[name=starter]:checked").dataset.sdk;
}

function show() {
  for (const place of form.querySelectorAll("[data-code-name]")) place.textContent = names[sdk.value];
}

function follow() {
  sdk.value = chosen() ?? sdk.value;
  show();
}

form.addEventListener("change", ({ target }) => {
  if (target.name === "starter") follow();
  if (target.name === "sdk") {
    if (chosen() !== sdk.value) none.checked = true;
    show();
  }
});
follow();

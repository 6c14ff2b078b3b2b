// What every page has: menus that close, actions that ask first, times in the reader's own zone.

for (const menu of document.querySelectorAll("details.menu")) {
  document.addEventListener("click", (event) => {
    if (menu.open && !menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm ?? event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// A button that is only right once its phrase has been typed, as for deleting a Space.
for (const field of document.querySelectorAll("input[data-phrase]")) {
  const button = field.form.querySelector("[type=submit]");
  const check = () => {
    button.disabled = field.value.trim() !== field.dataset.phrase;
  };
  field.addEventListener("input", check);
  check();
}

// On a phone the row of tabs is wider than the page: the one that is open is in sight.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });

for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = new Date(time.dateTime).toLocaleString();
}

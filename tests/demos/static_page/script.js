// Adds lines, and tells an embedding page how high the demo is.
const lines = document.getElementById("lines");

document.getElementById("add").addEventListener("click", () => {
  const line = document.createElement("li");
  line.textContent = `Line ${lines.children.length + 1}`;
  lines.append(line);
});

new ResizeObserver(() => {
  parent.postMessage({ type: "portico:height", height: document.documentElement.getBoundingClientRect().height }, "*");
}).observe(document.documentElement);

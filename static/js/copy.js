// <button data-copy="id"> copies the text of the element with that id.
for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        const label = button.textContent;
        try {
            await navigator.clipboard.writeText(source.textContent.trim());
            button.textContent = "Copied";
            setTimeout(() => (button.textContent = label), 2000);
        } catch {
            getSelection().selectAllChildren(source);
        }
    });
}

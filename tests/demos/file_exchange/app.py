"""Text files go up; one file with their counts comes down."""

import tempfile
from pathlib import Path

import gradio as gr


def count(files: list[str] | None) -> tuple[str, str]:
    lines = [f"{Path(name).name}: {len(Path(name).read_text().split())} words" for name in files or []]
    if not lines:
        raise gr.Error("Choose at least one file.")
    report = Path(tempfile.mkdtemp()) / "report.txt"
    report.write_text("\n".join(lines) + "\n")
    return "\n".join(lines), str(report)


demo = gr.Interface(
    count,
    gr.File(file_count="multiple", file_types=[".txt"], label="Text files"),
    [gr.Textbox(label="Counts", lines=4), gr.File(label="Report")],
    title="Word counter",
    api_name="count",
    flagging_mode="never",
)

demo.launch()

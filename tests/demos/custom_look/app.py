"""A demo with its own style sheet and its own script."""

import gradio as gr

CSS = """
#answer textarea { background: rgb(255, 250, 205); color: rgb(60, 20, 20); }
.gradio-container { border-top: 6px solid rgb(180, 60, 90); }
"""
JS = "() => { document.title = 'Made by script'; document.body.dataset.script = 'ran'; }"
HEAD = '<meta name="demo-head" content="here">'


def reverse(text: str) -> str:
    return text[::-1]


with gr.Blocks(title="Custom look") as demo:
    text = gr.Textbox(label="Text")
    answer = gr.Textbox(label="Backwards", elem_id="answer", interactive=False)
    in_browser = gr.Textbox(label="Length, counted in the browser", interactive=False)
    button = gr.Button("Turn round", variant="primary")
    button.click(reverse, text, answer, api_name="reverse")
    button.click(None, text, in_browser, js="(text) => `${text.length} characters`", api_name=False)

demo.launch(css=CSS, js=JS, head=HEAD, theme=gr.themes.Soft())

"""A demo behind a password of its own."""

import gradio as gr


def greet(request: gr.Request) -> str:
    return f"Welcome, {request.username}."


with gr.Blocks(title="Members only") as demo:
    greeting = gr.Textbox(label="Greeting", interactive=False)
    gr.Button("Who am I?").click(greet, None, greeting, api_name="greet")

demo.launch(auth=("ada", "engine"), auth_message="Members only: ada, engine.")

"""As many boxes as the visitor asks for, made while the demo runs."""

import gradio as gr


def shout(text: str) -> str:
    return text.upper()


with gr.Blocks(title="Boxes") as demo:
    count = gr.Slider(0, 6, 2, step=1, label="How many")

    @gr.render(inputs=count)
    def boxes(number: int) -> None:
        for index in range(int(number)):
            box = gr.Textbox(label=f"Box {index + 1}", key=f"box-{index}")
            echo = gr.Textbox(label=f"Echo {index + 1}", key=f"echo-{index}", interactive=False)
            box.submit(shout, box, echo, api_name=False)

    word = gr.Textbox(label="Word")
    loud = gr.Textbox(label="Loud", interactive=False)
    word.submit(shout, word, loud, api_name="shout")

demo.launch()

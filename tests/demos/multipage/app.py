"""Two pages of one demo, each at its own path."""

import gradio as gr


def to_fahrenheit(celsius: float) -> float:
    return round(celsius * 9 / 5 + 32, 2)


def to_miles(kilometres: float) -> float:
    return round(kilometres * 0.621371, 3)


with gr.Blocks(title="Converter") as demo:
    gr.Markdown("# Temperature")
    celsius = gr.Number(label="Celsius")
    fahrenheit = gr.Number(label="Fahrenheit", interactive=False)
    gr.Button("Convert").click(to_fahrenheit, celsius, fahrenheit, api_name="to_fahrenheit")

with demo.route("Distance", "/distance"):
    gr.Markdown("# Distance")
    kilometres = gr.Number(label="Kilometres")
    miles = gr.Number(label="Miles", interactive=False)
    gr.Button("Convert").click(to_miles, kilometres, miles, api_name="to_miles")

demo.launch()

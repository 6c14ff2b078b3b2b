import gradio as gr
import numpy as np
import pandas as pd


def wave(frequency: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    time = np.linspace(0, 1, 120)
    table = pd.DataFrame({"time": time, "value": np.sin(2 * np.pi * frequency * time)})
    return table, table.describe().round(3).reset_index(names="measure")


with gr.Blocks(title="Waves") as demo:
    gr.Markdown("# Waves")
    frequency = gr.Slider(0.5, 10, value=2, label="Frequency")
    plot = gr.LinePlot(x="time", y="value", height=320)
    table = gr.Dataframe(label="Summary")
    frequency.change(wave, frequency, [plot, table], api_name="wave")
    demo.load(wave, frequency, [plot, table])

if __name__ == "__main__":
    demo.launch()

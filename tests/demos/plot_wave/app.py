"""A sine wave drawn by matplotlib."""

import gradio as gr
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np


def draw(frequency: float) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(4, 2))
    x = np.linspace(0, 1, 200)
    axes.plot(x, np.sin(2 * np.pi * frequency * x))
    axes.set_title(f"{frequency:g} Hz")
    plt.close(figure)
    return figure


demo = gr.Interface(
    draw,
    gr.Slider(1, 10, 2, step=1, label="Frequency"),
    gr.Plot(label="Wave"),
    title="Wave",
    api_name="draw",
    flagging_mode="never",
)

demo.launch()

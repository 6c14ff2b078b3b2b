"""A chat whose answer arrives word by word."""

import time
from collections.abc import Iterator

import gradio as gr


def answer(message: str, history: list) -> Iterator[str]:
    words = f"You said: {message}. That was message {len(history) // 2 + 1}.".split()
    for count in range(1, len(words) + 1):
        time.sleep(0.02)
        yield " ".join(words[:count])


demo = gr.ChatInterface(answer, title="Echo chat", api_name="chat")

demo.launch()

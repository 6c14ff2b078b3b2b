import random
import time

import gradio as gr

OPENINGS = ["Interesting.", "Tell me more.", "Let me think about that.", "I see."]


def answer(message: str, history: list[dict]):
    """Replace this with your model: whatever is yielded last is the answer so far."""
    said = f"{random.choice(OPENINGS)} You said “{message}”, which has {len(message.split())} words."
    words = said.split()
    for count in range(1, len(words) + 1):
        time.sleep(0.04)
        yield " ".join(words[:count])


demo = gr.ChatInterface(answer, title="Chat", api_name="chat")

if __name__ == "__main__":
    demo.launch()

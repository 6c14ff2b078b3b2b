import gradio as gr


def greet(name: str, excitement: int) -> str:
    return f"Hello {name or 'you'}{'!' * excitement}"


demo = gr.Interface(
    greet,
    inputs=[gr.Textbox(label="Your name"), gr.Slider(1, 5, value=1, step=1, label="Excitement")],
    outputs=gr.Textbox(label="Greeting"),
    api_name="greet",
)

if __name__ == "__main__":
    demo.launch()

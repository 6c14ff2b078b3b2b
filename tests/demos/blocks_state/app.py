"""A basket that each visitor fills for themselves: state that lives between calls of one session."""

import gradio as gr


def add(item: str, basket: list[str]) -> tuple[str, list[str]]:
    if not item.strip():
        raise gr.Error("Name something to add.")
    basket = [*basket, item.strip()]
    return f"{len(basket)}: {', '.join(basket)}", basket


def clear() -> tuple[str, list[str]]:
    return "0: nothing", []


with gr.Blocks(title="Basket") as demo:
    basket = gr.State([])
    item = gr.Textbox(label="Item")
    with gr.Row():
        add_button = gr.Button("Add", variant="primary")
        clear_button = gr.Button("Clear")
    summary = gr.Textbox(label="Basket", interactive=False)
    add_button.click(add, [item, basket], [summary, basket], api_name="add")
    clear_button.click(clear, None, [summary, basket], api_name="clear")

demo.launch()

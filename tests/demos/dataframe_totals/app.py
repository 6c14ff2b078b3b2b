"""A table that can be edited, and the totals of its rows."""

import gradio as gr
import pandas as pd

START = pd.DataFrame({"what": ["bread", "milk"], "price": [2.5, 1.2], "count": [2, 3]})


def totals(table: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    table = table.assign(total=(table["price"].astype(float) * table["count"].astype(float)).round(2))
    return table, float(table["total"].sum().round(2))


with gr.Blocks(title="Totals") as demo:
    table = gr.Dataframe(START, label="Shopping", interactive=True)
    button = gr.Button("Add up", variant="primary")
    result = gr.Dataframe(label="With totals")
    total = gr.Number(label="Total")
    button.click(totals, table, [result, total], api_name="totals")

demo.launch()

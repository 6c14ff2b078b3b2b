"""An image goes in, its negative or its mirror comes out."""

import gradio as gr
from PIL import Image, ImageOps


def change(picture: Image.Image, how: str) -> Image.Image:
    if picture is None:
        raise gr.Error("Give a picture first.")
    picture = picture.convert("RGB")
    return ImageOps.invert(picture) if how == "negative" else ImageOps.mirror(picture)


demo = gr.Interface(
    change,
    [gr.Image(type="pil", label="Picture"), gr.Radio(["negative", "mirror"], value="negative", label="Change")],
    gr.Image(format="png", label="Result"),
    title="Picture changer",
    api_name="change",
    flagging_mode="never",
)

demo.launch()

import gradio as gr
from PIL import Image, ImageFilter, ImageOps

FILTERS = {
    "Sketch": lambda image: ImageOps.invert(ImageOps.grayscale(image).filter(ImageFilter.FIND_EDGES)),
    "Blur": lambda image: image.filter(ImageFilter.GaussianBlur(8)),
    "Poster": lambda image: ImageOps.posterize(image, 2),
    "Mirror": ImageOps.mirror,
}


def apply(image: Image.Image, name: str) -> Image.Image:
    if image is None:
        raise gr.Error("Choose an image first.")
    return FILTERS[name](image.convert("RGB"))


demo = gr.Interface(
    apply,
    inputs=[gr.Image(type="pil", label="Image"), gr.Radio(list(FILTERS), value="Sketch", label="Filter")],
    outputs=gr.Image(label="Result"),
    api_name="apply",
)

if __name__ == "__main__":
    demo.launch()

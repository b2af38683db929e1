"""The page of `ganserve ui`: Gradio on the SDK's public names and its reading of pictures.

`actions` does what a visitor asks for and knows no page; `markup` and `tiles` show what came of it as HTML, `downloads`
as files; `layout` is the page itself, and `serving` answers browsers. Only the last two know Gradio.
"""

"""The page of `ganserve ui`, made with Gradio and the SDK.

`actions` does what a visitor asks for; `markup` and `tiles` show the result as HTML, `downloads` as files; `layout` is
the page itself, and `serving` answers browsers. Only the last two import Gradio.
"""

"""Find, load, look up and unload models, and draw their latents."""

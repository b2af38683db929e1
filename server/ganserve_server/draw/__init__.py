"""Draw samples: latents, selection by the critic, encoding and decoding of pictures."""

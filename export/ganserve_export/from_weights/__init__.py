"""Weights of StyleGAN2 as other projects save them -> our networks, without running anything of their files."""

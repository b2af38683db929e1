"""Turn StyleGAN2 weights that other projects saved into our networks, without running code in their files."""

"""Draw pictures of samples: grids of images, scatter plots of vectors."""

"""Find out which files of a data set are samples, and which labels they have: one file for each layout."""

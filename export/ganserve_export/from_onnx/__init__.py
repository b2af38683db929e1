"""ONNX files that were made elsewhere, turned into model packages by graph surgery."""

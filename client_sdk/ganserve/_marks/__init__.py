"""Mark generated pictures in a machine-readable way, and read the marks.

All components share it. It needs only the standard library, but c2pa-python for signatures.
"""

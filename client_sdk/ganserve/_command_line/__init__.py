"""The command line that all commands share: options declared as dataclasses, parsing, help, exit codes.

It imports none of the components, and the parser (cyclopts) only when arguments are parsed.
"""

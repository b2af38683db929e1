"""The command line that all commands share; it imports none of the components, and cyclopts only to parse."""

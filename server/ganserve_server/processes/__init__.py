"""`ganserve serve --processes N`: several server processes on one port, and the supervisor that makes them one."""

"""Name a configuration's fields as the flags that set them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ganserve._command_line.options import Option


def in_flags(message: str, options: Sequence[Option]) -> str:
    """Return a message with flags in place of fields: `networks.max_width` becomes `--networks.max-width`.

    A field without a dot could be any word, so it becomes a flag only at the beginning of a line.
    """
    flags = {option.flags[0][2:].replace("-", "_"): option.flags[0] for option in options if option.flags}
    for path, flag in list(flags.items()):
        if path.endswith(".start"):  # An annealed value has two flags, and a name of its own.
            flags[path.removesuffix(".start")] = flag.removesuffix("start") + "{start,end}"
    for path, flag in list(flags.items()):
        if path.startswith("optimisers.critic."):
            flags[path.replace("critic", "{generator,critic}", 1)] = flag.replace("critic", "{generator,critic}", 1)
    dotted = sorted((path for path in flags if "." in path), key=len, reverse=True)
    if dotted:
        field = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, dotted))})(?!\w|\.\w)")
        message = field.sub(lambda match: flags[match[1]], message)
    plain = "|".join(path for path in flags if "." not in path)
    begun = re.compile(rf"^( *)({plain})(?=:? )", re.MULTILINE)
    return begun.sub(lambda match: match[1] + flags[match[2]], message)

"""Read a pickle without running code in it.

A pickle is a program for a small stack machine, and Python's own machine imports and calls whatever the program names.
This one cannot import or call: a name stands for one of the `Known` objects of its reader, and it refuses any other
name. The size of the file and `MAX_OPERATIONS` bound memory and time.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ganserve_export.errors import ExportError

MAX_OPERATIONS = 500_000
"""Most operations in one file; a StyleGAN2 of 1024 px with its optimisers has 60,000."""
_MAX_NUMBER = 2**32
_VALUES = (str, bytes, bytearray, int, float)
_KEYS = (str, bytes, int, type(None))
_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NEW = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REFUSED = {
    "NEXT_BUFFER": "reads data from outside of it",
    "READONLY_BUFFER": "reads data from outside of it",
    "EXT1": "uses an extension code of copyreg",
    "EXT2": "uses an extension code of copyreg",
    "EXT4": "uses an extension code of copyreg",
}


class Source(Protocol):
    """Bytes to read: a file, or a part of one in memory."""

    def read(self, count: int, /) -> bytes:
        """Return at most `count` bytes."""

    def readline(self) -> bytes:
        """Return the bytes up to the next line's end."""

    def tell(self) -> int:
        """Return the place of the next byte."""


class RefusedPickleError(ExportError):
    """A pickle does something other than holding weights; the message says what."""


class DamagedPickleError(RefusedPickleError):
    """A pickle, or the archive around it, is damaged or cut off."""


@dataclass(frozen=True, slots=True)
class Known:
    """An object that a pickle may name."""

    name: str
    """Its module and name, for messages."""
    make: Callable[..., Any] | None = None
    """Our own function in place of a call; None: it can't be called."""


@dataclass(slots=True)
class Budget:
    """Operations that a file may still use, pickles inside its pickles included."""

    left: int = field(default_factory=lambda: MAX_OPERATIONS)

    def spend(self) -> None:
        """Count one operation; raise RefusedPickleError after the last one."""
        self.left -= 1
        if self.left < 0:
            raise RefusedPickleError(
                f"its pickle has more than {MAX_OPERATIONS:,} operations, far more than weights need"
            )


class PickleMachine:
    """Computes the value of one pickle."""

    def __init__(
        self,
        known: Callable[[str, str], Known | None],
        budget: Budget,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        """Prepare a machine.

        Args:
            known: Returns what a module and a name stand for, or None to refuse them.
            budget: Bounds the operations.
            persistent: Returns the object with a persistent ID; None: there are none.
        """
        self._known = known
        self._budget = budget
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, source: Source) -> Any:
        """Return the value of the pickle that starts here, and leave the source after it.

        Raises:
            RefusedPickleError: It names, calls or changes anything that weights don't need, or is damaged.
        """
        try:
            for operation, argument, _ in pickletools.genops(source):  # type: ignore[arg-type]
                self._budget.spend()
                if operation.name == "STOP":
                    return self._pop()
                self._run(operation.name, argument)
        except RefusedPickleError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError) as error:
            raise DamagedPickleError(f"its pickle is damaged or cut off ({error})") from error
        raise DamagedPickleError("its pickle is cut off")

    def _run(self, name: str, argument: Any) -> None:
        if name in _REFUSED:
            raise RefusedPickleError(f"its pickle {_REFUSED[name]}, which weights don't need")
        if name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _NEW:
            self._stack.append(_NEW[name]())
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop_many(_TUPLES[name])))
        elif handler := getattr(self, f"_op_{name.lower()}", None):
            handler(argument)
        elif isinstance(argument, _VALUES):
            self._stack.append(argument)
        else:
            raise RefusedPickleError(f"its pickle has the operation {name}, which weights don't need")

    # The stack

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a mark in place of a value")
        return value

    def _pop_many(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise ValueError("a mark in place of a value")
        return value

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise RefusedPickleError(f"its pickle has protocol {version}, newer than 5")

    def _op_frame(self, size: int) -> None:
        """Do nothing: frames only help to read ahead."""

    def _op_mark(self, _: None) -> None:
        self._stack.append(_MARK)

    def _op_pop(self, _: None) -> None:
        self._stack.pop()

    def _op_pop_mark(self, _: None) -> None:
        self._pop_to_mark()

    def _op_dup(self, _: None) -> None:
        self._stack.append(self._top())

    # The memo

    def _op_put(self, place: int) -> None:
        if not 0 <= place < _MAX_NUMBER:
            raise ValueError("a place far outside of its memo")
        self._memo[place] = self._top()

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._top()

    def _op_get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _op_binget = _op_long_binget = _op_get

    # Containers

    def _op_tuple(self, _: None) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _op_list(self, _: None) -> None:
        self._stack.append(self._pop_to_mark())

    def _op_dict(self, _: None) -> None:
        pairs = self._pop_to_mark()
        self._stack.append({})
        self._set_items(pairs)

    def _op_append(self, _: None) -> None:
        self._extend([self._pop()])

    def _op_appends(self, _: None) -> None:
        self._extend(self._pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise RefusedPickleError(f"its pickle appends to a {_kind(target)}, which weights don't need")
        target.extend(values)

    def _op_setitem(self, _: None) -> None:
        self._set_items(self._pop_many(2))

    def _op_setitems(self, _: None) -> None:
        self._set_items(self._pop_to_mark())

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise RefusedPickleError(f"its pickle sets items of a {_kind(target)}, which weights don't need")
        if len(pairs) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[_plain(key)] = value

    def _op_additems(self, _: None) -> None:
        values = [_plain(value) for value in self._pop_to_mark()]
        target = self._top()
        if not isinstance(target, set):
            raise RefusedPickleError(f"its pickle adds to a {_kind(target)}, which weights don't need")
        target.update(values)

    def _op_frozenset(self, _: None) -> None:
        self._stack.append({_plain(value) for value in self._pop_to_mark()})

    # Names and calls

    def _op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_known(module, name)

    def _op_stack_global(self, _: None) -> None:
        module, name = self._pop_many(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a name that is not text")
        self._push_known(module, name)

    def _push_known(self, module: str, name: str) -> None:
        found = self._known(module, name)
        if found is None:
            raise refused_name(f"{module}.{name}")
        self._stack.append(found)

    def _op_reduce(self, _: None) -> None:
        function, arguments = self._pop_many(2)
        self._call(function, arguments)

    _op_newobj = _op_reduce

    def _op_newobj_ex(self, _: None) -> None:
        function, arguments, named = self._pop_many(3)
        if named:
            raise RefusedPickleError(f"its pickle calls {_kind(function)} with named arguments")
        self._call(function, arguments)

    def _op_obj(self, _: None) -> None:
        function, *arguments = self._pop_to_mark()
        self._call(function, tuple(arguments))

    def _op_inst(self, argument: str) -> None:
        arguments = tuple(self._pop_to_mark())
        self._op_global(argument)
        self._call(self._pop(), arguments)

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Known):
            raise RefusedPickleError(f"its pickle calls a {_kind(function)}, which weights don't need")
        if function.make is None:
            raise RefusedPickleError(f"its pickle calls {function.name}, which weights don't need")
        if not isinstance(arguments, tuple):
            raise ValueError("arguments that are no tuple")
        self._stack.append(function.make(*arguments))

    def _op_build(self, _: None) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, dict):
            return  # attributes of a dictionary, such as the versions of a state_dict
        build = getattr(target, "build", None)
        if build is None:
            raise RefusedPickleError(f"its pickle changes a {_kind(target)}, which weights don't need")
        build(state)

    def _op_persid(self, identity: str) -> None:
        self._push_persistent(identity)

    def _op_binpersid(self, _: None) -> None:
        self._push_persistent(self._pop())

    def _push_persistent(self, identity: Any) -> None:
        if self._persistent is None:
            raise RefusedPickleError("its pickle refers to objects outside of it (a persistent ID)")
        self._stack.append(self._persistent(identity))


def refused_name(name: str) -> RefusedPickleError:
    """Return the error for a module and name that weights don't need."""
    shown = name if name.isprintable() and len(name) < 200 else ascii(name)[:200]
    return RefusedPickleError(f"its pickle asks for {shown}, which weights don't need")


def known_by_name(names: Mapping[str, Known]) -> Callable[[str, str], Known | None]:
    """Return a look-up of dotted names for a machine."""
    return lambda module, name: names.get(f"{module}.{name}")


def _plain(key: Any) -> Any:
    """Return a key that is quick to hash: nested tuples take ages, and large numbers can be made collide."""
    if not isinstance(key, _KEYS) or (isinstance(key, int) and not -_MAX_NUMBER < key < _MAX_NUMBER):
        raise RefusedPickleError(f"its pickle has a {_kind(key)} as a key, which weights don't need")
    return key


def _kind(value: Any) -> str:
    return value.name if isinstance(value, Known) else type(value).__name__

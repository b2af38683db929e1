"""One class of the user's own: import it, construct it, and ask what it does. N = batch, Z = latent, K = labels."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ganserve_training.errors import ConfigError
from ganserve_training.networks.adaptation import (
    Adaptation,
    Adapted,
    calls,
    in_float32,
    moved,
    reshaped,
    takes_two,
    without_sigmoid,
)
from ganserve_training.networks.config import Shape
from ganserve_training.networks.critic_output import CriticOutput, as_output
from ganserve_training.networks.own_code import exits_raise, is_from_user, name_network, raised
from ganserve_training.options.checks import flag

TOLERANCE = 1e-4
MOVES = (0.01, 0.1)
"""Standard deviations of noise on the weights, which shows the effect of labels and noise that the first weights
hide."""


@dataclass(frozen=True, slots=True)
class YourClass:
    """One of your two classes. What breaks the contract is refused with its import path."""

    path: str
    is_generator: bool = False

    @property
    def named(self) -> str:
        """The flag and its value, which begin every message."""
        return f"{flag('networks.generator_class' if self.is_generator else 'networks.critic_class')} {self.path}"

    def refusal(self, problem: str, fix: str) -> ConfigError:
        """Return an error about this class."""
        return ConfigError(f"{self.named}: {problem}. {fix}.")

    def failed(self, what: str, error: BaseException) -> ConfigError:
        """Return the error about one that the user's code raised; raise that again if it is a Ctrl-C."""
        if not is_from_user(error):
            raise error
        return ConfigError(f"{self.named}: {what} {raised(error)}. Correct it.")

    def construct(self, offered: dict[str, Any]) -> nn.Module:
        """Return an instance, built with the offered keywords that its constructor takes."""
        factory = self._import()
        plain = isinstance(factory, type) and factory.__init__ is nn.Module.__init__  # type: ignore[misc]
        parameters = [] if plain else list(inspect.signature(factory).parameters.values())
        takes_all = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)
        named = {item.name for item in parameters}
        several = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        required = [
            item.name for item in parameters if item.default is inspect.Parameter.empty and item.kind not in several
        ]
        if needed := [name for name in required if name not in offered]:
            problem = f"needs the arguments {', '.join(needed)}, which training does not pass"
            fix = (
                f"Give them defaults, or name a function that makes it: it gets those of {', '.join(offered)} that it "
                "takes"
            )
            raise self.refusal(problem, fix)
        try:
            with exits_raise():
                made = factory(**{name: value for name, value in offered.items() if takes_all or name in named})
        except BaseException as error:  # The user's code may raise anything.
            raise self.failed("its constructor", error) from error
        if not isinstance(made, nn.Module):
            raise ConfigError(
                f"{self.named}: must be a class of torch.nn.Module (it returned a {type(made).__name__})."
            )
        name_network(made, self.named)
        return made

    def _import(self) -> Any:
        module_name, _, name = self.path.partition(":")
        if "/" in module_name or module_name.endswith(".py"):
            dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
            fix = f"Write its import path, such as {dotted}:{name}, and set PYTHONPATH to the folder that it begins in"
            raise self.refusal("is a file, not an import path", fix)
        try:
            with exits_raise():
                module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                fix = "Install it"
                raise self.refusal(f"{module_name} imports {error.name}, which is not installed", fix) from error
            fix = "Install your package, or set PYTHONPATH to the folder that holds it"
            raise self.refusal(f"there is no module {error.name}", fix) from error
        except BaseException as error:  # The user's code may raise anything.
            raise self.failed(f"importing {module_name}", error) from error
        found = getattr(module, name, None)
        if not callable(found):
            networks = (value for value in vars(module).values() if isinstance(value, type))
            classes = [value.__name__ for value in networks if issubclass(value, nn.Module)]
            has = f"it has {', '.join(classes)}" if classes else "it has no networks"
            raise ConfigError(f"{self.named}: {module_name} has no class {name} ({has}).")
        return found

    def call(self, network: nn.Module, inputs: Tensor, labels: Tensor | None) -> Any:
        """Run samples through the network in eval mode, without an effect on its state."""
        training = network.training
        network.eval()
        try:
            with exits_raise(), torch.no_grad():
                return network(inputs.clone(), labels)
        except BaseException as error:  # The user's code may raise anything.
            given = f"{list(inputs.shape)}, {'None' if labels is None else f'labels int64 {list(labels.shape)}'}"
            raise self.failed(f"called with ({given}) it", error) from error
        finally:
            network.train(training)

    def adapted(
        self,
        network: nn.Module,
        inputs: Tensor,
        labels: Tensor | None,
        count: int,
        shape: Shape,
        further: Adaptation,
    ) -> nn.Module:
        """Return the network, behind an adaptation where it is called in another way or gives another shape.

        Args:
            network: As its constructor made it.
            inputs: Two samples, or two latents [2, Z].
            labels: Theirs, int64 [2], or None.
            count: K.
            shape: That of one output.
            further: Changes that options ask for.
        """
        notes = list(in_float32(network))
        if labels is not None and not takes_two(network):
            problem = f"forward takes no labels, and the data have {count}"
            raise self.refusal(problem, "Add the argument labels and use it, or train without: --data.labels ignore")
        how, made, alone = self._way(network, inputs, labels, count)
        if isinstance(made, Tensor) and made.is_floating_point():
            how = replace(how, shape=reshaped(made, alone, shape), to_float32=made.dtype != torch.float32)
            if how.shape is not None:
                size, found = (1, alone) if tuple(made.shape) == (2, *shape) else (2, made)
                notes.append(f"its output {list(found.shape)} is read as {[size, *shape]}")
            if how.to_float32:
                notes.append(f"its outputs are {made.dtype}, and are read as float32")
        how = replace(how, copies_input=_changes_input(network, how, inputs, labels))
        notes += [note for found, note in _NOTES.items() if getattr(how, found)]
        if how.label_maps:
            notes.remove(_NOTES["one_hot"])
        exact = further.probabilities and without_sigmoid(
            network, lambda asked: self.call(Adapted(asked, how), inputs, labels)
        )
        if exact:
            notes.append("its last sigmoid is left out, so that it gives the logit")
        elif further.probabilities:
            notes.append("its probabilities become logits, inexactly near 0 and 1; better leave out its last sigmoid")
        how = replace(how, probabilities=further.probabilities and not exact, unit=further.unit)
        return network if how == Adaptation() and not notes else Adapted(network, how, tuple(notes))

    def _way(
        self, network: nn.Module, inputs: Tensor, labels: Tensor | None, count: int
    ) -> tuple[Adaptation, Any, Any]:
        """Return how the network wants to be called, and its outputs for two samples and for one."""
        failures: list[ConfigError] = []
        ways = calls(network, count if labels is not None else 0, latents=self.is_generator)
        for how in ways:
            adapted = Adapted(network, how)
            try:
                made = self.call(adapted, inputs, labels)
            except ConfigError as failure:
                failures.append(failure)
                continue
            alone = None
            with suppress(ConfigError):  # Later questions say what keeps it from working on one sample.
                alone = self.call(adapted, inputs[:1], None if labels is None else labels[:1])
            return how, _scores_of(made), _scores_of(alone)
        raise failures[0]

    def expect_tensor(self, what: str, value: object, shape: Shape) -> None:
        """Refuse a result for two samples that is not a float tensor of this shape."""
        if isinstance(value, Tensor) and tuple(value.shape) == shape and value.is_floating_point():
            return
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ConfigError(f"{self.named}: must give {what} float {list(shape)} for two samples (got {got}).")

    def is_sound(self, network: nn.Module, inputs: Tensor, labels: Tensor | None) -> Iterator[ConfigError]:
        """Yield what keeps a network from being trained, saved and reproduced, if anything does."""
        if lost := hidden_weights(network):
            problem = f"keeps weights in {', '.join(lost)}, where torch does not find them to train and save them"
            yield self.refusal(problem, "Use torch.nn.ModuleList, ModuleDict, Parameter or ParameterList")
        try:
            copies = [network, *(moved(network, by) for by in MOVES)]
        except Exception as error:  # The user's attributes may raise anything.
            problem = f"can't be copied, as averaging and export need: copying {raised(error)}"
            fix = "Leave locks, files, generators and other live objects out of its attributes"
            raise self.refusal(problem, fix) from error
        before = {name: item.detach().clone() for name, item in _state(network)}
        self.call(network, inputs, labels)
        if changed := [name for name, item in _state(network) if not torch.equal(item, before[name])]:
            problem = f"changes {', '.join(changed[:3])} in eval mode, so the same input gives another output each time"
            fix = "Update it only `if self.training`; torch.nn.utils.parametrizations.spectral_norm does"
            yield self.refusal(problem, fix)
            return
        made = self.call(network, inputs, labels)
        values = made if isinstance(made, Tensor) else as_output(made).scores
        if not values.isfinite().all():
            problem = f"gives NaN or infinity for ordinary {'latents' if self.is_generator else 'samples'}"
            yield self.refusal(problem, "Look for square roots, norms, logarithms or divisions at zero")
            return
        if any(_outputs_differ(*(self.call(item, inputs, labels) for _ in range(2))) for item in copies):
            problem = "gives different scores for the same samples in eval mode"
            if self.is_generator:
                problem = "gives different samples for the same latents in eval mode, so a seed determines no sample"
            fix = "Draw no random numbers there: F.dropout(x, p, self.training), noise only `if self.training`"
            yield self.refusal(problem, fix)

    def mixes_samples(self, generator: nn.Module, latents: Tensor, labels: Tensor | None) -> bool:
        """Return True if a sample of two latents [2, Z] depends on the others of its batch."""
        four = torch.cat([latents, latents.flip(1) / 2])
        of_four = None if labels is None else labels.repeat(2)
        together = self.call(generator, four, of_four)
        allowed = TOLERANCE * float(together.abs().max())
        for places in (slice(2), slice(1), slice(3, 4)):  # The last may depend on those before it.
            few = self.call(generator, four[places], None if of_four is None else of_four[places])
            if few.shape != together[places].shape:
                return True
            if not torch.allclose(few, together[places], rtol=TOLERANCE, atol=allowed):
                return True
        return False

    def heeds_labels(self, network: nn.Module, inputs: Tensor, count: int, differ: Callable[[Tensor], bool]) -> bool:
        """Return True if the network's output depends on its labels, or if there is at most one label.

        `differ` compares the outputs for the same two inputs with several labels, [labels, 2, …]. An embedding, a
        modulation or a gate may start at zero and hide the labels, so copies with slightly changed weights are tried,
        too.
        """

        def shows(candidate: nn.Module) -> bool:
            given = [
                as_output(self.call(candidate, inputs, torch.full((len(inputs),), label))).scores
                for label in sorted({0, 1, count // 2, count - 1})
            ]
            return differ(torch.stack(given))

        return count < 2 or shows(network) or any(shows(moved(network, by)) for by in MOVES)


_NOTES = {
    "one_hot": "its labels are given as float32 [N, K], one-hot",
    "label_maps": "its labels are given as constant channels, [N, K, H, W]",
    "as_maps": "its latents are given as [N, Z, 1, 1]",
    "copies_input": "it changes its input in place, so it gets a copy",
}


def hidden_weights(network: nn.Module) -> list[str]:
    """Return the attributes with weights that `parameters()` does not return, such as plain lists of layers."""
    known = {id(weight) for weight in network.parameters()}
    own = vars(nn.Module()).keys()
    found = []
    for path, module in network.named_modules():
        for name, value in vars(module).items():
            if name not in own and any(id(weight) not in known for weight in _weights_in(value)):
                found.append(_attribute(path, name))
    return found


def own_optimisers(network: nn.Module) -> list[str]:
    """Return the attributes that hold an optimiser."""
    parts = network.named_modules()
    attributes = ((path, name, value) for path, part in parts for name, value in vars(part).items())
    return [_attribute(path, name) for path, name, value in attributes if isinstance(value, Optimizer)]


def _scores_of(output: Any) -> Any:
    return output.scores if isinstance(output, CriticOutput) else output


def _attribute(path: str, name: str) -> str:
    """Return the attribute's place in the user's own class."""
    return f"{path}.{name}".removeprefix("network.").lstrip(".")


def _weights_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, Tensor):
        if value.requires_grad and value.is_leaf:
            yield value
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _weights_in(item)
    elif isinstance(value, dict):
        yield from _weights_in(list(value.values()))


def _state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return ((name.removeprefix("network."), item) for name, item in tensors)


def _changes_input(network: nn.Module, how: Adaptation, inputs: Tensor, labels: Tensor | None) -> bool:
    """Return True if the network changes its input in place."""
    given, adapted, training = inputs.clone(), Adapted(network, how), network.training
    try:
        with torch.no_grad():
            adapted.eval()(given, labels)
    finally:
        network.train(training)
    return not torch.equal(given, inputs)


def _outputs_differ(first: Any, again: Any) -> bool:
    return not torch.equal(as_output(first).scores, as_output(again).scores)

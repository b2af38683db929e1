"""Steps that a test can read."""

from ganserve_training.run.command_progress import Steps


class HeardSteps(Steps):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.expected = 0
        self.words: list[str] = []

    def expect(self, count: int) -> None:
        self.expected = count

    def next(self, words: str) -> None:
        self.words.append(words)

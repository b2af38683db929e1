"""Record steps for tests."""

from ganserve_training.run.command_progress import Steps


class HeardSteps(Steps):
    def __init__(self) -> None:
        self.expected = 0
        self.words: list[str] = []

    def expect(self, count: int) -> None:
        self.expected = count

    def next(self, words: str) -> None:
        self.words.append(words)

"""How long a scan still takes, from the rates that its stages have shown so far."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGES = ("reading", "searching", "comparing", "verifying")  # of a scan, in order

# CPU cost of each later stage relative to reading the same photos: a lower bound, measured on photos of 12 megapixels
# with hardly any copies. The time left is therefore stated as "at least" until the last stage has begun.
_SHARE_OF_READING = {"searching": 0.01, "comparing": 0.05, "verifying": 0.05}


@dataclass
class Estimate:
    """Progress of one scan. Times are seconds of a monotonic clock that the caller reads."""

    stage: str = ""
    done: int = 0
    of: int = 0
    _begun: float = 0.0  # when the stage began
    _first: int = 0  # items that were done then
    _now: float = 0.0
    _took: dict[str, float] = field(default_factory=dict)  # seconds of each finished stage

    def update(self, stage: str, done: int, of: int, now: float) -> None:
        """Note that `done` of `of` items of a stage are done. A stage may begin anywhere and begin again."""
        if stage != self.stage:
            if self.stage:
                self._took[self.stage] = self._took.get(self.stage, 0.0) + self._now - self._begun
            self.stage, self._begun, self._first = stage, now, done
        self.done, self.of, self._now = done, of, now

    @property
    def number(self) -> int:
        """The number of the stage, from 1; 0 if it is not one of STAGES."""
        return STAGES.index(self.stage) + 1 if self.stage in STAGES else 0

    @property
    def rate(self) -> float:
        """Items a second in this stage; 0 while nothing is known."""
        elapsed = self._now - self._begun
        return (self.done - self._first) / elapsed if elapsed > 0 else 0.0

    @property
    def at_least(self) -> bool:
        """Whether later stages are only bounded from below."""
        return self.stage != STAGES[-1]

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the scan ends, those of later stages included; None while no rate is known."""
        if not self.rate or not self.number:
            return None
        left = (self.of - self.done) / self.rate
        reading = self._took.get("reading", 0.0)
        if self.stage == "reading":
            reading += self._now - self._begun + left
        return left + sum(_SHARE_OF_READING[stage] * reading for stage in STAGES[self.number :])

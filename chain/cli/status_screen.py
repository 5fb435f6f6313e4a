"""Home of how the live status looks: a snapshot becomes lines of text that fit a terminal of any size."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from chain.cli.amounts import in_coins
from chain.cli.status_view import RoundLine, Snapshot, TaskLine, UpdateLine
from chain.operations.clock import Phase
from chain.operations.learning_state import Fate, RoundStatus
from chain.version import VERSION

NAT = 1 << 20
WIDTH_MIN = 20
ROUNDS_SHOWN = 8  # and more where the terminal is high
ROUNDS_SHOWN_MIN = 3
BAR_WIDTH_MAX = 40
SYNC_BAR_WIDTH = 20
EIGHTHS = " ▏▎▍▌▋▊▉█"
TITLE, LABEL, GOOD, BAD, PLAIN = "bold", "dim", "green", "red", ""
PHASES = {Phase.REVEAL: "reveal", Phase.OPEN: "open shards", Phase.COMMIT: "commit", Phase.HOLD: "hold"}
PHASE_STYLES = {Phase.REVEAL: "magenta", Phase.OPEN: "yellow", Phase.COMMIT: "cyan", Phase.HOLD: "blue"}

# Why an update was not paid, in the few words that a line has room for
FATES = {
    Fate.PENDING: "its round goes on",
    Fate.ACCEPTED: "accepted",
    Fate.NO_GAIN: "no gain: the head was not better for it",
    Fate.NOT_SIGNIFICANT: "not significant: could have been chance",
    Fate.COPY: "a copy of an earlier update",
    Fate.MALFORMED: "malformed, bond cut",
    Fate.VOID: "its round was void",
    Fate.NOT_HELD: "validators did not have it in time",
    Fate.NOT_REVEALED: "never revealed, bond cut",
}


def render(snapshot: Snapshot, now: float, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells. `now` is time.monotonic()."""
    width, height = max(width, WIDTH_MIN), max(height, 1)
    head = [*_chain(snapshot, now), Text(), *_task(snapshot, width), Text()]
    tail = [Text(), *_updates(snapshot), *_balances(snapshot.balances, width), *_footer(snapshot)]
    rounds = _rounds(snapshot.rounds, width)
    room = height - len(head) - len(tail)
    if room < min(len(rounds), 1 + ROUNDS_SHOWN):  # rather no empty lines than few rounds
        head, tail = [line for line in head if line.plain], [line for line in tail if line.plain]
        room = height - len(head) - len(tail)
    shown = max(ROUNDS_SHOWN_MIN, room - 1)
    lines = [*head, *rounds[:1], *rounds[1:][-shown:], *tail][:height]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines


def _chain(snapshot: Snapshot, now: float) -> list[Text]:
    age = max(0.0, now - snapshot.block_at)
    late = age > 5 * snapshot.block_interval_ms / 1000 + 2
    line = _fields(
        [
            ("height", str(snapshot.height), TITLE),
            ("block", f"{age:.1f} s ago", BAD if late else PLAIN),
            ("finality", "-" if snapshot.finality_ms is None else f"{snapshot.finality_ms:.0f} ms", PLAIN),
            ("transactions", f"{snapshot.transactions}, {snapshot.transactions_per_second:.1f}/s", PLAIN),
            ("pool", str(snapshot.pool), PLAIN),
        ]
    )
    name = Text(f"Lyceum {VERSION}  ", TITLE)
    place = _fields([("chain", str(snapshot.chain_id), PLAIN), ("RPC and explorer", snapshot.url, TITLE)])
    return [Text.assemble(name, place), line, *_catching_up(snapshot)]


def _catching_up(snapshot: Snapshot) -> list[Text]:
    """A bar while blocks are fetched, nothing in step."""
    progress = snapshot.catching_up
    if progress is None:
        return []
    bar = _bar(min(1.0, progress.part), SYNC_BAR_WIDTH)
    return [
        Text.assemble(("catching up ", LABEL), (bar, GOOD), "·" * (SYNC_BAR_WIDTH - len(bar)), f" {progress.text()}")
    ]


def _fields(fields: Sequence[tuple[str, str, str]]) -> Text:
    """Labels and values in one line."""
    line = Text()
    for place, (label, value, style) in enumerate(fields):
        line.append(f"{'  ' if place else ''}{label} ", LABEL)
        line.append(value, style)
    return line


# -------------------------------------------------------------------------------------------------------------- task


def _task(snapshot: Snapshot, width: int) -> list[Text]:
    task = snapshot.task
    if task is None:
        return [Text("no task is being taught", LABEL)]
    line = Text(task.name, TITLE)
    if task.phase is Phase.PENDING:
        line.append(f"   begins in {-task.position} blocks")
    elif task.phase is Phase.OVER:
        line.append("   over: all its rounds have been played")
    else:
        line.append(f"   round {min(task.round, task.clock.rounds)} of {task.clock.rounds}   ")
        line.append(PHASES[task.phase], PHASE_STYLES[task.phase])
    if snapshot.backlog:
        line.append("   evaluating", "yellow")
    if task.others:
        line.append(f"   then {', '.join(task.others)}", LABEL)
    return [line, _cycle_bar(task, snapshot.block_interval_ms, width)]


def _cycle_bar(task: TaskLine, interval_ms: int, width: int) -> Text:
    """The cycle from its first block to its last, each phase in its colour, what is over filled."""
    if task.phase in (Phase.PENDING, Phase.OVER):
        return Text()
    clock = task.clock
    cells = max(10, min(2 * clock.cycle, BAR_WIDTH_MAX, width - 30))
    bar = Text()
    for cell in range(cells):
        block = cell * clock.cycle // cells
        style = PHASE_STYLES[clock.phase_of(clock.start_of(max(0, min(task.round, clock.rounds - 1))) + block)]
        bar.append("━" if block < task.position else "┄", style)
    left = clock.cycle - task.position
    bar.append(f"  {task.position}/{clock.cycle} blocks, {left * interval_ms / 1000:.0f} s left", LABEL)
    return bar


# ------------------------------------------------------------------------------------------------------------ rounds


def _rounds(rounds: Sequence[RoundLine], width: int) -> list[Text]:
    if not rounds:
        return [Text("no round has been settled yet: the first is after two cycles", LABEL)]
    lines = [Text("round   held-out loss        accuracy        paid", LABEL)]
    return lines + [_round(line, width) for line in rounds]


def _round(line: RoundLine, width: int) -> Text:
    text = Text(f"{line.number:5}   ")
    if not line.samples:
        reason = "nobody's update was revealed" if line.status is RoundStatus.EMPTY else "void: nothing was judged"
        return text.append(reason, LABEL)
    text.append(f"{line.loss_before / NAT:7.4f} ", LABEL).append("→")
    text.append(f" {line.loss_after / NAT:7.4f}   ", GOOD if line.accepted else PLAIN)
    share = line.correct / line.samples
    text.append(f"{100 * share:6.1f} %  ")
    text.append(f"{in_coins(line.paid, 2):>8}  " if line.accepted else f"{'-':>8}  ")
    room = min(width - text.cell_len - 1, 30)
    return text.append(_bar(share, room), "green" if line.accepted else LABEL) if room >= 8 else text


def _bar(share: float, cells: int) -> str:
    """A share of so many cells, to an eighth of a cell."""
    whole, rest = divmod(round(share * cells * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def _updates(snapshot: Snapshot) -> list[Text]:
    if not snapshot.updates:
        return []
    lines = [Text(f"round {snapshot.rounds[-1].number}      contribution      earned   fate", LABEL)]
    return [*lines, *(_update(line) for line in snapshot.updates), Text()]


def _update(line: UpdateLine) -> Text:
    text = Text(f"{line.miner:<11}")
    text.append(f"{line.contribution / NAT:+9.5f} nat", GOOD if line.contribution > 0 else PLAIN)
    net = line.reward - line.charge - line.cut
    text.append(f"{in_coins(net, 2):>12}   ", GOOD if net > 0 else BAD if net < 0 else LABEL)
    return text.append(FATES[line.fate], GOOD if line.fate is Fate.ACCEPTED else LABEL)


def _balances(balances: Sequence[tuple[str, int]], width: int) -> list[Text]:
    """Name and coins of each account, as many in a line as fit."""
    lines: list[Text] = []
    for name, amount in balances:
        entry = Text.assemble((f"{name} ", LABEL), in_coins(amount, 2))
        if lines and lines[-1].cell_len + 3 + entry.cell_len <= width:
            lines[-1].append("   ").append_text(entry)
        else:
            lines.append(entry)
    return lines


def _footer(snapshot: Snapshot) -> list[Text]:
    lines = [Text(f"warning: {snapshot.warning}", "yellow")] if snapshot.warning else []
    if snapshot.is_development:
        lines.append(Text('for you: 10,000 coins on each of the ten accounts of "test test ... test junk"', LABEL))
    lines.append(Text(f"Ctrl-C stops it, the next start goes on; logs are in {snapshot.directory}/logs", LABEL))
    return lines

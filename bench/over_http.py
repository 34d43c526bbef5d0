"""Requests to servers in turn, round by round, and the table of them."""

from collections import defaultdict
from statistics import median

from bench.load import Load, Measured
from bench.tables import Series, Targets, compared, header, row

CONNECTIONS = (1, 16)

Job = tuple[int, bytes, int]  # the port, the request, the status of the answer
Answers = dict[tuple[str, int], list[Measured]]  # by the label of the job and the number of connections


def ask_in_turn(load: Load, jobs: dict[str, Job], rounds: int, seconds: float) -> Answers:
    answers: Answers = defaultdict(list)
    for number in range(rounds + 1):
        for connections in CONNECTIONS:
            for label, job in jobs.items():
                measured = load.run(*job, connections, seconds)
                if number:  # the first round warms up
                    answers[label, connections].append(measured)
    return answers


def print_answers(title: str, answers: Answers, targets: Targets) -> None:
    header(title, "connections", "requests/s", "p50 ms", "p99 ms", "ratio", "target")
    for connections in CONNECTIONS:
        measured = {label: each for (label, count), each in answers.items() if count == connections}
        rates: Series = {label: [one.rate for one in each] for label, each in measured.items()}
        for label, each in measured.items():
            p50, p99 = median(one.p50 for one in each), median(one.p99 for one in each)
            figures = f"{median(rates[label]):,.0f}", f"{p50:.2f}", f"{p99:.2f}"
            row(label, connections, *figures, *compared(rates, label, targets))
    busy = max(median(one.busy for one in each) for each in answers.values())
    print(f"\nThe load generator was at work for at most {busy:.0%} of the time.")

"""Memory of the workers over a run: docs/corpus.png, by `python -m benchmarks.corpus.figure`.

The samples are those of docs/results/corpus.json.
"""

from benchmarks.common import RESULTS, ROOT, read_record


def main() -> None:
    """Draw a line for each worker."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    memory = read_record(RESULTS / "corpus.json")["round_trip"]["memory"]
    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for way, colour in zip(memory, ("tab:blue", "tab:orange"), strict=True):
        workers = sorted({worker for _, sizes in memory[way] for worker in sizes}, key=int)
        for number, worker in enumerate(workers):
            points = [(t, sizes[worker]) for t, sizes in memory[way] if worker in sizes]
            if len(points) > 5:  # others are the command itself, before its workers start
                label = None if number else way
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=label)
    axes.set(xlabel="seconds", ylabel="resident MB of a worker", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "docs" / "corpus.png", dpi=110)


if __name__ == "__main__":
    main()

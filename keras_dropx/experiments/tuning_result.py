"""What `tune` returns: the winner, and whether it beats tuned dropout."""

import inspect

from keras_dropx.experiments.comparison_result import write_page


class Tuning:
    """The result of `tune`; `str()` ends with the winner and the sentence.

    Attributes:
        comparison: `Comparison` of the winner ("winner"), the best dropout
            ("dropout") and no dropout on the test data; its `call` repeats
            the search too.
        searches: List of dicts, one a search: its method, the numbers of
            trials and of those that failed, the score and the
            hyperparameters of the best one, the line of Python of its layer.
        objective: String, what the trials were chosen by.
        best: The winner, a layer that is in no model.
    """

    def __init__(self, comparison, searches, objective, best):
        self.comparison = comparison
        self.searches = searches
        self.objective = objective
        self.best = best

    @property
    def code(self):
        """The line of Python that makes the winner, a string."""
        return code_of(self.best)

    @property
    def verdict(self):
        """What the intervals allow to say, a string of sentences."""
        return self.comparison.verdict

    @property
    def rows(self):
        """List of dicts, one a method: its mean and standard error."""
        return self.comparison.rows

    @property
    def contrasts(self):
        """List of dicts, one a contrast, with its simultaneous interval."""
        return self.comparison.contrasts

    @property
    def seeds_needed(self):
        """Integer, seeds that would about resolve all contrasts, or None."""
        return self.comparison.seeds_needed

    @property
    def records(self):
        """List of dicts, one a run of the comparison."""
        return self.comparison.records

    def figure(self):
        """Draws the paired differences: `Comparison.figure`."""
        return self.comparison.figure()

    def report(self, path):
        """Writes the page of the comparison, with the search at its end.

        Args:
            path: Path whose ending is `.md` or `.html`.

        Raises:
            ValueError: If it ends otherwise.
            OSError: If it cannot be written.
        """
        lines = f"{self._searched()}\n\n{self.code}".split("\n")
        code = "\n".join(f"    {line}".rstrip() for line in lines)
        write_page(self.comparison, path, f"\n## The search\n\n{code}\n")

    def __str__(self):
        tables = str(self.comparison).removeprefix(self.verdict).strip()
        return "\n\n".join([self._searched(), tables, self.code, self.verdict])

    def __repr__(self):
        return f"<Tuning: {self.code}. {self.verdict}>"

    def _searched(self):
        """Returns a line a search."""
        lines = []
        for found in self.searches:
            method = found["method"]
            name = "any method" if method == "any" else method
            text = f"{name}: {found['code']}, the best of {found['trials']} "
            text += f"trials, {self.objective} {found['score']:.4g}"
            if found["failed"]:
                text += f"; {found['failed']} failed"
            lines.append(text)
        return "\n".join(lines)


def code_of(layer):
    """Returns the line of Python that makes a layer, without its defaults.

    Args:
        layer: A masking layer of `keras_dropx.layers`.
    """
    config = layer.get_config()
    arguments = []
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name == "seed" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.default is parameter.empty:
            arguments.append(repr(config[name]))
        elif config[name] != parameter.default:
            arguments.append(f"{name}={config[name]!r}")
    text = ", ".join(arguments).replace("'", '"')
    return f"keras_dropx.layers.{type(layer).__name__}({text})"

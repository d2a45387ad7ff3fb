import numpy as np

from keras_dropx.callbacks import figures, probe, sites
from keras_dropx.callbacks.measurement import ProbeMeasurement, check_count
from keras_dropx.callbacks.net_variance import nets

NAME = "saturation"
SATURATED = 0.1
# Where the steepest slope of an activation is looked for.
GRID = np.linspace(-10, 10, 4001, dtype="float32")


class NetDistribution(ProbeMeasurement):
    """Logs which share of the net values lies where the activation is flat.

    Saturated is a net value z with

    ```
    |φ′(z)| < 0.1 · max |φ′|
    ```

    (for tanh |z| > 1.8184, for ReLU z < 0), in inference mode, for layers
    with an elementwise activation φ and stand-alone activation layers. `GAAF`
    counts as its activation. The histograms of z are in `results` and, under
    `log_dir`, in TensorBoard.

    Args:
        x: Inputs as `predict` takes them, or a dataset of (x, y), all of it
            the probe batch: test data in the paper. It goes through the
            model's own preprocessing, as in `fit`.
        bins: Positive integer, of the histograms. Defaults to 50.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps.
        log_dir: Folder for TensorBoard, or None.

    Logs:
        `saturation/<layer>`, a share in 0..1. `results` has the counts and
        the edges of the histograms besides, `net_value_counts/<layer>` and
        `net_value_edges/<layer>`.

    Raises:
        ValueError: When training begins, if `x` does not fit the model or a
            name is no such layer.

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Figures 2 and 5.
    """

    def __init__(
        self, x, bins=50, layers=None, frequency="epoch", log_dir=None
    ):
        super().__init__(x, layers, frequency, log_dir)
        self.bins = check_count("bins", bins, 1, "a positive integer")

    def prepare(self, model):
        pairs = [(site.key, site) for site in sites.activation_sites(model)]
        pairs = sites.chosen(pairs, self.layers, "layers with an activation")
        self._sites = dict(pairs)
        found = [site for _, site in pairs]
        self._probe = probe.kept_probe(
            model,
            (NAME, sites.identity(found)),
            lambda: nets(model, found, []),
        )

    def measure(self):
        scalars, arrays, values = {}, {}, {}
        for key, z in self._probe(self._batch).items():
            slope = np.abs(probe.slope(self._sites[key].activation, z))
            rows = -(-GRID.size // int(np.prod(z.shape[1:])))
            grid = np.resize(GRID, (rows, *z.shape[1:]))
            steepest = np.abs(
                probe.slope(self._sites[key].activation, grid)
            ).max()
            scalars[f"{NAME}/{key}"] = float(
                np.mean(slope < SATURATED * steepest)
            )
            finite = z[np.isfinite(z)]
            counts, edges = np.histogram(finite, self.bins)
            arrays[f"net_value_counts/{key}"] = counts
            arrays[f"net_value_edges/{key}"] = edges
            values[f"net_value/{key}"] = finite
        return scalars, arrays, values

    def plot(self, path):
        """Draws the first and the last histogram of each layer.

        Args:
            path: Path of the picture; its ending says the format.
        """
        results = self.results
        figures.check(results)
        when = next(iter(results))
        layers = figures.layers_of(results, NAME)
        drawn, axes = figures.figure(
            "Net values at the first and the last measurement",
            len(layers),
            width=3.2,
        )
        named = {}
        last = len(results[when]) - 1
        for axis, (layer, saturation) in zip(axes, layers, strict=True):
            shown = [f"{saturation[index]:.1%}" for index in (0, last)]
            for number, index in enumerate(dict.fromkeys((0, last))):
                counts = results[f"net_value_counts/{layer}"][index]
                edges = results[f"net_value_edges/{layer}"][index]
                text = f"{when} {results[when][index]}"
                named[text] = axis.stairs(
                    counts / counts.sum() / np.diff(edges),
                    edges,
                    **figures.line(number, marked=False),
                )
            axis.set_title(
                f"{layer}\nsaturated: {' to '.join(dict.fromkeys(shown))}",
                fontsize="small",
            )
            axis.set(xlabel="net value", ylabel="density, 1 / net value")
        figures.legend(drawn, named)
        drawn.savefig(path, dpi=150)

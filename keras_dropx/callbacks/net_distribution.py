import numpy as np

from keras_dropx import errors
from keras_dropx.callbacks import figures, probe, sites
from keras_dropx.callbacks.measurement import ProbeMeasurement
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
        x: Array of inputs, the probe batch: test data in the paper.
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
        if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
            raise errors.invalid("bins", "a positive integer", bins)
        self.bins = bins

    def prepare(self, model):
        pairs = [(site.key, site) for site in sites.activation_sites(model)]
        pairs = sites.chosen(pairs, self.layers, "layers with an activation")
        self._sites = dict(pairs)
        self._probe = probe.Probe(model, nets(model, self._sites.values(), []))

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
        drawn, axes = figures.figure(1, len(layers), 3.2 * len(layers), 3.4)
        for axis, (layer, saturation) in zip(axes[0], layers, strict=True):
            for index, style in ((0, "--"), (-1, "-")):
                counts = results[f"net_value_counts/{layer}"][index]
                edges = results[f"net_value_edges/{layer}"][index]
                axis.stairs(
                    counts / counts.sum() / np.diff(edges),
                    edges,
                    linestyle=style,
                    label=f"{when} {results[when][index]}: "
                    f"{saturation[index]:.1%} saturated",
                )
            axis.set(xlabel=f"net value of {layer}", ylabel="density")
            axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
            axis.legend(fontsize="x-small", loc="upper center")
        drawn.savefig(path, dpi=150)

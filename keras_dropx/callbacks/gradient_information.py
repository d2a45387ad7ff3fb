import numpy as np

from keras_dropx import errors
from keras_dropx.callbacks import figures, reading
from keras_dropx.callbacks.gradient_batch_form import BatchForm
from keras_dropx.callbacks.gradient_sample_form import SampleForm
from keras_dropx.callbacks.measurement import Measurement

NAME = "gradient_information"
NORMALIZED = "gradient_information_normalized"


class GradientInformation(Measurement):
    """Logs how large the gradients of the kernels are, layer by layer.

    In two forms, which are different numbers. *Batch form*, without `data`:

    ```
    G_k = mean_ij |∂E/∂W_k|
    ```

    of the mean loss E of each training batch, averaged over the training
    steps. It is taken from the gradients of the training step itself, before
    clipping, for every layer with a trainable kernel (recurrent kernels, biases
    and embeddings have none of it). With gradient accumulation it is of
    each micro-batch; under `MirroredStrategy` of the sum over the replicas;
    with loss scaling unscaled, and steps that the optimizer skips because of
    it are left out and counted as `gradient_information/skipped_steps`.

    *Per-sample form* (GAAF, Eq. 5), with `data`: one pass over a batch in
    training mode, with T_n what sample n adds to ∂(Σ E)/∂W_k,

    ```
    G_k = mean_n mean_ij |T_n|,   Σ_n T_n = ∂(Σ E)/∂W_k
    ```

    for the layers that `MaskedInput` takes, of loss terms only, under the
    masks that the next training step would draw. With LoRA W_k are the two
    matrices that are trained, all their elements together.

    Both are given as `gradient_information/<layer>`, and divided by the
    error at the output, mean|∂E/∂z_out|, as
    `gradient_information_normalized/<layer>`. Dropout raises the training loss
    and with it the gradients of all layers, the output layer's too, so only
    the second speaks for gradients that reach further down. It needs the
    graph of the model: of subclassed models only the first is given.

    The model trains as without the callback. While it trains, for the batch
    form, `train_step`, the optimizer's `apply` and the `call` of the output
    layers are replaced on the instances, to be put back at the end (after an
    error within `fit` when the next training with such a callback begins);
    calls from other threads pass through. The measuring step is kept for the
    next `fit` until the model is compiled anew. The keys of the two forms are
    the same: use one of them in a training.

    Args:
        data: Tuple (x, y) or (x, y, sample_weight) as `fit` takes them, or
            a dataset of such, for the per-sample form; or None. All of it is
            one batch, and goes through the model's own preprocessing. On JAX
            there is no batch form, because a compiled step writes to no
            variable that the model does not have.
        layers: List of layer names, or None for all.
        frequency: "epoch", or an integer N: every N training steps. The batch
            form averages over the steps since the measurement before.
        log_dir: Folder for TensorBoard (`log_dir/train`, where Keras' own
            callback writes), or None. The step is the epoch, or the number of
            training steps with a number as `frequency`.

    Logs:
        The keys above, unit: loss per unit of weight; the normalised ones:
        unit of the layer's input. List callbacks that read them after this
        one.

    Raises:
        ValueError: When training begins, if the probe batch does not fit the
            model or what the model's own `fit` or `train_step` makes of it
            cannot be known, a name is no layer with a kernel, two layers have
            one key, or the backend cannot do the batch form. At once, if
            another argument is none of these.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x, y = np.random.rand(64, 3), np.random.rand(64, 1)
    >>> callback = keras_dropx.callbacks.GradientInformation()
    >>> history = model.fit(x, y, verbose=0, callbacks=[callback])
    >>> callback.results.to_csv("gradients.csv")

    Reference:
        Hahn, Choi, 2018: Gradient Acceleration in Activation Functions,
        Eq. 5 and Table 1.
    """

    def __init__(self, data=None, layers=None, frequency="epoch", log_dir=None):
        super().__init__(layers, frequency, log_dir)
        pair = isinstance(data, (tuple, list)) and len(data) in (2, 3)
        if data is not None and not (pair or reading.is_dataset(data)):
            raise errors.invalid(
                "data", "a tuple (x, y) or a dataset of such", type(data)
            )
        if pair:
            for part in data:
                if part is not None or part is data[0]:
                    reading.check("data", part, "arrays in a tuple (x, y)")
        self.data = data
        self._form = None

    def start(self):
        form = BatchForm if self.data is None else SampleForm
        self._form = form(self.model, self.layers, self.data)

    def measure(self):
        sizes, error, others = self._form.read()
        scalars = {f"{NAME}/{key}": size for key, size in sizes.items()}
        if error is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                scalars |= {
                    f"{NORMALIZED}/{key}": np.float64(size) / error
                    for key, size in sizes.items()
                }
        scalars |= {f"{NAME}/{key}": value for key, value in others.items()}
        return scalars, {}, {}

    def stop(self):
        if self._form is not None:
            self._form.close()
        self._form = None

    def plot(self, path):
        """Draws both values of each layer over the training.

        Args:
            path: Path of the picture; its ending says the format.
        """
        form = "batch" if self.data is None else "per-sample"
        figures.lines(
            self.results,
            f"Gradient information, {form} form",
            {
                NAME: "mean |∂E/∂W|, loss per unit of weight",
                NORMALIZED: "over the output error, unit of the input",
            },
            logarithmic=True,
        ).savefig(path, dpi=150)

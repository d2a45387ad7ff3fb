"""The papers' preprocessing: steps as data, fitted on training images.

A step is its name and its numbers, so that a recipe can hold it and a JSON
line can record it:

| step | images become |
| --- | --- |
| `("scale", maximum=1)` | x · maximum / max(training images) |
| `("mean-image",)` | x − mean of the training images, pixel by pixel |
| `("standardize",)` | (x − mean) / standard deviation, channel by channel |
| `("gcn", scale=55)` | of unit contrast, times `scale` |
| `("zca", eps=0.1)` | whitened |
| `("resize", height, width)` | resized, bilinear |
"""

import keras
import numpy as np

from keras_dropx.errors import check_choice, check_positive, invalid

CHUNK = 1024


def prepare(steps, train_images, *other_images):
    """Fits steps on training images and applies them to all images.

    Each step is fitted on what the steps before it made of the training
    images; the other images are treated with the training images' numbers.
    Statistics are float64. Beside its arguments and its results this takes
    the memory of one array more at most; `zca` also that of three square
    float64 matrices (3,072 pixels: 75 MB each).

    Args:
        steps: list of steps as in this module's table, tuples or (from JSON)
            lists.
        train_images: array of shape (n, height, width, channels), any real
            dtype. It is left as it is.
        *other_images: arrays of further images of the same size.

    Returns:
        A list of float32 arrays, the training images first.

    Raises:
        ValueError: if there is no such step or its numbers are bad, before
            anything is computed.

    Example:

    ```python
    train, test = prepare([("gcn", 55.0), ("zca", 0.1)], train, test)
    ```
    """
    built = [make_step(step) for step in steps]
    originals = [train_images, *other_images]
    arrays = [np.asarray(images, "float32") for images in originals]
    for step in built:
        step.fit(arrays[0])
        arrays = [
            _apply(step, images, not np.may_share_memory(images, original))
            for images, original in zip(arrays, originals, strict=True)
        ]
    return arrays


def make_step(step):
    """Returns the object of a step, or raises."""
    name, *numbers = step
    step_class = STEPS[check_choice("preparation", name, STEPS)]
    try:
        return step_class(*numbers)
    except TypeError:
        expected = f"the numbers that '{name}' takes"
        raise invalid("preparation", expected, step) from None


def _apply(step, images, in_place):
    shape = step.apply(images[:1].astype("float64")).shape[1:]
    out = images
    if not in_place or shape != images.shape[1:]:
        out = np.empty((len(images), *shape), "float32")
    for start, chunk in _chunks(images):
        out[start : start + CHUNK] = step.apply(chunk)
    return out


def _chunks(images):
    """Yields the images in float64, some at a time, and where they start."""
    for start in range(0, len(images), CHUNK):
        yield start, images[start : start + CHUNK].astype("float64")


class Scale:
    """Maps 0 to 0 and the largest training value to `maximum`.

    Networks whose learning rate was chosen for pixels of 0..255 (Caffe's)
    want `maximum=255` whatever the range of the stored images.
    """

    def __init__(self, maximum=1.0):
        self.maximum = check_positive("maximum", maximum)

    def fit(self, images):
        self.factor = self.maximum / float(images.max())

    def apply(self, images):
        return images * self.factor


class MeanImage:
    """Subtracts the mean training image.

    As Caffe's `mean_file` (Jia et al., 2014, "Caffe: Convolutional
    Architecture for Fast Feature Embedding") and the "per-pixel mean
    subtracted" of He et al., 2016, "Deep Residual Learning for Image
    Recognition".
    """

    def fit(self, images):
        self.mean = images.mean(axis=0, dtype="float64")

    def apply(self, images):
        return images - self.mean


class Standardize:
    """Gives each channel mean 0 and standard deviation 1 (ddof = 0).

    As Zagoruyko & Komodakis, 2016, "Wide Residual Networks", do for CIFAR. A
    channel that never changes becomes 0.
    """

    def fit(self, images):
        axes = tuple(range(images.ndim - 1))
        self.mean = images.mean(axis=axes, dtype="float64")
        count = images.size // images.shape[-1]
        squares = (
            np.square(chunk - self.mean).sum(axis=axes)
            for _, chunk in _chunks(images)
        )
        std = np.sqrt(sum(squares) / count)
        # Rounding may give a channel that never changes a deviation.
        changes = images.max(axis=axes) > images.min(axis=axes)
        self.std = np.where(changes, std, 1)

    def apply(self, images):
        return (images - self.mean) / self.std


class GlobalContrastNormalization:
    """Gives each image mean 0 and Euclidean norm `scale`.

    ```
    y = scale · (x − mean(x)) / ‖x − mean(x)‖
    ```

    The mean and the norm are over all pixels and channels of one image. An
    image whose norm is below `1e-8 · scale` is only centred.

    This is the form of Goodfellow et al., 2013, "Maxout Networks", whose
    pylearn2 code has the scale 55 (a pixel's standard deviation is then
    55 / √3072 = 0.99 at 32x32x3). Coates et al., 2011, "An Analysis of
    Single-Layer Networks in Unsupervised Feature Learning", divide patches of
    0..255 by √(variance + 10) instead, which is not meant here.
    """

    def __init__(self, scale=55.0):
        self.scale = check_positive("scale", scale)

    def fit(self, images):
        pass

    def apply(self, images):
        axes = tuple(range(1, images.ndim))
        centred = images - images.mean(axis=axes, keepdims=True)
        norms = np.sqrt(np.square(centred).sum(axis=axes, keepdims=True))
        divisors = norms / self.scale
        return centred / np.where(divisors < 1e-8, 1, divisors)


class ZCA:
    """Whitens images and turns them back into the pixels' basis.

    ```
    y = (x − μ) (C + eps·I)^(−1/2),     C = Σ (x − μ)ᵀ(x − μ) / n
    ```

    with x an image as a row, μ and C of the training images. Without `eps`
    (variance, in squared units of x) directions of no variance would be blown
    up; 0.1 is the `filter_bias` of pylearn2, for images after `gcn` with
    scale 55.

    Reference: Bell & Sejnowski, 1997, "The 'Independent Components' of
    Natural Scenes are Edge Filters"; used as in Goodfellow et al., 2013,
    "Maxout Networks".
    """

    def __init__(self, eps=0.1):
        self.eps = check_positive("eps", eps)

    def fit(self, images):
        self.mean = images.mean(axis=0, dtype="float64")
        covariance = 0
        for _, chunk in _chunks(images):
            rows = (chunk - self.mean).reshape(len(chunk), -1)
            covariance += rows.T @ rows
        variances, axes = np.linalg.eigh(covariance / len(images))
        # Rounding makes variances of 0 slightly negative.
        variances = np.maximum(variances, 0)
        self.matrix = (axes / np.sqrt(variances + self.eps)) @ axes.T

    def apply(self, images):
        rows = (images - self.mean).reshape(len(images), -1)
        return (rows @ self.matrix).reshape(images.shape)


class Resize:
    """Resizes to `height` x `width` pixels, bilinear, antialiased.

    The centres of pixels are at half integers; antialiasing widens the
    filter where an image shrinks.
    """

    def __init__(self, height, width):
        for name, size in (("height", height), ("width", width)):
            if not isinstance(size, int) or size < 1:
                raise invalid(name, "a positive integer", size)
        self.size = (height, width)

    def fit(self, images):
        pass

    def apply(self, images):
        resized = keras.ops.image.resize(
            images.astype("float32"),
            self.size,
            interpolation="bilinear",
            antialias=True,
            data_format="channels_last",
        )
        return keras.ops.convert_to_numpy(resized)


STEPS = {
    "scale": Scale,
    "mean-image": MeanImage,
    "standardize": Standardize,
    "gcn": GlobalContrastNormalization,
    "zca": ZCA,
    "resize": Resize,
}

"""The values of the callbacks in TensorBoard, by way of TensorFlow."""


def summary_writer(log_dir):
    """Opens a TensorBoard writer where Keras' own callback has its own.

    Raises:
        ImportError: If TensorFlow or TensorBoard is missing.
    """
    try:
        import tensorboard  # noqa: F401
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "`log_dir` needs the packages tensorflow and tensorboard: "
            'pip install "keras-dropx[tensorboard]"'
        ) from error
    return tf.summary.create_file_writer(f"{log_dir}/train")


def write_summary(writer, step, scalars, histograms):
    """Writes values of one step, and sees that they are on the disk."""
    import tensorflow as tf

    with writer.as_default(step):
        for name, value in scalars.items():
            tf.summary.scalar(name, value)
        for name, values in histograms.items():
            tf.summary.histogram(name, values)
    writer.flush()

"""Formulas of the papers: tensors in, tensors out, no state, no layers."""

from keras_dropx.ops import gaaf, jumpout, masks, split

__all__ = ["gaaf", "jumpout", "masks", "split"]

"""Ratios of keras_dropx to Keras' Dropout and to a memory copy."""

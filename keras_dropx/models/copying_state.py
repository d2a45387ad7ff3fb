"""What the layers of a copy hold: weights, flags, dtypes, LoRA, assets."""

import tempfile

import keras


def copy_state(old, copies, replaced):
    """Copies what a model holds, from the top down.

    Args:
        old: Model or layer.
        copies: Dict from the id of a layer to its copy.
        replaced: Set of the ids of layers whose copy is another layer.

    Raises:
        ValueError: If the copy of a layer has other weights.
    """
    new = copies[id(old)]
    children = _copied_children(old, copies)
    if children:
        # Set on a model, the flag goes down to its layers.
        if new.trainable != old.trainable:
            new.trainable = old.trainable
        for child in children:
            copy_state(child, copies, replaced)
        return
    # A replacing layer may have more parts, behind those of the old one.
    pairs = list(
        zip(old._flatten_layers(), new._flatten_layers(), strict=False)
    )
    if id(old) not in replaced:
        _follow(old, new, pairs)
    for before, after in pairs:
        if after.trainable != before.trainable:
            after.trainable = before.trainable
    for before, after in pairs:
        _load(before, after)
    if id(old) in replaced:
        matches = zip(old.weights, new.weights, strict=False)
    else:
        matches = [
            match for pair in pairs for match in _own_variables(*pair, old)
        ]
    for before, after in matches:
        if before.shape != after.shape:
            raise _other_weights(old, new)
        # Files have LoRA's product merged into the kernel: take the factors.
        # JAX reuses the memory of a variable that is trained: share none.
        after.assign(keras.ops.copy(before))
        if after.trainable != before.trainable:
            after.trainable = before.trainable


def follow_policies(old, new):
    """Gives parts that take their dtype from elsewhere that of the old ones.

    Only parts without variables, whose dtype is fixed.
    """
    pairs = zip(old._flatten_layers(), new._flatten_layers(), strict=False)
    for before, after in pairs:
        if (
            type(before) is type(after)
            and after.dtype_policy != before.dtype_policy
            and not after.weights
            and before.quantization_mode is None
        ):
            after.dtype_policy = before.dtype_policy


def _copied_children(old, copies):
    """Returns the layers in a layer that were copied one by one."""
    if isinstance(old, (keras.Sequential, keras.Function)):
        return [layer for layer in old.layers if id(layer) in copies]
    if type(old) is keras.layers.TimeDistributed and id(old.layer) in copies:
        return [old.layer]
    return []


def _follow(old, new, pairs):
    """Makes the copy of a built layer what methods made of the old one.

    `enable_lora` and `quantize` may have been called on parts of the layer,
    of which its config knows nothing.
    """
    if len(old._flatten_layers()) != len(new._flatten_layers()):
        raise _other_weights(old, new)
    for before, after in pairs:
        mode = before.quantization_mode
        try:
            if mode is not None and after.quantization_mode != mode:
                config = getattr(before, "quantization_config", None)
                after.quantize(mode, **({"config": config} if config else {}))
            if getattr(before, "lora_enabled", False) and not getattr(
                after, "lora_enabled", False
            ):
                alpha = getattr(before, "lora_alpha", None)
                after.enable_lora(
                    before.lora_rank,
                    **({} if alpha is None else {"lora_alpha": alpha}),
                )
        except Exception as error:
            raise ValueError(
                f"Layer {old.name!r} ({type(old).__name__}) cannot be copied: "
                f"its part {before.name!r} is quantized or has LoRA, and its "
                "copy cannot be made so. The error was: "
                f"{type(error).__name__}: {error}"
            ) from error
    follow_policies(old, new)


def _load(before, after):
    """Copies what layers keep besides variables, or compute from them."""
    if type(before).load_own_variables is not keras.Layer.load_own_variables:
        store = {}
        before.save_own_variables(store)
        after.load_own_variables(
            {
                name: keras.ops.copy(value)
                if isinstance(value, keras.Variable)
                else value
                for name, value in store.items()
            }
        )
    if hasattr(before, "save_assets") and hasattr(after, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            before.save_assets(folder)
            after.load_assets(folder)


def _own_variables(before, after, layer):
    """Returns the pairs of variables that two parts hold themselves."""
    own = []
    for part in (before, after):
        inner = {
            id(variable)
            for child in part._flatten_layers(include_self=False)
            for variable in child.weights
        }
        own.append([v for v in part.weights if id(v) not in inner])
    if len(own[0]) != len(own[1]):
        raise _other_weights(layer, after)
    names = [[variable.name for variable in variables] for variables in own]
    # LoRA before quantization gives another order than the other way about.
    if len(set(names[0])) == len(names[0]) and set(names[0]) == set(names[1]):
        by_name = dict(zip(names[1], own[1], strict=True))
        return [(v, by_name[v.name]) for v in own[0]]
    return list(zip(*own, strict=True))


def _other_weights(old, new):
    return ValueError(
        f"Layer {old.name!r} ({type(old).__name__}) cannot be copied: a layer "
        "of its class and config has other weights, because it was changed "
        "after it was made. Pass `in_place=True`. Received: "
        f"{[tuple(v.shape) for v in old.weights]}; its copy has "
        f"{[tuple(v.shape) for v in new.weights]}"
    )

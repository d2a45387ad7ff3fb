import keras
import pytest
from keras import layers

from keras_dropx.experiments import networks
from keras_dropx.experiments.baselines import ConcreteDropout, link_kernels


def site(**kwargs):
    return ConcreteDropout(1e-3, 1e-2, **kwargs)


def linked(model):
    link_kernels(model)
    return [
        layer.penalty.kernel
        for layer in model.layers
        if isinstance(layer, ConcreteDropout)
    ]


def test_each_site_of_a_network_finds_the_next_kernel():
    model = networks.mlp((8, 8, 1), 10, dropout=site)
    kernels = [model.get_layer(x).kernel for x in ("hidden_2", "logits")]
    assert [id(k) for k in linked(model)] == [id(k) for k in kernels]
    # Pooling on the way.
    model = networks.convnet_bn((8, 8, 1), 10, dropout=site)
    names = ("conv_2", "conv_3", "logits")
    kernels = [model.get_layer(name).kernel for name in names]
    assert [id(k) for k in linked(model)] == [id(k) for k in kernels]


def test_batch_normalisation_and_activation_are_passed():
    inputs = keras.Input((6,))
    x = layers.BatchNormalization()(site()(inputs))
    x = layers.Flatten()(layers.ReLU()(x))
    dense = layers.Dense(3)
    model = keras.Model(inputs, dense(x))
    assert linked(model)[0] is dense.kernel


def test_a_branch_elsewhere_does_not_matter():
    inputs = keras.Input((6,))
    hidden = layers.Dense(6)(inputs)
    dense = layers.Dense(6)
    x = dense(site()(hidden))
    model = keras.Model(inputs, layers.Add()([x, hidden]))
    assert linked(model)[0] is dense.kernel


def test_no_or_several_layers_behind_are_refused():
    inputs = keras.Input((6,))
    last = keras.Model(inputs, site(name="last")(inputs))
    with pytest.raises(ValueError, match="one layer behind 'last'.*none"):
        link_kernels(last)
    x = site(name="fork")(inputs)
    fork = keras.Model(
        inputs, [layers.Dense(2, name="a")(x), layers.Dense(2, name="b")(x)]
    )
    with pytest.raises(ValueError, match="'fork'.*Received: 'a', 'b'"):
        link_kernels(fork)


@pytest.mark.parametrize(
    "behind",
    [
        lambda x: layers.Add(name="other")([x, x]),
        lambda x: layers.LayerNormalization(name="other")(x),
        lambda x: layers.PReLU(name="other")(x),
    ],
)
def test_other_layers_are_refused(behind):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(2)(behind(site()(inputs))))
    with pytest.raises(ValueError, match="other"):
        link_kernels(model)


def test_other_models_are_refused():
    unbuilt = keras.Sequential([site(), layers.Dense(2)])
    with pytest.raises(ValueError, match="built Sequential or Functional"):
        link_kernels(unbuilt)
    with pytest.raises(ValueError, match="built Sequential or Functional"):
        link_kernels(keras.Model())
    plain = keras.Sequential([keras.Input((6,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="with ConcreteDropout layers"):
        link_kernels(plain)

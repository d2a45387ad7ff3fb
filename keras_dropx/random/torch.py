import numpy as np
import torch


def replica_seed(seed):
    return seed


def step(seed):
    return seed[1]


def bits16(seed, stream, shape):
    if seed.device.type == "meta":  # Keras only asks for the shape.
        return torch.zeros(shape, dtype=torch.int32, device="meta")
    # A torch generator has one 64-bit seed and lives on the host: hence the
    # read-back (Keras' torch backend has it too) and the hash to that size.
    words = [number & 0xFFFFFFFF for number in seed.tolist()]
    entropy = np.random.SeedSequence((*words, stream))
    generator = torch.Generator(seed.device)
    generator.manual_seed(int(entropy.generate_state(1, "uint64")[0]))
    # torch cannot compare 16-bit unsigned integers.
    return torch.randint(
        2**16,
        shape,
        generator=generator,
        dtype=torch.int32,
        device=seed.device,
    )

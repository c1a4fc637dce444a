import numpy as np
import torch
from album import scene
from PIL import Image

from dedup.models.encoder import BATCH, CHANNELS, DIMS, GRID, MAP_SCALE, Encoder, encode, unit
from dedup.models.weights import Weights
from dedup.types.arrays import SIDE, Vectors


def pixels(seed: int) -> np.ndarray:
    return np.asarray(scene(seed).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def cosine(weights: Weights, *pictures: np.ndarray) -> Vectors:
    vectors = unit(encode(weights.encoder, pictures)[0])
    return vectors @ vectors.T


def test_shapes_and_norms(weights: Weights) -> None:
    vectors, maps = encode(weights.encoder, [pixels(n) for n in range(3)])
    assert (vectors.shape, vectors.dtype) == ((3, DIMS), np.float16)
    assert (maps.shape, maps.dtype) == ((3, GRID * GRID, CHANNELS), np.int8)
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(maps.astype(np.float32), axis=2) / MAP_SCALE, 1, atol=0.03)


def test_descriptor_does_not_depend_on_the_batch_or_on_threads(weights: Weights) -> None:
    pictures = [pixels(n) for n in range(BATCH + 3)]
    vectors, maps = encode(weights.encoder, pictures)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [encode(weights.encoder, [p]) for p in pictures[-5:]]
    finally:
        torch.set_num_threads(threads)
    for n, (v, m) in enumerate(alone, BATCH - 2):
        assert (v[0] == vectors[n]).all()
        assert (m[0] == maps[n]).all()


def test_edits_of_one_picture_are_nearer_than_other_pictures(weights: Weights) -> None:
    image = scene(1)
    small = np.asarray(image.resize((90, 70)).convert("L").convert("RGB").resize((SIDE, SIDE)))
    mirrored = np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((SIDE, SIDE)))
    similarity = cosine(weights, pixels(1), small, mirrored, pixels(2), pixels(3))
    assert similarity[0, 1:3].min() > 0.6
    assert similarity[0, 1:3].min() > similarity[0, 3:].max() + 0.2


def test_folding_batch_norm_changes_nothing_but_rounding() -> None:
    torch.manual_seed(0)
    encoder = Encoder().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = torch.randn_like(module.running_mean) * 0.1
            module.running_var = torch.rand_like(module.running_var) + 0.5
    x = torch.rand(2, 3, SIDE, SIDE) * 255
    with torch.inference_mode():
        plain = encoder(x)
        folded = encoder.fold()(x)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in encoder.modules())
    for a, b in zip(plain, folded, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_no_pictures_give_no_descriptors(weights: Weights) -> None:
    vectors, maps = encode(weights.encoder, [])
    assert (vectors.shape, maps.shape) == ((0, DIMS), (0, GRID * GRID, CHANNELS))

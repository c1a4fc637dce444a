import numpy as np
import torch
from album import plain, scene
from PIL import Image, ImageOps

from dedup.geometry.registration import Aligned, NotAligned, align, prepare
from dedup.models.pair_head import COPY
from dedup.models.residual_head import ResidualHead, residual_logits
from dedup.models.weights import Weights
from dedup.pipeline.judge import NOT_ALIGNED_COPY, judge_aligned
from dedup.types.pairs import Scores


def logits_of(net: ResidualHead, pairs: list[Aligned]) -> np.ndarray:
    return residual_logits(net, pairs, np.zeros((len(pairs), 3), np.float32), np.zeros(len(pairs), np.float32))


def test_logits_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    net = ResidualHead().eval()
    prepared = [prepare(np.asarray(scene(n))) for n in range(4)]
    pairs = [align(prepared[a], prepared[b], []) for a in range(4) for b in range(a + 1, 4)] * 4
    together = logits_of(net, pairs)
    assert (together[:6] == together[6:12]).all()
    assert (logits_of(net, pairs[2:3])[0] == together[2]).all()


def test_residual_head_tells_copies_from_changed_pictures(weights: Weights) -> None:
    image = scene(5)
    changed = image.copy()
    changed.paste(ImageOps.mirror(image).crop((200, 150, 420, 330)), (200, 150))
    others = [image.resize((300, 200)), ImageOps.mirror(image), image.crop((80, 40, 600, 420)), changed, scene(6)]
    first = prepare(np.asarray(image))
    judged = logits_of(weights.residual_head, [align(first, prepare(np.asarray(o)), []) for o in others])
    assert judged.argmax(1).tolist()[:3] == [COPY] * 3
    assert COPY not in judged.argmax(1).tolist()[3:]


def test_pairs_that_were_not_aligned_are_capped_and_stay_as_similar_as_before(weights: Weights) -> None:
    image = scene(5)
    one, other = prepare(np.asarray(image)), prepare(np.asarray(ImageOps.mirror(image)))
    pairs = [NotAligned(np.eye(3)), align(one, other, []), NotAligned(np.eye(3) * 2)]
    copy, similar, cosine = np.float32([0.4, 0.4, 0.01]), np.float32([0.5, 0.5, 0.2]), np.float32([0.9, 0.9, 0.5])
    scores = Scores(np.array([0, 0, 1]), np.array([1, 2, 2]), cosine, copy, similar)
    verified = judge_aligned(pairs, scores, np.zeros((3, 3), np.float32), weights)
    assert verified.copy.tolist() == [np.float32(NOT_ALIGNED_COPY), verified.copy[1], np.float32(0.01)]
    assert verified.copy[1] > 0.9
    assert (verified.similar[[0, 2]] == similar[[0, 2]]).all()
    assert (verified.transform[2] == np.eye(3) * 2).all()
    nothing = judge_aligned(pairs[:1], scores.rows([0]), np.zeros((1, 3), np.float32), weights)
    assert len(nothing) == 1


def test_plain_flag_comes_from_the_pictures() -> None:
    assert align(prepare(np.asarray(plain((5, 5, 5)))), prepare(np.asarray(Image.new("RGB", (9, 9)))), []).plain

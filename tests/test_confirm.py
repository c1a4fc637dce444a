import numpy as np
import torch
from album import plain, scene
from PIL import Image, ImageOps

from dedup.align import Aligned, align, prepare
from dedup.confirm import ResidualHead, look_logits
from dedup.verify import COPY
from dedup.weights import Weights


def logits_of(net: ResidualHead, pairs: list[Aligned]) -> np.ndarray:
    return look_logits(net, pairs, np.zeros((len(pairs), 3), np.float32), np.zeros(len(pairs), np.float32))


def test_pair_is_judged_the_same_in_any_company() -> None:
    torch.manual_seed(0)
    net = ResidualHead().eval()
    prepared = [prepare(np.asarray(scene(n))) for n in range(4)]
    pairs = [align(prepared[a], prepared[b], []) for a in range(4) for b in range(a + 1, 4)] * 4
    together = logits_of(net, pairs)
    assert (together[:6] == together[6:12]).all()
    assert (logits_of(net, pairs[2:3])[0] == together[2]).all()


def test_second_look_tells_copies_from_changed_pictures(weights: Weights) -> None:
    image = scene(5)
    changed = image.copy()
    changed.paste(ImageOps.mirror(image).crop((200, 150, 420, 330)), (200, 150))
    others = [image.resize((300, 200)), ImageOps.mirror(image), image.crop((80, 40, 600, 420)), changed, scene(6)]
    first = prepare(np.asarray(image))
    judged = logits_of(weights.second, [align(first, prepare(np.asarray(o)), []) for o in others])
    assert judged.argmax(1).tolist()[:3] == [COPY] * 3
    assert COPY not in judged.argmax(1).tolist()[3:]


def test_plain_flag_comes_from_the_pictures() -> None:
    assert align(prepare(np.asarray(plain((5, 5, 5)))), prepare(np.asarray(Image.new("RGB", (9, 9)))), []).plain

"""Are data sets and models on disk read as they are laid out, and wrong ones named?"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.accuracy import tasks, train
from codesign.accuracy.datasets import cifar10, image_folder, wikitext
from codesign.config import CodesignError

TEXT = "the quick brown fox jumps over the lazy dog . " * 40


def cifar_rows(seed: int, count: int = 20) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, 3072), np.uint8), random.integers(0, 10, count).tolist()


def write_python(folder: Path) -> None:
    for seed, name in enumerate(("data_batch_1", "data_batch_3", "test_batch")):
        pixels, labels = cifar_rows(seed)
        (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}))


def write_binary(folder: Path) -> None:
    for seed, name in enumerate(("data_batch_1", "data_batch_3", "test_batch")):
        pixels, labels = cifar_rows(seed)
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], pixels], 1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


@pytest.mark.parametrize(
    ("inner", "write"), [("cifar-10-batches-py", write_python), ("", write_binary)]
)
def test_both_versions_of_cifar10_give_the_same(tmp_path: Path, inner: str, write) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / inner).mkdir(exist_ok=True)
    write(tmp_path / inner)
    found = cifar10(tmp_path)
    pixels, labels = cifar_rows(1)
    assert found.train[0].shape == (40, 3, 32, 32)
    assert found.train[1][20:].tolist() == labels
    assert found.train[0][20, 0, 0, 1] == pytest.approx(pixels[0, 1] / 127.5 - 1)
    assert found.held_out[1].tolist() == cifar_rows(2)[1]


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def test_broken_cifar10_is_named_and_its_pickles_run_nothing(tmp_path: Path) -> None:
    with pytest.raises(CodesignError, match="unpack its archive"):
        cifar10(tmp_path)
    write_binary(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(CodesignError, match=r"test_batch\.bin: no part"):
        cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(CodesignError, match="system is no part of CIFAR-10"):
        cifar10(tmp_path)


def test_a_run_on_cifar10(tmp_path: Path) -> None:
    write_python(tmp_path)
    on = tasks.task(f"cifar10:{tmp_path}")
    done = train.run(on, train.recipe(on, "cnn", "bdwp", "2:4", 0, steps=2))
    assert done.density == 0.5
    assert 0 <= done.accuracy <= 1


def test_folders_of_images_are_cropped_and_normalised(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for half, count in (("train", 3), ("val", 1)):
        for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
            folder = tmp_path / half / name
            folder.mkdir(parents=True)
            for i in range(count):
                image.new("RGB", (40 + i, 30), colour).save(folder / f"{i}.png")
    found = image_folder(tmp_path)
    assert found.classes == ("cat", "dog")
    assert (len(found.train), len(found.held_out)) == (6, 2)
    x, y = next(found.batches(found.held_out, 16, 8))
    assert x.shape == (2, 3, 16, 16)
    assert y.tolist() == [0, 1]
    red = torch.tensor([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    torch.testing.assert_close(x[0, :, 5, 7], red)
    on = tasks.task(f"images:{tmp_path}")
    assert on.models["cnn"]().head.out_features == 2
    assert on.evaluate(on.models["cnn"]())["accuracy"] in (0.0, 0.5, 1.0)
    (tmp_path / "val" / "cow").mkdir()
    with pytest.raises(CodesignError, match="no class 'cow'"):
        image_folder(tmp_path)
    (tmp_path / "val" / "dog" / "0.png").write_text("no image")
    with pytest.raises(CodesignError, match=r"0\.png: no image"):
        found.batch(found.held_out, 16)
    with pytest.raises(CodesignError, match="expected folders"):
        image_folder(tmp_path / "train")


def write_text(folder: Path) -> None:
    (folder / "wiki.train.tokens").write_text(TEXT, encoding="utf-8")
    (folder / "wiki.test.tokens").write_text(TEXT[:400], encoding="utf-8")


def test_wikitext_is_read_as_bytes(tmp_path: Path) -> None:
    with pytest.raises(CodesignError, match=r"none of wiki\.train\.tokens"):
        wikitext(tmp_path)
    write_text(tmp_path)
    assert wikitext(tmp_path) == (TEXT, TEXT[:400])
    on = tasks.task(f"wikitext:{tmp_path}")
    x, y = next(on.batches(0, 1))
    assert bytes(x[0].tolist()).decode() in TEXT
    assert torch.equal(x[:, 1:], y[:, :-1])
    done = train.run(on, train.recipe(on, "transformer", "wanda", "2:4", 0, steps=3))
    assert done.density == 0.5
    (tmp_path / "wiki.test.tokens").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CodesignError, match="no UTF-8"):
        wikitext(tmp_path)


def test_a_hugging_face_model_on_disk_is_pruned_as_it_is(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    write_text(tmp_path)
    words = {word: i for i, word in enumerate(dict.fromkeys(TEXT.split()))}
    tokenizer = Tokenizer(models.WordLevel({**words, "?": len(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    folder = tmp_path / "model"
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(words) + 1, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    on = tasks.task(f"hf:{folder},{tmp_path}")
    dense, sparse = (
        train.run(on, train.recipe(on, "pretrained", method, pattern, 0))
        for method, pattern in (("dense", "dense"), ("wanda", "2:4"))
    )
    assert sparse.density == 0.5
    assert dense.loss == pytest.approx(np.log(len(words) + 1), rel=0.1)
    assert sparse.loss != dense.loss
    with pytest.raises(CodesignError, match=r"no config\.json"):
        tasks.task(f"hf:{tmp_path},{tmp_path}")
    with pytest.raises(CodesignError, match="MODEL_FOLDER,TEXT_FOLDER"):
        tasks.task(f"hf:{folder}")


def test_a_factory_of_the_users_own_makes_a_task(tmp_path: Path) -> None:
    file = tmp_path / "my_tasks.py"
    file.write_text(
        "from tests.accuracy.conftest import halves\n\n\ndef mine():\n    return halves()\n"
    )
    on = tasks.task(f"torch:{file}:mine")
    assert on.name == f"torch:{file}:mine"
    assert on is tasks.task(f"torch:{file}:mine")
    assert train.run(on, train.recipe(on, "small", "ste", "2:4", 0)).accuracy > 0.5
    for place, said in (
        (f"torch:{file}:other", "no attribute"), ("torch:no_module_x:f", "no_module_x"),
        ("torch:os:getcwd", "gives no Task"), ("torch:x", "package.module:NAME"),
        ("cifar:x", "did you mean 'cifar10'"),
    ):  # fmt: skip
        with pytest.raises(CodesignError, match=said):
            tasks.task(place)

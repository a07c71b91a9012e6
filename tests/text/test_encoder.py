"""A text encoder gives the states of transformers' own model, the same bits in any company."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from tiny_encoders import sentences, tiny_bert, tiny_t5

from pipeline.errors import UserError
from pipeline.text.directory import directory_of
from pipeline.text.encoder import TextEncoder, conditions_of, encoder_for
from pipeline.text.library import open_tokenizer
from pipeline.text.tokens import Tokens, notice_of_cut

transformers = pytest.importorskip("transformers")

MINILM = directory_of("minilm")
LONG = "a red circle above a blue square and " * 5


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def encoder(bert: Path) -> TextEncoder:
    return TextEncoder.load(bert, max_length=12)


def states_alone(path: Path, text: str) -> torch.Tensor:
    """The states ``[n, D]`` of transformers' own model, of one text without any padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    given = {"input_ids": tokenizer(text, return_tensors="pt")["input_ids"]}
    model = transformers.AutoModel.from_pretrained(path).eval()
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    with torch.inference_mode():
        return model(**given).last_hidden_state[0]


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_states_and_vectors_are_those_of_the_model_itself_without_padding(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    texts = sentences(11, seed=3)
    found = TextEncoder.load(path, max_length=12).encode(texts)
    first = TextEncoder.load(path, max_length=12, pooling="first").encode(texts)
    assert found.tokens.dtype == found.pooled.dtype == np.float16
    assert found.tokens.shape == (11, 12, 16)
    for row, text in enumerate(texts[:4]):
        due = states_alone(path, text)
        assert found.lengths[row] == len(due)
        np.testing.assert_allclose(found.tokens[row, : len(due)], due, atol=2e-3)
        assert not found.tokens[row, len(due) :].any()
        for pooled, vector in ((found.pooled, due.mean(0)), (first.pooled, due[0])):
            np.testing.assert_allclose(pooled[row], vector / vector.norm(), atol=1e-3)


def test_minilm_pools_as_its_model_alone_does(minilm: TextEncoder) -> None:
    texts = ["a red circle above a blue square", "grinning cat with smiling eyes"]
    found = minilm.encode(texts)
    for row, text in enumerate(texts):
        due = states_alone(MINILM, text)
        np.testing.assert_allclose(found.tokens[row, : len(due)], due, atol=2e-3)
        vector = due.mean(0)
        np.testing.assert_allclose(found.pooled[row], vector / vector.norm(), atol=1e-3)


@pytest.mark.slow  # the import of sentence_transformers alone takes 15 s
@pytest.mark.filterwarnings("ignore")
def test_pooled_vectors_of_minilm_are_those_of_sentence_transformers(minilm: TextEncoder) -> None:
    library = pytest.importorskip("sentence_transformers")
    texts = [*sentences(20, seed=1), "Face with tears of joy", "flag: Åland Islands"]
    due = library.SentenceTransformer(str(MINILM), device="cpu").encode(texts)
    np.testing.assert_allclose(minilm.encode(texts).pooled, due, atol=1e-3)


def test_a_text_has_the_same_bits_whatever_stands_beside_it(minilm: TextEncoder) -> None:
    texts = [*sentences(9, seed=2), LONG, "cat"]
    together = minilm.conditions(texts)
    for row in (0, 9, 10):
        np.testing.assert_array_equal(minilm.conditions([texts[row]])[0], together[row])
    np.testing.assert_array_equal(minilm.conditions(texts[::-1])[::-1], together)


def test_conditions_are_the_stored_values_pooled_first(encoder: TextEncoder) -> None:
    texts = sentences(3)
    found, conditions = encoder.encode(texts), encoder.conditions(texts)
    assert (conditions.shape, conditions.dtype) == ((3, 13, 16), np.float32)
    np.testing.assert_array_equal(conditions[:, 0], found.pooled)
    np.testing.assert_array_equal(conditions[:, 1:], found.tokens)
    np.testing.assert_array_equal(conditions_of(found), conditions)
    assert encoder.conditions([]).shape == (0, 13, 16)


def test_a_long_text_is_cut_counted_and_told(encoder: TextEncoder) -> None:
    exact = "a red circle above a blue square and the"  # 9 words
    texts = ["cat", f"{exact} dog", f"{exact} dog cat", LONG]
    found = encoder.encode(texts)
    assert found.lengths.tolist() == [3, 12, 12, 12]
    assert found.cut.tolist() == [False, False, True, True]
    assert found.num_cut == 2
    # Marks of start and end stay, and what is between is that of the first ten words.
    np.testing.assert_array_equal(found.tokens[1], found.tokens[2])
    notice = notice_of_cut(texts, found.cut, 12)
    assert notice is not None
    assert notice.startswith("2 texts were longer than 12 tokens")
    assert "'a red circle above a blue square and th…'" in notice
    assert notice_of_cut(texts[:2], found.cut[:2], 12) is None


def test_a_length_beyond_the_tokenizers_own_cut_counts_all_tokens() -> None:
    """The file tokenizer.json of all-MiniLM cuts at 128 tokens, and pads to them."""
    tokens = Tokens(open_tokenizer(MINILM), 200, ["input_ids"], MINILM)
    words = "cat " * 150
    found, cut = tokens([words, words + words])
    assert found["attention_mask"].sum(1).tolist() == [152, 200]
    assert cut.tolist() == [False, True]


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_text_is_refused(encoder: TextEncoder, empty: str) -> None:
    with pytest.raises(UserError, match="text 1 is empty"):
        encoder.encode(["cat", empty])


def test_a_text_without_a_token_is_refused(minilm: TextEncoder) -> None:
    with pytest.raises(UserError, match=r"text 0 .* has no letter that the encoder's tokenizer"):
        minilm.encode(["\u200b"])  # a space of no width, which BERT's tokenizer drops


def test_an_encoder_is_known_by_weights_tokenizer_length_and_pooling(
    bert: Path, encoder: TextEncoder, tmp_path: Path
) -> None:
    shutil.copytree(bert, tmp_path / "copy")
    copied = TextEncoder.load(tmp_path / "copy", max_length=12)
    assert copied.id.name != encoder.id.name
    assert copied.id.same_as(encoder.id)
    other = TextEncoder.load(tiny_bert(tmp_path / "other", seed=1), max_length=12)
    assert other.id.tokenizer_sha256 == encoder.id.tokenizer_sha256
    assert not other.id.same_as(encoder.id)
    words = tmp_path / "copy" / "tokenizer.json"
    words.write_text(words.read_text().replace('"cat"', '"cow"'))
    changed = TextEncoder.load(tmp_path / "copy", max_length=12).id
    assert changed.sha256 == encoder.id.sha256
    assert not changed.same_as(encoder.id)
    for change in ({"max_length": 11}, {"pooling": "first"}):
        assert not replace(encoder.id, **change).same_as(encoder.id)


def test_the_encoder_of_a_model_is_found_by_its_name_or_where_a_person_says(
    bert: Path, encoder: TextEncoder, tmp_path: Path
) -> None:
    assert encoder_for(encoder.id, None).id == encoder.id
    moved = replace(encoder.id, name="/no/such/place")
    assert encoder_for(moved, str(bert)).id.same_as(moved)
    with pytest.raises(UserError, match=r"/no/such/place is needed .*--text-encoder"):
        encoder_for(moved, None)
    tiny_bert(tmp_path, seed=1)
    with pytest.raises(UserError, match=r"another text encoder .* hash of weights"):
        encoder_for(encoder.id, str(tmp_path))
    assert encoder_for(encoder.id, str(bert)).encode(["cat"]).pooled.tobytes() == (
        encoder.encode(["cat"]).pooled.tobytes()
    )


def test_weights_that_may_run_code_are_not_opened(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "pickled")
    os.rename(tmp_path / "pickled/model.safetensors", tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(UserError, match=r"only pytorch_model.bin, which may run code"):
        TextEncoder.load(tmp_path / "pickled")


def test_missing_weights_are_not_drawn_at_random(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path / "two")
    three = transformers.BertConfig.from_pretrained(path)
    three.num_hidden_layers = 3
    three.save_pretrained(path)
    with pytest.raises(UserError, match=r"lacks \d+ of the weights of BertModel"):
        TextEncoder.load(path, max_length=12)


def test_a_checkpoint_without_the_pooler_is_taken(bert: Path, tmp_path: Path) -> None:
    shutil.copytree(bert, tmp_path / "bare")
    transformers.BertModel.from_pretrained(bert, add_pooling_layer=False).save_pretrained(
        tmp_path / "bare"
    )
    bare = TextEncoder.load(tmp_path / "bare", max_length=12)
    due = TextEncoder.load(bert, max_length=12).encode(["cat"])
    assert bare.encode(["cat"]).tokens.tobytes() == due.tokens.tobytes()


def test_what_is_no_text_encoder_is_refused_in_a_line(bert: Path, tmp_path: Path) -> None:
    transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2)
    ).save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bert / file, tmp_path / file)
    with pytest.raises(UserError, match="holds a gpt2, which is no encoder of texts"):
        TextEncoder.load(tmp_path)


def test_wrong_names_lengths_and_poolings_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no text encoder nowhere/bert-of-nobody at hand"):
        TextEncoder.load("nowhere/bert-of-nobody")
    with pytest.raises(UserError, match=r"it has no config\.json"):
        TextEncoder.load(tmp_path)
    with pytest.raises(UserError, match="does not take 32 tokens"):
        TextEncoder.load(bert, max_length=32)
    with pytest.raises(UserError, match=r"max_length is 2; .* takes 3 to"):
        TextEncoder.load(bert, max_length=2)
    with pytest.raises(UserError, match="give mean or first"):
        TextEncoder.load(bert, max_length=12, pooling="last")


def test_threads_may_share_an_encoder(encoder: TextEncoder) -> None:
    texts = [sentences(5, seed=seed, most=14) for seed in range(4)]
    due = [encoder.conditions(part) for part in texts]
    found: list[np.ndarray | None] = [None] * 4

    def work(number: int) -> None:
        for _ in range(5):
            found[number] = encoder.conditions(texts[number])

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(found, due, strict=True):
        assert one is not None
        np.testing.assert_array_equal(one, other)

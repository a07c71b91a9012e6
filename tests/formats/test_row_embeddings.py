"""Embeddings joined to a dataset's rows: each row gets its own, or a line says why not."""

from pathlib import Path

import numpy as np
import pytest
from digit_set import write_digits
from embedding_sets import LENGTH, WIDTH, embedded, write_embedding_set

from pipeline.errors import UserError
from pipeline.formats.row_embeddings import RowEmbeddings


def test_rows_get_the_embeddings_of_their_ids_in_any_order(tmp_path: Path) -> None:
    info = write_digits(tmp_path / "digits", num_train=25, num_test=10, shard_rows=10)
    write_embedding_set(tmp_path / "embedded", info)
    rows = RowEmbeddings.open(tmp_path / "embedded", info, "train", pooled_only=False)
    assert rows.shape == (1 + LENGTH, WIDTH)
    assert rows.row_bytes == 2 * (1 + LENGTH) * WIDTH
    due = np.stack([embedded(f"digit-{i}") for i in range(25)])
    assert np.array_equal(np.concatenate([rows.read(n) for n in range(3)]), due)
    places = np.array([(2, 4), (0, 3), (2, 0), (1, 9)])
    assert np.array_equal(rows.at(places), due[[24, 3, 20, 19]])


@pytest.mark.parametrize("has_tokens", [True, False])
def test_the_pooled_vectors_alone_are_read_where_no_words_are_wanted(
    tmp_path: Path, has_tokens: bool
) -> None:
    info = write_digits(tmp_path / "digits", num_train=5, num_test=10)
    write_embedding_set(tmp_path / "embedded", info, has_tokens=has_tokens)
    rows = RowEmbeddings.open(tmp_path / "embedded", info, "train", pooled_only=has_tokens)
    assert rows.shape == (WIDTH,)
    due = np.stack([embedded(f"digit-{i}")[0] for i in range(5)])
    assert np.array_equal(rows.read(0), due)


def test_another_datasets_embeddings_are_refused(tmp_path: Path) -> None:
    info = write_digits(tmp_path / "digits", num_train=25, num_test=10)
    other = write_digits(tmp_path / "other", num_train=20, num_test=10)
    write_embedding_set(tmp_path / "embedded", info)
    with pytest.raises(UserError, match="was made of another dataset"):
        RowEmbeddings.open(tmp_path / "embedded", other, "train", pooled_only=False)
    with pytest.raises(UserError, match="no split 'validation', only train, test"):
        RowEmbeddings.open(tmp_path / "embedded", info, "validation", pooled_only=False)
